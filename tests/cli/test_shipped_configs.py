"""The shipped configurations train, as shipped, on small stand-ins of their files.

The figures that they reach are those of `python -m benchmarks configs`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from stand_ins import write_stand_ins

from seqlearn.cli import main

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.yaml"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the names and formats of Multi30k, TREC and tiny Shakespeare."""
    folder = tmp_path_factory.mktemp("files")
    write_stand_ins(folder)
    return folder


def test_there_are_configurations() -> None:
    assert len(CONFIGS) >= 12


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_configuration_trains(
    config: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = {
        "dates": ["--data.first_year", "2090"],
        "multi30k": ["--data.root", str(files)],
        "trec": [f"--data.{name}={files / name}.txt" for name in ("train", "test")],
        "shakespeare": ["--data.train", str(files / "input.txt")],
    }[config.stem.partition("-")[0]]
    words = ["fit", "--config", str(config), *small, "--trainer.limit_val_batches", "1"]
    words += ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"]
    words += ["--trainer.logger", "false", "--trainer.enable_progress_bar", "false"]
    if "strategy: ddp" in config.read_text(encoding="utf-8"):  # starts the command once more
        command = [sys.executable, "-m", "seqlearn", *words]
        done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr
    else:
        assert main(words) == 0
    assert list(tmp_path.rglob("*.ckpt"))
