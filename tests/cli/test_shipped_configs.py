"""The shipped configurations train, as shipped, on small stand-ins of their files.

The figures that they reach are those of `python -m benchmarks configs`.
"""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from seqlearn.cli import main

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.yaml"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the names and formats of Multi30k, TREC and tiny Shakespeare."""
    folder = tmp_path_factory.mktemp("files")
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghij", k=7)) for _ in range(6000)]
    sentences = [" ".join(draw.choices(words, k=8)) for _ in range(1200)]
    for split, count in (("train", 1200), ("val", 4), ("test_2016_flickr", 4)):
        for language in ("en", "de"):
            with gzip.open(folder / f"{split}.{language}.gz", "wt", encoding="utf-8") as file:
                file.writelines(f"{sentence}\n" for sentence in sentences[:count])
    for name, count in (("train.txt", 1200), ("test.txt", 6)):
        labels = (("NUM:date", "HUM:ind")[row % 2] for row in range(count))
        rows = zip(labels, sentences[:count], strict=True)
        text = "".join(f"{label} {sentence}\n" for label, sentence in rows)
        (folder / name).write_text(text, encoding="latin-1")
    (folder / "input.txt").write_text("\n".join(sentences), encoding="utf-8")
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
    assert main(words) == 0
    assert list(tmp_path.rglob("*.ckpt"))
