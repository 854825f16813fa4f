"""Packages that register classes: small ones are built, installed and called by short names."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

import seqlearn as sl
from seqlearn.cli import main, plugins
from seqlearn.cli.plugins import load_plugins

SRU = Path(__file__).parents[1] / "user" / "sru.py"
PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1.0"

[tool.hatch.build.targets.wheel]
packages = ["{module}"]
"""
LETTERS = '''\
import seqlearn as sl


class Letters(sl.data.SequenceDataModule):
    """Words and the same words in capitals."""

    def __init__(self, longest: int = 3, batch_tokens: int = 32):
        super().__init__(sl.data.Text("char"), sl.data.Text("char"), batch_tokens=batch_tokens)
        self.longest = longest

    def examples(self, split):
        words = [letter * n for letter in "ab" for n in range(1, self.longest + 1)]
        return [(word, word.upper()) for word in words]
'''


def package(
    folder: Path, name: str, files: dict[str, str], entries: dict[str, dict[str, str]]
) -> Path:
    """Write a package as its author would."""
    module = name.replace("-", "_")
    text = PROJECT.format(name=name, module=module)
    for group, registered in entries.items():
        text += f'\n[project.entry-points."{group}"]\n'
        text += "".join(f'{key} = "{value}"\n' for key, value in registered.items())
    (folder / name / module).mkdir(parents=True)
    (folder / name / "pyproject.toml").write_text(text, encoding="utf-8")
    for file, source in files.items():
        (folder / name / module / file).write_text(source, encoding="utf-8")
    return folder / name


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one good package and one broken one are installed."""
    folder = tmp_path_factory.mktemp("plugins")
    good = package(
        folder,
        "seqlearn-sru",
        {"__init__.py": SRU.read_text(encoding="utf-8"), "letters.py": LETTERS},
        {
            "seqlearn.models": {"SRU": "seqlearn_sru:SRU"},
            "seqlearn.data": {"Letters": "seqlearn_sru.letters:Letters"},
        },
    )
    broken = package(
        folder,
        "seqlearn-broken",
        {"__init__.py": "import no_such_module\n"},
        {"seqlearn.models": {"Broken": "seqlearn_broken:Broken"}},
    )
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--no-build-isolation", "--no-deps", "--no-index", "--target", str(folder / "site"),
            str(good), str(broken),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "site"


def seqlearn(site: Path, cwd: Path, *words: str, given: str = "") -> tuple[int, str, str]:
    """Run the command where these packages are installed, and nothing imports them yet."""
    code = "import sys, seqlearn.cli\n"
    code += "print([name for name in sys.modules if name.startswith('seqlearn_')])\n"
    code += "sys.exit(seqlearn.cli.main())"
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        cwd=cwd, input=given, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    imported, _, out = done.stdout.partition("\n")
    assert imported == "[]", "importing seqlearn imported a plug-in"
    return done.returncode, out, done.stderr


def test_installed_classes_have_short_names(site: Path, tmp_path: Path) -> None:
    (tmp_path / "fit.yaml").write_text(
        "model: {class_path: SRU, init_args: {d_model: 8, num_layers: 1}}\n"
        "data: {class_path: Letters, init_args: {longest: 2}}\n"
        "trainer: {max_epochs: 1, accelerator: cpu, logger: false, enable_progress_bar: false}\n",
        encoding="utf-8",
    )
    short = ["--model", "SRU", "--data", "Letters", "--data.longest", "4"]
    code, _, err = seqlearn(site, tmp_path, "fit", "--config", "fit.yaml", *short)
    assert code == 0, err
    assert "Broken (seqlearn.models) of seqlearn-broken is skipped: ModuleNotFoundError" in err
    (checkpoint,) = (tmp_path / "checkpoints").glob("*.ckpt")
    code, out, err = seqlearn(site, tmp_path, "translate", str(checkpoint), given="ab\nb\n")
    assert code == 0, err
    assert out.count("\n") == 2


def test_a_broken_package_breaks_nothing_else(site: Path, tmp_path: Path) -> None:
    words = ["fit", "--model", "Transformer", "--data", "Letters", "--print_config"]
    code, out, err = seqlearn(site, tmp_path, *words)
    assert code == 0
    assert "class_path: seqlearn.Transformer" in out
    assert "class_path: seqlearn_sru.letters.Letters" in out
    (line,) = err.strip().splitlines()
    assert line == (
        "seqlearn: warning: Broken (seqlearn.models) of seqlearn-broken is skipped: "
        "ModuleNotFoundError: No module named 'no_such_module'; repair or uninstall that package"
    )


def register(monkeypatch: pytest.MonkeyPatch, group: str, **entries: str) -> None:
    """As if a package without a name had registered these."""
    made = [importlib.metadata.EntryPoint(name, value, group) for name, value in entries.items()]
    monkeypatch.setattr(plugins, "entry_points", lambda group: made)


def test_registered_classes_are_found_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    register(monkeypatch, "seqlearn.models", SRU="sru:SRU", MyModel="my_package:MyModel")
    found = load_plugins("seqlearn.models")
    assert list(found) == ["MyModel", "SRU"]
    assert all(issubclass(cls, sl.SequenceModule) for cls in found.values())
    assert load_plugins("seqlearn.models") == found
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("group", "entry", "said"),
    [
        ("seqlearn.models", {"Gone": "no_such_module:Gone"}, "No module named 'no_such_module'"),
        ("seqlearn.models", {"Gone": "sru:Gone"}, "AttributeError: module 'sru' has no"),
        ("seqlearn.data", {"SRU": "sru:SRU"}, "expected a subclass of SequenceDataModule, got sru"),
        ("seqlearn.models", {"torch": "sru:torch"}, "expected a subclass of SequenceModule"),
        ("seqlearn.models", {"sru": "sru:SRU"}, "the name of the class, SRU"),
        ("seqlearn.models", {"LSTM": "no_such_module:LSTM"}, "skipped: the name is taken;"),
        ("seqlearn.data", {"Dates": "no_such_module:Dates"}, "skipped: the name is taken;"),
    ],
)
def test_a_skipped_class_is_named_in_one_line(
    group: str,
    entry: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    register(monkeypatch, group, **entry)
    assert load_plugins(group) == {}
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"seqlearn: warning: {next(iter(entry))} ({group}) of an unnamed")
    assert said in line


def test_a_required_class_is_not_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, "seqlearn.models", Gone="no_such_module:Gone", LSTM="no_such_module:LSTM")
    with pytest.raises(ImportError, match=r"Gone \(seqlearn.models\) of an unnamed package is sk"):
        load_plugins("seqlearn.models", required=["fit", "--model", "Gone"])
    assert load_plugins("seqlearn.models", required=["fit", "--model", "LSTM"]) == {}
    assert main(["fit", "--model=Gone", "--data", "Dates"]) == 1
