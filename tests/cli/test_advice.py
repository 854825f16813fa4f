"""Every command that docs, README, configurations and error messages advise is understood."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import seqlearn.cli
from benchmarks.configs import EXPECTED
from seqlearn.cli import inference, main, training
from seqlearn.cli.plugins import subclasses
from seqlearn.core import GenerationConfig, Recipe, SequenceModule
from seqlearn.data import Dates, SequenceDataModule

ROOT = Path(__file__).resolve().parents[2]
PAGES = [page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "tutorials"]  # built
FILES = [ROOT / "README.md", *PAGES, *(ROOT / "tutorials").glob("*.py")]
FILES += [*(ROOT / "configs").glob("*.yaml"), ROOT / "seqlearn/cli/__init__.py"]
COMMANDS = "fit|validate|test|predict|translate|view|demo"
USER = Path(__file__).parents[1] / "user"


class MyData(Dates):
    """The docs' data module of another package."""


def advised() -> Iterator[str]:
    """The commands that are written in files, one line each, without what a shell does."""
    for file in FILES:
        text = file.read_text(encoding="utf-8").replace(" \\\n", " ")  # continued lines
        text = text.replace("\n# ", " ") if file.suffix == ".py" else text
        line = rf"(?:^#   |^\$ (?:\.venv/bin/)?|`|:  )(seqlearn (?:{COMMANDS})\b(?!\|)[^`\n]*)"
        for command in re.findall(line, text, re.MULTILINE):
            words = re.split(r" [<>|] |  +#|  +fit and", command)[0]
            if len(words.split()) > 2:  # else the name of a command, in a sentence
                yield words


def test_the_files_advise_commands() -> None:
    assert len(set(advised())) > 15


class UnderstoodError(Exception):
    """Raised in place of loading a checkpoint."""


@pytest.fixture
def _no_namesakes() -> Iterator[None]:
    """Rename other classes of the advised names, which other tests have left in the process."""
    classes = [*subclasses(SequenceModule), *subclasses(SequenceDataModule)]
    left = {cls: cls.__qualname__ for cls in classes if cls.__name__ in ("MyModel", "MyData")}
    del left[MyData]
    for cls in left:
        cls.__name__ = cls.__qualname__ = "Namesake"
    yield
    for cls, name in left.items():
        cls.__qualname__, cls.__name__ = name, name.rpartition(".")[2]


@pytest.mark.usefixtures("_no_namesakes")
@pytest.mark.parametrize("command", sorted(set(advised())))
def test_an_advised_command_is_understood(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise UnderstoodError

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(USER))
    monkeypatch.delitem(sys.modules, "my_package", raising=False)  # it may be renamed, or another
    package = importlib.import_module("my_package")
    monkeypatch.setattr(package, "Draft", package.MyModel, raising=False)  # of a tutorial
    shutil.copytree(ROOT / "configs", "configs")
    run = Path("lightning_logs/version_0")
    run.mkdir(parents=True)
    for path in (run / "config.yaml", "run.yaml"):  # of a run, and of a user
        shutil.copy(ROOT / "configs/dates-lstm.yaml", path)
    monkeypatch.setattr(inference, "load_module", stop)
    monkeypatch.setitem(seqlearn.cli.COMMANDS, "demo", stop)
    words = shlex.split(command)[1:]
    if words[0] in training.TRAINING and words[1].startswith("-"):
        with pytest.raises(SystemExit) as ended:
            main([*words, "--print_config"])
        assert ended.value.code == 0, capsys.readouterr().err
        assert ("usage" if ".help" in command else "class_path") in capsys.readouterr().out
    else:
        monkeypatch.setenv("SEQLEARN_TRACEBACK", "1")
        assert main(words) == 1
        assert "UnderstoodError" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "fit --model GRU --data Dates --model.d_modle 3",
        "fit --model GRU --data Dates --model.recipe.lt 3",
        "fit --model GRU --data Daets",
        "fit --model GRU --data Dates --data.lcoales x",
        "fit --model GRU --data Dates --trainer.max_epochs x",
        "test",
        "tets",
    ],
)
def test_the_help_that_an_error_advises_is_shown(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    (advice,) = re.findall(r"[Ss]ee `seqlearn (.*)`", capsys.readouterr().err)
    helped(advice, capsys)


def helped(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command that asks for help prints."""
    if words == "--help":
        assert main([words]) == 0
    else:
        with pytest.raises(SystemExit) as ended:
            main(words.split())
        assert ended.value.code == 0
    printed = capsys.readouterr()
    assert "error" not in printed.err
    return printed.out


@pytest.mark.parametrize(
    "words",
    [
        "fit --model.help Transformer --model.recipe.help",
        "fit --model Transformer --model.recipe.help",
        "fit --model=my_package.MyModel --data Dates --model.init_args.recipe.help",
        "fit --model.recipe.help",
    ],
)
def test_the_recipe_has_a_help(
    words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(USER))
    out = helped(words, capsys)
    for field in vars(Recipe()):
        assert f"--model.recipe.{field} " in out
    assert "The highest learning rate" in out


def test_the_generation_config_has_a_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(USER))
    for model in ("Transformer", "my_package.MyModel"):
        out = helped(f"fit --model {model} --model.generation.help", capsys)
        for field in vars(GenerationConfig()):
            assert f"--model.generation.{field} " in out
        assert "rows for each source" in out


@pytest.mark.parametrize("model", ["Transformer", "FeedForward", "my_package.MyModel"])
def test_print_config_prints_every_field_of_recipe_and_generation(
    model: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(USER))
    words = ["fit", "--model", model, "--data", "Dates", "--model.d_model", "8"]
    words += ["--data.first_year", "2000", "--data.last_year", "2000"]
    words += ["--trainer.max_epochs", "1", "--trainer.fast_dev_run", "1"]
    printed = helped(" ".join([*words, "--print_config"]), capsys)
    expected = Recipe(lr=2e-3) if model == "FeedForward" else Recipe()  # see default_recipe
    assert yaml.safe_load(printed)["model"]["init_args"]["recipe"] == vars(expected)
    assert yaml.safe_load(printed)["model"]["init_args"]["generation"] == vars(GenerationConfig())
    words += ["--model.generation.strategy", "beam", "--model.generation.beam_size", "7"]
    given = helped(" ".join([*words, "--model.recipe.lr", "0.5", "--print_config"]), capsys)
    arguments = yaml.safe_load(given)["model"]["init_args"]
    assert arguments["recipe"] == vars(Recipe(lr=0.5))
    assert arguments["generation"] == vars(GenerationConfig("beam", beam_size=7))
    (tmp_path / "c.yaml").write_text(printed, encoding="utf-8")
    again = helped(f"fit --config {tmp_path / 'c.yaml'} --print_config", capsys)
    assert again == printed


def test_a_printed_configuration_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = "fit --model GRU --data Dates --model.d_model 4 --data.first_year 2000"
    words += (
        " --data.last_year 2000 --trainer.fast_dev_run 1 --trainer.accelerator cpu --print_config"
    )
    Path("c.yaml").write_text(helped(words, capsys), encoding="utf-8")
    assert main(["fit", "--config", "c.yaml"]) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"model: {a: [\n", "not valid YAML"),
        (b"model: \xff\xfe\n", "byte 8 is not UTF-8"),
        (b"- a\n", "expected options such as `model: …`, got a list"),
        (b"", "expected options such as `model: …`, got an empty file"),
    ],
)
@pytest.mark.parametrize("joined", [True, False])
def test_a_bad_configuration_file_is_named(
    content: bytes, message: str, joined: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    assert main(["fit", f"--config={file}"] if joined else ["fit", "--config", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--config {file}: {message}" in line


def test_view_takes_one_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", "model.ckpt", "the", "big", "dog"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected one text, got 3 arguments" in line
    assert "seqlearn view model.ckpt 'the big dog'" in line


def test_every_shipped_configuration_has_an_expected_figure() -> None:
    assert set(EXPECTED) == {file.stem for file in (ROOT / "configs").glob("*.yaml")}
    for expected in EXPECTED.values():
        assert (ROOT / "benchmarks/results" / expected.source).is_file()


def test_my_data_is_a_data_module() -> None:
    assert issubclass(MyData, SequenceDataModule)
