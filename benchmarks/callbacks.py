"""The overhead of `AttentionMonitor` in a training run: epochs with and without it alternate.

    python benchmarks/callbacks.py [--root FOLDER] [--epochs N] [--batches N]

Two runs of the tiny Transformer on Multi30k (`configs/multi30k-transformer.yaml`) alternate, epoch
by epoch. One has `AttentionMonitor()`, which records at the end of every epoch. Prints the ratio of
CPU times of an epoch, the seconds of one recording, and the ratio for the training steps only.
`--batches` makes epochs shorter, and thereby the share of a recording larger.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from lightning.pytorch.loggers import TensorBoardLogger

import seqlearn as sl

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "multi30k-transformer.yaml"


class Clock(L.Callback):
    """Notes the CPU time of each epoch and of its steps; stands last among the callbacks."""

    def __init__(self) -> None:
        self.epochs: list[float] = []
        self.steps: list[float] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        """An epoch begins."""
        self.in_steps = 0.0
        self.start = time.process_time()

    def on_train_batch_start(self, *_: Any) -> None:
        """A step begins."""
        self.step = time.process_time()

    def on_train_batch_end(self, *_: Any) -> None:
        """A step has ended, and what callbacks did after it."""
        self.in_steps += time.process_time() - self.step

    def on_train_epoch_end(self, *_: Any) -> None:
        """An epoch has ended, its validation and a look included."""
        self.epochs.append(time.process_time() - self.start)
        self.steps.append(self.in_steps)


class TimedMonitor(sl.callbacks.AttentionMonitor):
    """`AttentionMonitor`, and how long its looks take."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look, by the clock."""
        start = time.process_time()
        super().on_train_epoch_end(trainer, pl_module)
        self.seconds = [*getattr(self, "seconds", []), time.process_time() - start]


def main() -> int:
    """Train twice, in turn, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--root", help="the folder with train.en.gz and the others")
    parser.add_argument("--epochs", type=int, default=3, help="the first of which warms up")
    parser.add_argument("--batches", type=int, help="of an epoch; all by default")
    options = parser.parse_args()
    if options.epochs < 2:
        parser.error("expected --epochs of at least 2, of which the first warms up")
    plain = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    monitor, clocks = TimedMonitor(), (Clock(), Clock())
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            prepared(plain, options, Path(folder, "without"), [clocks[0]]),
            prepared(plain, options, Path(folder, "with"), [monitor, clocks[1]]),
        ]
        for epoch in range(1, options.epochs + 1):
            for trainer, model, data in runs:
                trainer.fit_loop.max_epochs = epoch
                trainer.fit(model, data)
    for what, without, watched in (
        ("epochs", clocks[0].epochs, clocks[1].epochs),
        ("steps between looks", clocks[0].steps, clocks[1].steps),
    ):
        ratios = [b / a for a, b in zip(without[1:], watched[1:], strict=True)]
        low, high = min(ratios), max(ratios)
        print(
            f"{what}: with AttentionMonitor / without {statistics.median(ratios):.3f} "
            f"(from {low:.3f} to {high:.3f} over {len(ratios)} rounds)"
        )
    look, whole = statistics.median(monitor.seconds[1:]), statistics.median(clocks[0].epochs[1:])
    print(f"a look takes {look:.2f} s of CPU time, an epoch {whole:.1f} s: {look / whole:.1%}")
    return 0


def prepared(
    plain: dict[str, Any], options: argparse.Namespace, folder: Path, callbacks: list[L.Callback]
) -> tuple[L.Trainer, sl.SequenceModule, sl.data.Multi30k]:
    """One run that logs to TensorBoard, and what it trains."""
    sides = dict(plain["data"]["init_args"])
    source = sl.data.Text(**sides.pop("source"))
    data = sl.data.Multi30k(options.root, source=source, **sides)
    arguments = dict(plain["model"]["init_args"])
    recipe = sl.Recipe(**arguments.pop("recipe"))
    model = getattr(sl, plain["model"]["class_path"])(data.spec, **arguments, recipe=recipe)
    trainer = L.Trainer(
        accelerator="cpu",
        limit_train_batches=options.batches,
        limit_val_batches=options.batches,
        gradient_clip_val=plain["trainer"]["gradient_clip_val"],
        num_sanity_val_steps=0,
        logger=TensorBoardLogger(folder),
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return trainer, model, data


if __name__ == "__main__":
    sys.exit(main())
