"""`ConfusionMatrix`: which classes are taken for which, as a picture and a table."""

from __future__ import annotations

import os
from pathlib import Path

import lightning as L
import numpy as np
from numpy.typing import NDArray

from seqlearn.callbacks.due_epoch import is_due_epoch
from seqlearn.callbacks.figure_logger import FigureLogger
from seqlearn.core import SequenceModule
from seqlearn.introspect.plots.confusion import confusion_heatmap
from seqlearn.metrics import ClassStatistics
from seqlearn.span_metrics import SpanStatistics


class ConfusionMatrix(L.Callback):
    """Log the confusion matrix of a model of classes or tags, after validation and test.

    Rows are the expected classes, columns the predicted ones; both have the names of the labels.
    The picture and the table `confusion_matrix` go to TensorBoard, W&B and MLflow; without one of
    these, or with `directory`, a PNG and a text file are written, to `confusion/val` and
    `confusion/test` in the logger's folder. The counts are those of all processes, without
    duplicated examples.

    Args:
        directory: Folder for the files, in place of `confusion`.
        every_n_epochs: Log at the first validation, and at those after n, 2n, 3n, … epochs.

    Attributes:
        counts: The last matrix, `labels labels`; `None` before.
        labels: The names of its rows and columns.

    Raises:
        TypeError: When a run starts, if the module is not a `SequenceModule`.
        ValueError: When a run starts, if it does not predict classes or tags.

    Examples:
        >>> trainer = L.Trainer(callbacks=[ConfusionMatrix()], logger=False, accelerator="cpu")
        >>> # trainer.test(model, data) writes confusion/test/confusion_matrix-step….png and .txt
    """

    def __init__(
        self, directory: str | os.PathLike[str] | None = None, every_n_epochs: int = 1
    ) -> None:
        if every_n_epochs < 1:
            raise ValueError(f"expected every_n_epochs of at least 1, got {every_n_epochs}")
        self.directory, self.every_n_epochs = directory, every_n_epochs
        self.counts: NDArray[np.int64] | None = None
        self.labels: tuple[str, ...] = ()
        self._measured = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check that the module predicts classes or tags."""
        self._measured = False
        if not isinstance(pl_module, SequenceModule):
            raise TypeError(
                f"ConfusionMatrix: expected a SequenceModule, got {type(pl_module).__name__}"
            )
        metrics = pl_module.metrics
        if not isinstance(metrics, ClassStatistics | SpanStatistics) or not metrics.labels:
            raise ValueError(
                "ConfusionMatrix needs a model that predicts classes or tags, and the target of "
                f"this model is {type(pl_module.spec.target).__name__}; remove the callback"
            )
        self.labels = metrics.labels

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the matrix of a validation epoch."""
        if is_due_epoch(trainer, self.every_n_epochs, measured=self._measured):
            self._measured = True
            self._log(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the matrix of a test epoch."""
        self._log(trainer, pl_module, "test")

    def _log(self, trainer: L.Trainer, module: L.LightningModule, prefix: str) -> None:
        assert isinstance(module, SequenceModule)
        metrics = module.metrics
        assert isinstance(metrics, ClassStatistics | SpanStatistics)
        with metrics.sync_context():  # the module resets the metrics after this hook
            self.counts = metrics.confusion.cpu().numpy().copy()
        logs = trainer.log_dir or trainer.default_root_dir  # a broadcast: on all ranks
        if trainer.fast_dev_run or not trainer.is_global_zero:  # type: ignore[attr-defined]
            return
        folder = Path(logs, "confusion") if self.directory is None else Path(self.directory)
        folder /= prefix  # the step of a test is that of the last validation
        files = self.directory is not None
        logger = FigureLogger(trainer.loggers, folder, trainer.global_step, "", files)
        tag = f"{prefix}/confusion_matrix"
        logger.figure(tag, confusion_heatmap(self.counts, self.labels, title=prefix))
        columns = ("expected", *(f"→ {label}" for label in self.labels))
        rows = [
            (label, *map(str, row))
            for label, row in zip(self.labels, self.counts.tolist(), strict=True)
        ]
        logger.table(tag, columns, rows)
