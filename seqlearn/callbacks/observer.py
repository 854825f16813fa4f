"""`Observer`: what callbacks share that look at a module now and then, on a fixed batch."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng

from seqlearn.callbacks.figure_logger import FigureLogger
from seqlearn.callbacks.probe_batch import first_rows
from seqlearn.core.eval_mode import eval_mode
from seqlearn.introspect.recording.compile_stance import force_eager


class Observer(L.Callback, ABC):
    """Look at a module every few epochs or steps, on a fixed batch: the probe.

    A subclass says in `observe` what it finds out, and in `show` what becomes of it:

        class MeanLogit(Observer):
            folder = "logits"

            def observe(self, module, probe):
                return module(probe).mean().item()

            def show(self, observed, report):
                report.scalars({"mean_logit": observed})

    At a look the module is in `eval`, without gradients, at the Trainer's precision, and compiled
    parts run uncompiled; afterwards modes and random states are as they were. Between looks a
    callback does nothing. In a run of several processes each observes, as a sharded module needs,
    each its own probe; rank zero shows. With `fast_dev_run` nothing is shown.

    Scalars are also in `trainer.callback_metrics`, on every rank those of rank zero, so that other
    callbacks can monitor them: `EarlyStopping("gradient_flow/factor", …)`. A look comes before the
    callbacks that monitor something, in whatever order they are given.

    Args:
        every_n_epochs: Look at the end of every n-th training epoch; `None` for never.
        every_n_steps: Look after every n-th optimizer step; `None` for never.
        probe: The batch to look at. By default the first rows of the first validation batch or,
            if a look is due before there was one, of the first training batch; taken once a fit.
        run: What to do with the module and the probe instead of the callback's default.
        examples: Rows to take from the first batch.
        directory: Where to write files, also beside a logger that takes figures and texts; by
            default files are written only where there is no such logger, in the logger's folder
            (without a logger, in the Trainer's root folder).
        name: Stands before all tags and files; tells two callbacks of one class apart.

    Raises:
        ValueError: If there is nothing to do, or a number is below one.
    """

    folder: str
    """Where files lie in the folder of the logs."""

    def __init__(
        self,
        every_n_epochs: int | None = 1,
        every_n_steps: int | None = None,
        probe: Any = None,
        run: Callable[[L.LightningModule, Any], Any] | None = None,
        examples: int = 4,
        directory: str | os.PathLike[str] | None = None,
        name: str = "",
    ) -> None:
        kind = type(self).__name__
        numbers = {
            "every_n_epochs": every_n_epochs, "every_n_steps": every_n_steps, "examples": examples
        }  # fmt: skip
        for which, number in numbers.items():
            if number is not None and number < 1:
                raise ValueError(f"{kind}: expected {which} of at least 1, got {number}")
        if every_n_epochs is None and every_n_steps is None:
            raise ValueError(f"{kind} never looks: give every_n_epochs or every_n_steps")
        self.every_n_epochs, self.every_n_steps = every_n_epochs, every_n_steps
        self.run, self.examples, self.directory, self.name = run, examples, directory, name
        self._given = probe
        self._validation_rows: Any = None
        self._training_rows: Any = None
        self._last_step = 0
        self._warned = False

    @abstractmethod
    def observe(self, module: L.LightningModule, probe: Any) -> Any:
        """Find out what is to be shown; called on every rank, in `eval` and without gradients.

        Args:
            module: The module that is trained.
            probe: The probe, on the module's device.
        """

    @abstractmethod
    def show(self, observed: Any, report: FigureLogger) -> None:
        """Log, draw and write; called on rank zero.

        Args:
            observed: What `observe` returned.
            report: Where it goes.
        """

    @property
    def state_key(self) -> str:
        """The key of what a checkpoint holds of it."""
        return self._generate_state_key(name=self.name)

    # When to look

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Forget the probe of an earlier fit, and stand before the callbacks that monitor."""
        if stage != "fit":
            return
        self._validation_rows = self._training_rows = None
        self._last_step, self._warned = 0, False
        callbacks: list[L.Callback] = list(trainer.callbacks)  # type: ignore[attr-defined]
        monitors = [at for at, each in enumerate(callbacks) if getattr(each, "monitor", None)]
        place = callbacks.index(self) if self in callbacks else 0
        if monitors and monitors[0] < place:
            callbacks.insert(monitors[0], callbacks.pop(place))
            # A new list, for Lightning goes through the old one meanwhile.
            trainer.callbacks = callbacks  # type: ignore[attr-defined]

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take the probe, once; the sanity check's first batch is the validation's."""
        if self._given is None and self._validation_rows is None:
            self._validation_rows = first_rows(batch, self.examples)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Look, if it is a step to look at."""
        if self._given is None and self._validation_rows is None and self._training_rows is None:
            self._training_rows = first_rows(batch, self.examples)
        if self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0:
            self._run_probe(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look, if it is an epoch to look at."""
        every, epochs = self.every_n_epochs, trainer.current_epoch + 1
        if every is not None and epochs % every == 0:
            self._run_probe(trainer, pl_module)

    def _run_probe(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        step = trainer.global_step
        if step == self._last_step:  # Before the first step, between micro-batches, or seen.
            return
        self._last_step = step
        with eval_context(trainer, module):
            observed = self.observe(module, move_data_to_device(self._probe(), module.device))
        # All ranks must ask, since the folder of the logs is broadcast.
        logs = trainer.log_dir or trainer.default_root_dir
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        folder = Path(logs, self.name, self.folder)
        if self.directory is not None:
            folder = Path(self.directory)
        report = FigureLogger(
            trainer.loggers, folder, step, self.name, files=self.directory is not None
        )
        if trainer.is_global_zero:
            self.show(observed, report)
        # The same on all ranks, for what monitors them decides together.
        values = trainer.strategy.broadcast(report.values)
        trainer.callback_metrics.update({tag: torch.tensor(v) for tag, v in values.items()})

    def warn_once(self, message: str) -> None:
        """Warn, once a fit, on rank zero: what holds at one look holds at all."""
        if not self._warned:
            self._warned = True
            rank_zero_warn(f"{type(self).__name__}: {message}")

    def _probe(self) -> Any:
        if self._given is not None:
            return self._given
        if self._validation_rows is None:
            self._validation_rows = self._training_rows
        return self._validation_rows


@contextmanager
def eval_context(trainer: L.Trainer, module: L.LightningModule) -> Iterator[None]:
    """Run the module in the block in `eval`, without gradients, and leave no trace on it.

    Args:
        trainer: Whose precision holds.
        module: The module.
    """
    with (
        isolate_rng(include_cuda=module.device.type == "cuda"),
        eval_mode(module),
        trainer.precision_plugin.forward_context(),
        force_eager(),
    ):
        yield
