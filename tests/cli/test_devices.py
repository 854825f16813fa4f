"""`translate` and `predict` on several devices equal one; errors of a process end the command."""

from __future__ import annotations

import importlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

import seqlearn as sl
from seqlearn.cli import inference, main
from seqlearn.cli.devices import devices_of

LETTERS = "abcdefghijklmn"
SMALL = {"d_model": 16, "num_layers": 1, "num_heads": 2}
FAULTY = """
import os
import seqlearn as sl


class Faulty(sl.Transformer):
    def generate(self, sources, **options):
        if "dead" in sources:
            os._exit(3)
        if "bad" in sources:
            raise ValueError("expected another line, got 'bad'")
        return ["fine"] * len(sources)
"""
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


def sentence(number: int) -> str:
    """Words of letters, of unequal lengths."""
    draw = random.Random(number)
    words = ["".join(draw.choices(LETTERS, k=draw.randint(1, 4))) for _ in range(4)]
    return " ".join(words[: 1 + number % 4])


def write_pairs(path: Path, count: int) -> None:
    lines = [f"{sentence(number)}\t{sentence(number)[::-1].upper()}\n" for number in range(count)]
    path.write_text("".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, and checkpoints of models with random weights: their outputs are long."""
    folder = tmp_path_factory.mktemp("devices")
    write_pairs(folder / "train.tsv", 60)
    data = sl.data.TextPairs(
        folder / "train.tsv", source=sl.data.Text("char"), target=sl.data.Text("char")
    )
    (folder / "faulty.py").write_text(FAULTY, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        faulty = importlib.import_module("faulty").Faulty
    for name, kind in (("model", sl.Transformer), ("faulty", faulty)):
        torch.manual_seed(0)
        model = kind(data.spec, **SMALL)
        with torch.no_grad():  # larger weights: outputs depend on the source
            for parameter in model.parameters():
                parameter.add_(0.5 * torch.randn_like(parameter))
        trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
        trainer.strategy.connect(model)
        trainer.save_checkpoint(folder / f"{name}.ckpt")
    return folder


def test_lines_of_two_devices_equal_those_of_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also the samples, for the random numbers belong to the lines."""
    lines = [sentence(number) if number % 9 else "" for number in range(30)]
    (folder / "in.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    monkeypatch.setattr(inference, "CHUNK_LINES", 4)
    words = [
        "translate",
        str(folder / "model.ckpt"),
        str(folder / "in.txt"),
        "--decoding",
        "sample",
    ]
    words += ["--accelerator", "cpu", "--max-new-tokens", "8"]
    found = []
    for devices in ("1", "2"):
        assert main([*words, "--devices", devices]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]
    outputs = found[0].splitlines()
    assert len(outputs) == len(lines)
    assert not any(output for output, line in zip(outputs, lines, strict=True) if not line)
    assert len(set(outputs)) > 20


@pytest.mark.parametrize(
    "bad",
    [
        "bad",
        pytest.param("dead", marks=pytest.mark.slow),
        pytest.param("in", marks=pytest.mark.slow),
    ],
)
def test_an_error_ends_all_processes_after_the_lines_before_it(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    bad: str,
) -> None:
    """An error of a model, a process that dies, a line that is not UTF-8."""
    lines = [b"a"] * 13
    lines[7] = b"\xff" if bad == "in" else bad.encode()
    (folder / f"{bad}.txt").write_bytes(b"\n".join(lines))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(inference, "CHUNK_LINES", 2)
    words = ["translate", "faulty.ckpt", f"{bad}.txt", "--model", "faulty.Faulty", "--devices", "2"]
    assert main([*words, "--accelerator", "cpu"]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == ["fine"] * (6 if bad == "dead" else 7)
    assert {
        "bad": "seqlearn: error: bad.txt, line 8: expected another line, got 'bad'",
        "dead": "the process on cpu was killed while it processed the inputs from dead.txt, line 7",
        "in": "in.txt, line 8: expected UTF-8, got the byte 0xff",
    }[bad] in err


def test_devices_are_checked() -> None:
    assert devices_of("cpu", 3) == [torch.device("cpu")] * 3
    with pytest.raises(ValueError, match="--devices: expected at least 1, got 0"):
        devices_of("cpu", 0)
    available = torch.accelerator.device_count()
    assert devices_of("auto", 1, "cpu") == [torch.device("cpu")]
    with pytest.raises(ValueError, match=r"--device: expected one of cpu.*got 'cuda:99'"):
        devices_of("auto", 1, "cuda:99")
    with pytest.raises(ValueError, match="--device names one device"):
        devices_of("cpu", 1, "cpu")
    with pytest.raises(ValueError, match="at most" if available else "PyTorch finds no GPU"):
        devices_of("gpu", available + 1)


def seqlearn(folder: Path, *words: str, **options: Any) -> subprocess.Popen[str]:
    """Start the command line by a file: Lightning starts its other processes by the same words."""
    script = folder / "run.py"
    text = "import sys\nfrom seqlearn.cli import main\n"
    script.write_text(text + "if __name__ == '__main__':\n    sys.exit(main())\n", encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(script), *words], encoding="utf-8", cwd=folder, **options
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
def test_processes_end_with_a_command_that_is_killed(folder: Path) -> None:
    words = ["translate", "model.ckpt", "--accelerator", "cpu", "--devices", "2"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "start_new_session": True}
    with seqlearn(folder, *words, **pipes) as command:
        for _ in range(5 * inference.CHUNK_LINES):
            command.stdin.write("a b c\n")
        command.stdin.flush()
        assert command.stdout.readline()  # both processes work, or wait for more lines
        command.kill()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            os.killpg(command.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.2)
    os.killpg(command.pid, signal.SIGKILL)
    pytest.fail("processes are left")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["translate", "predict"])
def test_1000_sentences_on_two_processes_equal_one(
    folder: Path, tmp_path: Path, command: str
) -> None:
    write_pairs(folder / "test.tsv", 1000)
    source = "".join(f"{sentence(number)}\n" for number in range(1000))
    (folder / "test.txt").write_text(source, encoding="utf-8")
    found = []
    for devices in ("1", "2"):
        words = [
            "translate",
            "model.ckpt",
            "test.txt",
            "--accelerator",
            "cpu",
            "--devices",
            devices,
        ]
        if command == "predict":
            words = ["predict", "--model", "Transformer", "--ckpt_path", "model.ckpt"]
            words += [f"--model.{name}={value}" for name, value in SMALL.items()]
            words += ["--data", "TextPairs", "--data.train", "train.tsv", "--data.test", "test.tsv"]
            words += ["--data.source.tokenizer", "char", "--data.target.tokenizer", "char"]
            words += ["--data.batch_tokens", "512", "--trainer.accelerator", "cpu"]
            words += ["--trainer.devices", devices, "--trainer.logger", "false"]
            words += ["--trainer.default_root_dir", str(tmp_path / devices)]
        started = seqlearn(folder, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, errors = started.communicate(timeout=600)
        assert started.returncode == 0, errors
        if command == "predict":
            out = (tmp_path / devices / "predictions.txt").read_text(encoding="utf-8")
        found.append(out.splitlines())
    assert len(found[0]) == 1000
    assert found[0] == found[1]
    assert len(set(found[0])) > 100
