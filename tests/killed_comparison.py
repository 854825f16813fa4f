"""A comparison that tests interrupt: `killed_comparison.py FOLDER` starts or continues it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
from tiny_comparison import Failing, Letters

import seqlearn as sl


class Slow(L.Callback):
    """Takes its time, and says in a file which step was reached."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        time.sleep(0.2)
        self.folder.joinpath("step").write_text(str(trainer.global_step), encoding="utf-8")


def main(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    trainer = {"max_epochs": 12, "accelerator": "cpu", "callbacks": [Slow(folder)]}
    options: dict[str, Any] = {"parameters": 3_000, "jobs": 2, "trainer": trainer}
    print(sl.compare(Letters("class"), ["GRU", Failing], directory=folder / "here", **options))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
