"""`RunLog`: the time, the losses and the metrics of a run, kept in its checkpoints."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
import torch
from torch import Tensor

from seqlearn.batch import SequenceBatch
from seqlearn.comparison.job import Report

POINTS = 60
"""Points of a curve of training losses."""

_REPORT_SECONDS = 0.5


class RunLog(L.Callback):
    """Records training losses, validation metrics, and the time of training.

    Time is counted within training only: neither in validation nor in the sanity check. The record
    is a part of every checkpoint, so a continued run goes on with it.

    Args:
        report: Called about twice a second with the number of the step, that of the last step and
            the loss.

    Attributes:
        cpu_seconds: CPU time of the process in training, of all its threads.
        wall_seconds: Elapsed time in training.
        tokens: Source and target tokens in the training batches, without padding.
        losses: `[step, seconds, mean training loss since the last point]`.
        validations: `[step, seconds, metrics]` after each validation.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self.cpu_seconds = self.wall_seconds = 0.0
        self.tokens = 0
        self.losses: list[list[float]] = []
        self.validations: list[list[Any]] = []
        self._since: tuple[float, float] | None = None
        self._sum: Tensor | float = 0.0
        self._count = 0
        self._reported = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The record as plain data."""
        self._stop(resume=True)
        return {
            "cpu_seconds": self.cpu_seconds,
            "wall_seconds": self.wall_seconds,
            "tokens": self.tokens,
            "losses": [list(point) for point in self.losses],
            "validations": [list(point) for point in self.validations],
            "sum": float(self._sum),
            "count": self._count,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the record of a checkpoint."""
        for name in ("cpu_seconds", "wall_seconds", "tokens", "losses", "validations"):
            setattr(self, name, state_dict[name])
        self._sum, self._count = state_dict["sum"], state_dict["count"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._start()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Add the loss and the tokens of a batch."""
        loss = trainer.callback_metrics.get("train/loss")
        if loss is not None:
            self._sum, self._count = self._sum + loss.detach(), self._count + 1
        if isinstance(batch, SequenceBatch):
            for lengths in (batch.source_lengths, batch.target_lengths):
                self.tokens += batch.size if lengths is None else int(lengths.sum())
        step, last = trainer.global_step, trainer.estimated_stepping_batches
        every = max(1, int(min(last, 10**6)) // POINTS)
        if self._count and step % every == 0 and (not self.losses or self.losses[-1][0] < step):
            self._stop(resume=True)
            self.losses.append([step, self.seconds(trainer), float(self._sum) / self._count])
            self._sum, self._count = 0.0, 0
        if time.monotonic() - self._reported > _REPORT_SECONDS:
            self._reported = time.monotonic()
            shown = self.losses[-1][2] if self.losses else None
            self.report({"step": step, "steps": int(last), "loss": shown})

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        self._stop()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the metrics, and start the clock again."""
        if trainer.sanity_checking:
            return
        figures = {
            name.removeprefix("val/"): float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val/")
        }
        self.validations.append([trainer.global_step, self.seconds(trainer), figures])
        if trainer.training or trainer.state.fn == "fit":
            self._start()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        self._stop()

    def seconds(self, trainer: L.Trainer) -> float:
        """The time that counts: of the CPU if that trains, otherwise elapsed time."""
        on_cpu = trainer.strategy.root_device.type == "cpu"
        return self.cpu_seconds if on_cpu else self.wall_seconds

    def _start(self) -> None:
        self._since = time.process_time(), time.monotonic()

    def _stop(self, *, resume: bool = False) -> None:
        if self._since is not None:
            if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
                torch.cuda.synchronize()
            self.cpu_seconds += time.process_time() - self._since[0]
            self.wall_seconds += time.monotonic() - self._since[1]
            self._since = None
            if resume:
                self._start()
