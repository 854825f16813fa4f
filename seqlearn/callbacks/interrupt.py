"""Stop a run at the end of an optimizer step when a signal asks for it, with a checkpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException

EXIT_STATUS = 143
"""The exit status of an interrupted run, as of a process that SIGTERM ended (128 + 15)."""

REPEAT_SECONDS = 10.0
"""Within this time a second signal is a repeat: agents and process groups both deliver it."""


class Interrupt(Callback):
    """Save a checkpoint and stop when the process receives SIGTERM or SIGUSR1.

    The signal handler only sets a flag. At the end of each optimizer step all ranks reduce their
    flags (about 0.2 ms), so a signal to any of them stops all of them at the same step: never
    within a group of accumulated micro-batches, and never within validation. All ranks save, then
    `SIGTERMException` ends the run with exit status 143. A run that is resumed from the checkpoint
    equals the uninterrupted one.

    At the last step of an epoch the run stops after validation; at the last step of the run it ends
    as usual. Ranks above 0 that Lightning's own launcher has started exit with status 0, since the
    launcher kills rank 0 as soon as one of them ends with another status. Under Slurm with
    automatic requeueing, rank 0 requeues the job after SIGUSR1 (or the `requeue_signal` of the
    environment).

    Args:
        dirpath: Folder of the checkpoint. Default: that of the first `ModelCheckpoint`, else
            `checkpoints` in the log folder.
        filename: Name of the checkpoint, without `.ckpt`.
        signals: Names of the signals; those that the operating system lacks are left out.

    Attributes:
        path: The checkpoint of the interruption; empty before it.

    Raises:
        ValueError: If a signal cannot be handled, such as `"SIGKILL"`.

    Warns:
        UserWarning: If `fit` runs outside the main thread, where Python cannot handle signals.

    Example:
        >>> import lightning as L
        >>> import seqlearn as sl
        >>> trainer = L.Trainer(callbacks=[sl.callbacks.Interrupt()], logger=False)
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str = "interrupt",
        signals: Sequence[str] = ("SIGTERM", "SIGUSR1"),
    ) -> None:
        names = [signals] if isinstance(signals, str) else list(signals)
        for name in names:
            if not name.startswith("SIG") or name in ("SIGKILL", "SIGSTOP"):
                raise ValueError(
                    f"expected names of signals that a process can handle, such as 'SIGTERM', got "
                    f"{name!r}"
                )
        self.dirpath = None if dirpath is None else os.fspath(dirpath)
        self.filename = filename
        self.signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
        self.path = ""
        self._received: int | None = None
        self._last_signal = -REPEAT_SECONDS
        self._group: Any = None

    # Handlers

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the place of Lightning's handler, which communicates inside the handler."""
        if stage != "fit":
            return
        self._received, self.path = None, ""
        connector: Any = trainer._signal_connector  # noqa: SLF001 -- there is no public way
        connector._sigterm_notifier_fn = self._on_signal  # noqa: SLF001
        # Last, after the callbacks that change the state of a step. A new list: the old one is
        # being iterated over.
        others: list[Any] = [one for one in trainer.callbacks if one is not self]  # type: ignore[attr-defined]
        trainer.callbacks = [*others, self]  # type: ignore[attr-defined]
        if threading.current_thread() is not threading.main_thread():
            rank_zero_warn(
                "Interrupt handles no signals in this run: expected `fit` in the main thread, got "
                f"{threading.current_thread().name}; call it from the main thread"
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Create the group over which ranks reduce their flags: on the CPU, so without a wait."""
        self._group = None
        if trainer.world_size > 1 and torch.distributed.is_initialized():
            self._group = torch.distributed.new_group(backend="gloo")

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the handlers, after Lightning's."""
        self._install()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the handlers again, after those of Lightning and other callbacks."""
        self._install()

    def _install(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in self.signals:
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Set the flag; a repeat is ignored."""
        now = time.monotonic()
        if now - self._last_signal >= REPEAT_SECONDS and self._received is None:
            self._received = number
        self._last_signal = now

    # Where a run stops

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Stop after an optimizer step that neither validation nor the end of the epoch follows."""
        loop: Any = trainer.fit_loop.epoch_loop
        if loop._should_accumulate():  # noqa: SLF001 -- there is no public way
            return
        requested = self._requested_on_any_rank(trainer)
        if not requested or loop.batch_progress.is_last_batch or trainer.fit_loop.done:
            return
        if not loop._should_check_val_fx(trainer.fit_loop._data_fetcher):  # noqa: SLF001
            self._stop(trainer, requested)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after a validation within an epoch."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        requested = self._requested_on_any_rank(trainer)
        if requested and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._stop(trainer, requested, "on_validation_end")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after an epoch that is not the last."""
        requested = self._requested_on_any_rank(trainer)
        if requested and not trainer.fit_loop.done:
            self._stop(trainer, requested, "on_train_epoch_end")

    def _requested_on_any_rank(self, trainer: Trainer) -> int:
        """The number of the signal that any rank has received; 0 if none has."""
        received = self._received or 0
        if self._group is None:
            return received
        flag = torch.tensor(received)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX, group=self._group)
        return int(flag)

    def _stop(self, trainer: Trainer, number: int, hook: str | None = None) -> None:
        """Save on all ranks, and end the run.

        Raises:
            SIGTERMException: Always.
        """
        for checkpoint in trainer.checkpoint_callbacks if hook else ():
            # They run after all other callbacks, so what they save here is still missing.
            getattr(checkpoint, hook or "")(trainer, trainer.lightning_module)
        self.path = self._checkpoint_path(trainer)
        trainer.save_checkpoint(self.path)
        name = signal.Signals(number).name
        rank_zero_info(
            f"Interrupt: {name} received; stopped after step {trainer.global_step}, saved "
            f"{self.path}. To continue: fit(…, ckpt_path={self.path!r})"
        )
        _requeue(trainer, number)
        own_launcher = isinstance(_environment(trainer), LightningEnvironment)
        raise SIGTERMException(0 if own_launcher and trainer.local_rank > 0 else EXIT_STATUS)

    def _checkpoint_path(self, trainer: Trainer) -> str:
        folder = self.dirpath
        for one in trainer.checkpoint_callbacks:
            if folder is None and isinstance(one, ModelCheckpoint) and one.dirpath:
                folder = str(one.dirpath)
        if folder is None:
            root: Any = trainer.strategy.broadcast(trainer.log_dir or trainer.default_root_dir)
            folder = os.path.join(root, "checkpoints")
        return os.path.join(folder, f"{self.filename}.ckpt")


def _environment(trainer: Trainer) -> Any:
    return getattr(trainer.strategy, "cluster_environment", None)


def _requeue(trainer: Trainer, number: int) -> None:
    """Requeue a Slurm job that asks for it; its next start continues from the checkpoint."""
    environment = _environment(trainer)
    if not isinstance(environment, SLURMEnvironment) or not environment.auto_requeue:
        return
    if number != (environment.requeue_signal or signal.SIGUSR1) or not trainer.is_global_zero:
        return
    array, task = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    job = f"{array}_{task}" if array and task else os.environ["SLURM_JOB_ID"]
    command = ["scontrol", "requeue", job]
    try:
        status = subprocess.run(command, check=False).returncode  # noqa: S603 -- our own words
    except OSError as error:
        rank_zero_warn(f"Interrupt: could not run {' '.join(command)} ({error}); requeue the job")
        return
    if status:
        rank_zero_warn(f"Interrupt: {' '.join(command)} ended with status {status}")
