"""The command line, in this process and in real ones, with files as users have them."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from forked_command import run_command

from seqlearn.cli import main
from seqlearn.spec.raw_inputs import UnknownSymbolWarning

PAIRS = [(f"{a} {b}", f"{b.upper()} {a.upper()}") for a in "abcdefg" for b in "hijklmn"]
SMALL = ["--model.d_model", "16", "--model.num_layers", "1", "--model.num_heads", "2"]
QUIET = ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*number of training batches"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two parallel files for each split."""
    folder = tmp_path_factory.mktemp("cli")
    for split, part in (("train", PAIRS), ("val", PAIRS[::7]), ("test", PAIRS[1::7])):
        for side, name in enumerate(("src", "tgt")):
            text = "".join(f"{pair[side]}\n" for pair in part)
            (folder / f"{split}.{name}").write_text(text, encoding="utf-8")
    return folder


def data_words(folder: Path) -> list[str]:
    words = ["--data", "TextPairs"]
    words += ["--data.source.tokenizer", "char", "--data.target.tokenizer", "char"]
    for split in ("train", "val", "test"):
        words += [f"--data.{split}", f"[{folder / split}.src, {folder / split}.tgt]"]
    return words


def fit_words(folder: Path, *more: str) -> list[str]:
    return [
        "fit", "--model", "Transformer", *SMALL, "--model.recipe.lr", "1e-2",
        "--model.recipe.warmup_steps", "5", *data_words(folder), "--data.batch_tokens", "64",
        "--trainer.max_epochs", "2", "--trainer.accelerator", "cpu", *QUIET,
        "--trainer.default_root_dir", str(folder), "--trainer.logger", "false", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Path:
    """A model trained through the command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(fit_words(folder)) == 0
    (path,) = (folder / "checkpoints").glob("*.ckpt")
    return path


def test_fit_validate_test_predict(
    folder: Path,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    configuration = (folder / "config.yaml").read_text(encoding="utf-8")
    common = [
        "--model", "Transformer", *SMALL, *data_words(folder), "--ckpt_path", str(checkpoint),
        "--trainer.accelerator", "cpu", "--trainer.logger", "false", *QUIET,
        "--trainer.default_root_dir", str(folder),
    ]  # fmt: skip
    assert main(["validate", *common]) == 0
    assert "val/exact_match" in capsys.readouterr().out
    assert main(["test", *common]) == 0
    assert "test/bleu_lc" in capsys.readouterr().out
    assert "case:lc" in caplog.text
    assert main(["predict", *common]) == 0
    assert f"7 predictions in {folder / 'predictions.txt'}" in capsys.readouterr().out
    assert len((folder / "predictions.txt").read_text(encoding="utf-8").splitlines()) == 7
    kept = (folder / "config.yaml").read_text(encoding="utf-8")
    assert kept == configuration, "an evaluation must not replace the configuration of the run"


def seqlearn(*words: str, **options: Any) -> tuple[int, bytes, str]:
    """Run the command in a process of its own: the options are those of `run_command`."""
    done = run_command(*words, **options)
    return done.returncode, done.stdout, done.stderr.decode()


def test_translate_writes_line_by_line_in_order(checkpoint: Path, tmp_path: Path) -> None:
    code, out, err = seqlearn("translate", str(checkpoint), given=b"a h\n\nb i\na h\n")
    assert code == 0, err
    lines = out.decode().split("\n")
    assert len(lines) == 5
    assert lines[1] == lines[4] == ""
    assert lines[0] == lines[3]
    file = tmp_path / "in.txt"
    file.write_bytes(b"a h\r\n\nb i\na h")
    assert seqlearn("translate", str(checkpoint), str(file))[1] == out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b"a h\nb \xff\n", "standard input, line 2: expected UTF-8, got the byte 0xff at byte 3"),
    ],
)
def test_translate_names_the_line_it_cannot_read(
    checkpoint: Path, given: bytes, message: str
) -> None:
    code, _, err = seqlearn("translate", str(checkpoint), given=given)
    assert code == 1
    assert message in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1


def test_the_lines_before_a_bad_one_are_answered(checkpoint: Path) -> None:
    """And those with an unknown symbol are named before the error."""
    good = "a h\nb ß\nc j\n".encode()
    answers = seqlearn("translate", str(checkpoint), given=good)[1]
    code, out, err = seqlearn("translate", str(checkpoint), given=good + b"\xff\nb i\n")
    assert (code, out) == (1, answers)
    warning, error = err.strip().splitlines()
    assert "in 1 line (line 2: 'ß' at character 3)" in warning
    assert "line 4: expected UTF-8" in error


def test_translate_marks_what_is_unknown_and_names_the_lines(checkpoint: Path) -> None:
    """No good line is lost; `--unknown error` refuses, and says where."""
    given = "a h\nb ß\n\nc j\nß ü\n".encode()
    code, out, err = seqlearn("translate", str(checkpoint), given=given)
    assert code == 0, err
    lines = out.decode().split("\n")
    assert len(lines) == 6
    assert lines[0] == seqlearn("translate", str(checkpoint), given=b"a h\n")[1].decode().strip(
        "\n"
    )
    assert "<unk>" not in out.decode()
    (warning,) = err.strip().splitlines()
    assert "in 2 lines (line 2: 'ß' at character 3; line 5: 'ß' at character 1)" in warning
    code, _, err = seqlearn("translate", str(checkpoint), "--unknown", "error", given=given)
    assert code == 1
    (error,) = err.strip().splitlines()
    assert "standard input, line 2: 'ß' at character 3 is not in the model's vocabulary" in error


def test_a_test_split_marks_what_is_unknown_and_names_the_lines(
    folder: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As `translate`: the default goes on, `--unknown error` refuses."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("src", "a h\nb ß\nß ü\n"), ("tgt", "H A\nH B\nI B\n")):
        (tmp_path / f"test.{name}").write_text(text, encoding="utf-8")
    words = [
        "test", "--model", "Transformer", *SMALL, *data_words(folder),
        f"--data.test=[{tmp_path / 'test.src'}, {tmp_path / 'test.tgt'}]",
        "--ckpt_path", str(checkpoint), "--trainer.accelerator", "cpu", *QUIET,
        "--trainer.logger", "false", "--trainer.default_root_dir", str(folder),
    ]  # fmt: skip
    with pytest.warns(UnknownSymbolWarning) as caught:
        assert main(words) == 0
    found = {str(one.message) for one in caught if one.category is UnknownSymbolWarning}
    (message,) = found
    assert "the source has tokens that do not occur in the training split (3 in test)" in message
    files = r"/test\.src and test\.tgt"
    places = f"{files}, line 2: 'ß' at character 3; .*{files}, line 3: 'ß' at character 1$"
    assert re.search(places, message), message
    capsys.readouterr()
    with warnings.catch_warnings():
        assert main([*words, "--unknown", "error"]) == 1
    assert "error: the source has tokens that do not occur" in capsys.readouterr().err


def test_view_writes_a_page_that_replays_the_prediction(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "new" / "view.html"
    text = "a h"
    assert main(["view", str(checkpoint), text, "--out", str(page), "--max-new-tokens", "4"]) == 0
    printed = capsys.readouterr().out
    assert f"{text}  →  " in printed
    assert str(page) in printed
    assert "seqlearn-viewer" in page.read_text("utf-8")
    assert main(["view", str(checkpoint), "", "--out", str(page / "below")]) == 1
    assert "choose another folder with --out" in capsys.readouterr().err


def test_errors_are_one_line_without_a_traceback(tmp_path: Path) -> None:
    code, _, err = seqlearn("translate", str(tmp_path / "none.ckpt"))
    assert (code, len(err.strip().splitlines())) == (1, 1)
    assert "there is no such checkpoint" in err
    _, _, err = seqlearn("translate", str(tmp_path / "none.ckpt"), SEQLEARN_TRACEBACK="1")
    assert "Traceback" in err


def test_bad_data_is_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x\ny\n", encoding="utf-8")
    (tmp_path / "b").write_text("x\n", encoding="utf-8")
    words = ["--data", "TextPairs", "--data.train", f"[{tmp_path}/a, {tmp_path}/b]"]
    code, _, err = seqlearn("fit", "--model", "Transformer", *words, cwd=tmp_path)
    assert code == 1
    assert err.strip().splitlines()[-1].startswith("seqlearn: error: ")
    assert "Traceback" not in err
    assert str(tmp_path / "a") in err
    assert str(tmp_path / "b") in err
    assert not (tmp_path / "lightning_logs").exists()


def test_a_spec_given_by_hand_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert main(fit_words(folder, "--model.spec", "{}")) == 2
    assert "spec" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (
            "fti --model Transformer",
            ["expected a command (fit, validate,", "got 'fti'; see `seqlearn --help`"],
        ),
        ("fit", ["required: --data, --model; see `seqlearn fit --help`"]),
        ("fit --config test.yaml", ["--config: File does not exist", "/test.yaml"]),
        (
            "fit --model Transfromer --data Dates",
            [
                "--model: expected AttentionSeq2Seq, ",
                "got 'Transfromer'; did you mean Transformer?",
            ],
        ),
        ("fit --model LSTM --data Daets", ["--data: expected Dates, ", "did you mean Dates?"]),
        ("fit --model GRU --data Dates --modl.x 3", ["unrecognized arguments: --modl.x 3"]),
        (
            "fit --model GRU --data Dates --epochs 3",
            ["did you mean --trainer.max_epochs? See `seqlearn fit --help`"],
        ),
        ("fit --model GRU --data Dates --batch_size 4", ["did you mean --data.batch_tokens?"]),
        ("fit --model GRU --data Dates --hidden_size 4", ["did you mean --model.d_model?"]),
        (
            "fit --data SequenceDataModule --model GRU",
            ["--data: ", "DataModule, which is abstract; see"],
        ),
        ("translate a.ckpt --epochs 3", ["arguments: --epochs 3; see `seqlearn translate --help`"]),
        ("--modl GRU", ["see `seqlearn --help`"]),
        ("fit --model GRU --data Dates --lr 0.1", ["did you mean --model.recipe.lr? See"]),
        ("fit --model GRU --data Dates --model.hidden_size=3", ["did you mean --model.d_model?"]),
        ("fit --model GRU --data Dates --data.sed 3", ["did you mean --data.seed?"]),
        (
            "fit --model GRU --data LabelledText",
            ["are required: --data.train; see `seqlearn fit --data.help LabelledText`"],
        ),
        (
            "fit --model seqlearn.models.Gru --data Dates",
            [
                "'seqlearn.models' has no class 'Gru'; it has ",
                "GRU, LSTM, ",
                "`seqlearn fit --help`",
            ],
        ),
        (
            "fit --model GRU --data.train a.tsv",
            ["arguments are required: --data; see `seqlearn fit"],
        ),
        ("fit --model no_module.Gru --data Dates", ["but there is no module 'no_module'; modules"]),
        ("fit --model seqlearn.spec.Spec --data Dates", ["no class 'Spec', nor another for this"]),
        ("fit --model torch.nn.Linear --data Dates", ["--model: expected a subclass of Sequence"]),
        ("translate", ["are required: checkpoint; see `seqlearn translate --help`"]),
        ("translate a.ckpt --beam x", ["argument --beam", "'x'; see `seqlearn translate --help`"]),
        ("export", ["are required: checkpoint; see `seqlearn export --help`"]),
        ("demo --epochs x", ["argument --epochs: ", "; see `seqlearn demo --help`"]),
        ("cache --no", ["unrecognized arguments: --no; see `seqlearn cache --help`"]),
        (
            "fit --model GRU --data Dates --model.d_modle 3",
            ["--model: Option 'd_modle' is not accepted; did you mean --model.d_model? See"],
        ),
        (
            "fit --model GRU --data Dates --model.d_model x",
            ["--model.d_model: expected int, got x"],
        ),
        (
            "fit --model GRU --data Dates --trainer.max_epochs x",
            ["--trainer.max_epochs: ", "got x"],
        ),
    ],
)
def test_a_slip_of_the_keyboard_is_one_line(
    words: str, messages: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("seqlearn: error: ")
    for message in messages:
        assert message in line


def test_a_users_module_by_its_name(folder: Path, tmp_path: Path) -> None:
    user = Path(__file__).parents[1] / "user"
    words = fit_words(folder, "--trainer.default_root_dir", str(tmp_path))
    at = words.index("--model")
    words[at : at + 2 + len(SMALL)] = ["--model", "my_package.MyModel", "--model.d_model", "8"]
    code, _, err = seqlearn(*words, cwd=user)
    assert code == 0, err
    (path,) = (tmp_path / "checkpoints").glob("*.ckpt")
    code, out, err = seqlearn(
        "translate", str(path), "--model", "my_package.MyModel", given=b"a h\n", cwd=user
    )
    assert code == 0, err
    assert out.count(b"\n") == 1
    code, _, err = seqlearn("translate", str(path), given=b"a h\n", cwd=user)
    assert code == 1
    assert "name its class with --model my_package.MyModel" in err


def test_demo_in_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = seqlearn("demo", "--directory", str(tmp_path / "file" / "demo"))
    assert code == 1
    assert "cannot be written" in err
    assert "--directory" in err


@pytest.mark.slow
def test_demo_says_that_it_ran_out_of_time(tmp_path: Path) -> None:
    code, out, err = seqlearn("demo", "--max-minutes", "0.01", "--directory", str(tmp_path))
    assert code == 0, err
    assert b"Exact match on" in out
    assert re.search(r"training was stopped after 0\.01 minutes and \d+ of \d+ steps", err)
    assert "seqlearn demo --max-minutes 0.04" in err


def test_a_folder_that_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = fit_words(folder, "--trainer.default_root_dir", str(tmp_path / "file" / "runs"))
    code, _, err = seqlearn(*words, cwd=tmp_path)
    assert (code, "Traceback" in err) == (1, False)
    assert "cannot be written" in err
    assert "--trainer.default_root_dir" in err


def test_demo_with_a_locale_that_does_not_exist(tmp_path: Path) -> None:
    code, _, err = seqlearn("demo", "--source-locale", "xx", "--directory", str(tmp_path))
    assert (code, "Traceback" in err) == (1, False)
    assert "got 'xx'" in err


def test_evaluating_without_a_checkpoint_is_an_error(folder: Path) -> None:
    code, _, err = seqlearn("test", "--model", "Transformer", *data_words(folder), cwd=folder)
    assert code == 1
    assert "pass --ckpt_path" in err


def test_two_processes_write_one_file_in_order(
    folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    def words(devices: str) -> list[str]:
        return [
            "predict", "--model", "Transformer", *SMALL, *data_words(folder),
            "--ckpt_path", str(checkpoint), "--data.batch_tokens", "8", "--trainer.accelerator",
            "cpu", "--trainer.devices", devices, "--trainer.logger", "false", *QUIET,
            "--trainer.default_root_dir", str(tmp_path / devices),
        ]  # fmt: skip

    # As Lightning starts a second process by the words of the first, these must be a file's.
    script = tmp_path / "run.py"
    script.write_text(
        "import sys\nfrom seqlearn.cli import main\nsys.exit(main())\n", encoding="utf-8"
    )
    two = subprocess.run(
        [sys.executable, str(script), *words("2")],
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert two.returncode == 0, two.stderr
    code, _, err = seqlearn(*words("1"))
    assert code == 0, err
    assert (tmp_path / "2" / "predictions.txt").read_bytes() == (
        tmp_path / "1" / "predictions.txt"
    ).read_bytes()


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "translate" in capsys.readouterr().out


def test_the_message_of_a_constructor_is_shown(tmp_path: Path) -> None:
    code, _, err = seqlearn(
        "fit",
        "--model",
        "Transformer",
        "--data",
        "Dates",
        "--data.source_locale",
        "xx",
        cwd=tmp_path,
    )
    assert code == 1
    assert err.strip().splitlines()[-1].startswith("seqlearn: error: expected a locale")
