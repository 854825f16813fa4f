"""Figures of validation and test are those of one process, whatever the number of ranks.

Run as a script it evaluates: python test_validation_loss.py FOLDER DEVICES.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

import seqlearn as sl
from seqlearn.metrics import VectorStatistics


class Numbers(sl.data.SequenceDataModule):
    """Texts of unequal lengths, and vectors that grow with them: batches of unequal losses."""

    def __init__(self) -> None:
        super().__init__(sl.data.Text(), sl.data.Vector(2), batch_tokens=12)

    def examples(self, split: str) -> list[tuple[str, list[float]]]:
        texts = ["abcdefgh"[: 1 + i % 8] for i in range(21)]
        return [(text, [float(len(text)), float(len(text)) ** 2]) for text in texts]


def main(folder: Path, devices: int) -> None:
    """Validate and test; rank zero writes the figures."""
    torch.set_num_threads(1)
    found: list[Any] = []
    labels = sl.data.Synthetic("copy", 3, train_examples=20, held_out_examples=11, batch_tokens=20)
    for data in (Numbers(), labels):
        torch.manual_seed(0)
        model = sl.GRU(data.spec, d_model=4)
        trainer = L.Trainer(
            accelerator="cpu",
            devices=devices,
            strategy="ddp" if devices > 1 else "auto",
            precision="64-true",
            logger=False,
            enable_progress_bar=False,
            default_root_dir=folder,
        )
        found += trainer.validate(model, data, verbose=False)
        found += trainer.test(model, data, verbose=False)
    if trainer.is_global_zero:
        (folder / f"{devices}.json").write_text(json.dumps(found), encoding="utf-8")


def test_two_processes_find_the_figures_of_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path), "2"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "sync_dist" not in done.stderr
    main(tmp_path, 1)
    one, two = (
        json.loads((tmp_path / f"{devices}.json").read_text(encoding="utf-8")) for devices in (1, 2)
    )
    assert [figures.keys() for figures in one] == [figures.keys() for figures in two]
    for mine, theirs in zip(one, two, strict=True):
        assert theirs == pytest.approx(mine, rel=1e-6)
    assert one[0]["val/loss"] == one[1]["test/loss"] > 0.1


def test_the_loss_is_the_mean_over_all_numbers() -> None:
    errors = VectorStatistics()
    for numbers in ([1.0, 2.0, 3.0], [], [10.0]):
        errors.update(torch.tensor(numbers), torch.tensor([]), torch.tensor([]))
    assert errors.compute() == {"loss": 4.0}


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
