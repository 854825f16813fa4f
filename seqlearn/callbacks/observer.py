"""`Observer`: base of the callbacks that run a module on a fixed probe batch during training."""

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
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng

from seqlearn.callbacks.due_epoch import warn_of_short_patience
from seqlearn.callbacks.figure_logger import FigureLogger
from seqlearn.callbacks.probe_batch import first_rows
from seqlearn.core.eval_mode import eval_mode
from seqlearn.introspect.recording.compile_stance import force_eager
from seqlearn.plain_data import check_whole_number


class Observer(L.Callback, ABC):
    """Run a module on a fixed batch, the probe, every few epochs or steps.

    A subclass computes its result in `observe` and logs it in `show`.

    During a run of the probe the module is in `eval` mode, without gradients, at the Trainer's
    precision, and compiled parts run eagerly. Afterwards modes and random states are restored.
    Between runs a callback does nothing.

    With several processes, `observe` runs on every rank, on the rank's own probe, because a sharded
    module needs all ranks; `show` runs on rank zero. An exception in either is raised on all ranks,
    so that no rank waits for another. With `fast_dev_run` nothing is logged.

    Scalars are also in `trainer.callback_metrics`, on all ranks with the values of rank zero, so
    that other callbacks can monitor them: `EarlyStopping("gradient_flow/factor", …)`. An observer
    runs before the callbacks that have a `monitor`, whatever the order in the list. Where these
    decide at validations within an epoch (`val_check_interval`), set `every_n_steps`.

    Args:
        every_n_epochs: Run at the end of every n-th training epoch; `None` for never.
        every_n_steps: Run after every n-th optimizer step; `None` for never.
        probe: The batch to run. By default the first rows of the first validation batch or, if a
            run is due before any validation, of the first training batch; taken once per fit.
        run: Function of the module and the probe that replaces the callback's default.
        examples: Number of rows to take from the first batch.
        directory: Folder for files, which are then written even if a logger accepts the figures or
            texts. By default files are written only if no logger does, to the logger's folder
            (without a logger, to the Trainer's root folder).
        name: Prefix of all tags and file names; distinguishes two callbacks of one class.

    Raises:
        TypeError: If a number is not a whole number.
        ValueError: If both `every_n_epochs` and `every_n_steps` are `None`, or a number is below 1.

    Examples:
        >>> from seqlearn.callbacks import Observer
        >>> class MeanLogit(Observer):
        ...     folder = "logits"
        ...
        ...     def observe(self, module, probe):
        ...         return module(probe).mean().item()
        ...
        ...     def show(self, observed, logger):
        ...         logger.scalars({"mean_logit": observed})
        >>> observer = MeanLogit(every_n_epochs=5)  # L.Trainer(callbacks=[observer])
    """

    folder: str
    """Subfolder of the log folder that the files are written to."""

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
        if every_n_epochs is not None:
            every_n_epochs = check_whole_number(every_n_epochs, f"{kind}.every_n_epochs", 1)
        if every_n_steps is not None:
            every_n_steps = check_whole_number(every_n_steps, f"{kind}.every_n_steps", 1)
        examples = check_whole_number(examples, f"{kind}.examples", 1)
        if every_n_epochs is None and every_n_steps is None:
            raise ValueError(f"{kind} would never run: set every_n_epochs or every_n_steps")
        self.every_n_epochs, self.every_n_steps = every_n_epochs, every_n_steps
        self.run, self.examples, self.directory, self.name = run, examples, directory, name
        self._given = probe
        self._validation_rows: Any = None
        self._training_rows: Any = None
        self._last_step = 0
        self._observed, self._warned = False, False

    @abstractmethod
    def observe(self, module: L.LightningModule, probe: Any) -> Any:
        """Run the probe; called on every rank, in `eval` mode and without gradients.

        Args:
            module: The module in training.
            probe: The probe, on the module's device.

        Returns:
            Anything that `show` needs.
        """

    @abstractmethod
    def show(self, observed: Any, logger: FigureLogger) -> None:
        """Log the result; called on rank zero.

        Args:
            observed: The value that `observe` returned.
            logger: Sends scalars, figures and tables to the Trainer's loggers, or writes files.
        """

    def check_module(self, module: L.LightningModule) -> None:
        """Check, when the callback is set up, that it supports the module.

        Hook: a subclass raises a `TypeError` here.
        """

    @property
    def state_key(self) -> str:
        """The key of the callback's state in a checkpoint."""
        return self._generate_state_key(name=self.name)

    # When to run the probe

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Drop the probe of an earlier fit, and move in front of the callbacks with a monitor."""
        self.check_module(pl_module)
        if stage != "fit":
            return
        self._validation_rows = self._training_rows = None
        self._last_step, self._observed, self._warned = 0, False, False
        callbacks: list[L.Callback] = list(trainer.callbacks)  # type: ignore[attr-defined]
        monitors = [at for at, each in enumerate(callbacks) if getattr(each, "monitor", None)]
        place = callbacks.index(self) if self in callbacks else 0
        if monitors and monitors[0] < place:
            callbacks.insert(monitors[0], callbacks.pop(place))
            # A new list, because Lightning iterates over the old one at this point.
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
        """Take the probe from the first validation batch, that of the sanity check included."""
        if self._given is None and self._validation_rows is None:
            self._validation_rows = first_rows(batch, self.examples)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The step that a resumed run starts from was observed before."""
        self._last_step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Run the probe if it is due after this step."""
        if self._given is None and self._validation_rows is None and self._training_rows is None:
            self._training_rows = first_rows(batch, self.examples)
        if self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0:
            self._run_probe(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Run the probe at the validation that ends an epoch: callbacks may decide there."""
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if fitting and trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            with torch.inference_mode(mode=False):  # `observe` may compute gradients
                self.on_train_epoch_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Run the probe if it is due after this epoch."""
        every, epochs = self.every_n_epochs, trainer.current_epoch + 1
        if every is not None and epochs % every == 0:
            self._run_probe(trainer, pl_module)

    def _run_probe(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        step = trainer.global_step
        if step == self._last_step:  # before the first step, between micro-batches, or done
            return
        first, self._last_step = not self._observed, step
        self._observed = True
        observed, error = None, None
        try:
            with eval_context(trainer, module):
                observed = self.observe(module, move_data_to_device(self._probe(), module.device))
        except Exception as raised:  # noqa: BLE001 -- raised again once all ranks know of it
            error = raised
        self._raise_on_all_ranks(trainer, error)
        logs = trainer.log_dir or trainer.default_root_dir  # a broadcast: on all ranks
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        folder = Path(logs, self.name, self.folder)
        if self.directory is not None:
            folder = Path(self.directory, self.name)
        files = self.directory is not None
        logger = FigureLogger(trainer.loggers, folder, step, self.name, files)
        try:
            if trainer.is_global_zero:
                self.show(observed, logger)
        except Exception as raised:  # noqa: BLE001 -- as above
            error = raised
        self._raise_on_all_ranks(trainer, error)
        # The same on all ranks, because a callback that monitors them decides for all.
        values = trainer.strategy.broadcast(logger.values)
        trainer.callback_metrics.update({tag: torch.tensor(v) for tag, v in values.items()})
        if first and self.every_n_epochs is not None and self.every_n_steps is None:
            warn_of_short_patience(trainer, values, self.every_n_epochs)

    def _raise_on_all_ranks(self, trainer: L.Trainer, error: Exception | None) -> None:
        """Raise on every rank if any rank has an error; otherwise ranks would wait for it.

        Raises:
            Exception: The error of this rank.
            RuntimeError: If only other ranks have one.
        """
        succeeded = trainer.strategy.reduce_boolean_decision(error is None, all=True)
        if error is not None:
            raise error
        if not succeeded:
            raise RuntimeError(
                f"{type(self).__name__} failed in another process; its error is in the output of "
                "that process"
            )

    def warn_once(self, message: str) -> None:
        """Warn on rank zero, once per fit."""
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
    """Run a module in `eval` mode without gradients, and restore modes and random states after.

    Compiled parts run eagerly within the context.

    Args:
        trainer: The Trainer, whose precision applies.
        module: The module.
    """
    with (
        isolate_rng(include_cuda=module.device.type == "cuda"),
        eval_mode(module),
        trainer.precision_plugin.forward_context(),
        force_eager(),
    ):
        yield
