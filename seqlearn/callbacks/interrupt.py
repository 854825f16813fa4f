"""Stop a run at the end of an optimizer step, with a checkpoint; end it when a rank is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.distributed import DistError

from seqlearn.callbacks.rank_watch import RankWatch, end_process

EXIT_STATUS = 143
"""The exit status of an interrupted run, as of a process that SIGTERM ended (128 + 15)."""

REPEAT_SECONDS = 10.0
"""Within this time a second signal is a repeat: agents and process groups both deliver it."""


class Interrupt(Callback):
    """Save a checkpoint and stop on SIGTERM or SIGUSR1; end the run when a rank dies or stalls.

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

    If a rank dies, the others end within seconds; if one stalls, they end after `stall_timeout`. A
    message on standard error names the rank and the last checkpoint; the exit status is 1.

    Args:
        dirpath: Folder of the checkpoint. Default: that of the first `ModelCheckpoint`, else
            `checkpoints` in the log folder.
        filename: Name of the checkpoint, without `.ckpt`.
        signals: Names of the signals; those that the operating system lacks are left out.
        stall_timeout: Seconds without progress of any rank, or without a sign of life from one,
            after which the run ends. By default 30 minutes, after which Lightning's strategies give
            up a collective operation, too. `None`: ranks are not watched.

    Attributes:
        path: The checkpoint of the interruption; empty before it.

    Raises:
        ValueError: If a signal cannot be handled, such as `"SIGKILL"`, or `stall_timeout` is not
            positive.

    Warns:
        UserWarning: If `fit` runs outside the main thread, where Python cannot handle signals; if
            ranks cannot be watched because rank 0 cannot be reached.

    Examples:
        >>> import lightning as L
        >>> import seqlearn as sl
        >>> trainer = L.Trainer(callbacks=[sl.callbacks.Interrupt()], logger=False)
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str = "interrupt",
        signals: Sequence[str] = ("SIGTERM", "SIGUSR1"),
        stall_timeout: float | None = 1800.0,
    ) -> None:
        names = [signals] if isinstance(signals, str) else list(signals)
        for name in names:
            if not name.startswith("SIG") or name in ("SIGKILL", "SIGSTOP"):
                raise ValueError(
                    f"expected names of signals that a process can handle, such as 'SIGTERM', got "
                    f"{name!r}"
                )
        if stall_timeout is not None and not stall_timeout > 0:
            raise ValueError(f"expected a positive stall_timeout or None, got {stall_timeout}")
        self.dirpath = None if dirpath is None else os.fspath(dirpath)
        self.filename = filename
        self.signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
        self.stall_timeout = stall_timeout
        self.path = ""
        self._received: int | None = None
        self._last_signal = -REPEAT_SECONDS
        self._group: Any = None
        self._watch: RankWatch | None = None
        self._epoch_end = _EpochEnd(self._stop_after_epoch)

    # Handlers

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the place of Lightning's handler, which communicates inside the handler.

        Only in `fit`: Lightning's own ends a validation or test after the batch.
        """
        connector: Any = trainer._signal_connector  # noqa: SLF001 -- there is no public way
        if stage != "fit":
            vars(connector).pop("_sigterm_notifier_fn", None)
            return
        self._received, self.path = None, ""
        connector._sigterm_notifier_fn = self._on_signal  # noqa: SLF001
        # Last, after the callbacks that change the state of a step. A new list: the old one is
        # being iterated over.
        own = (self, self._epoch_end)
        others: list[Any] = [one for one in trainer.callbacks if one not in own]  # type: ignore[attr-defined]
        trainer.callbacks = [*others, *own]  # type: ignore[attr-defined]
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
            self._start_watch(trainer)

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

    # Ranks

    def _start_watch(self, trainer: Trainer) -> None:
        """Connect this rank to rank 0, if all ranks can."""
        self._watch = None
        if self.stall_timeout is None:
            return
        parent = os.getppid()

        def end(rank: int, words: str, stalled: bool) -> None:
            self._end_run(trainer, rank, words, parent if stalled else 0)

        watch = RankWatch(trainer.global_rank, self.stall_timeout, end)
        place = None
        if trainer.is_global_zero:
            with contextlib.suppress(OSError):
                place = watch.listen(local=trainer.num_nodes == 1)
        place = trainer.strategy.broadcast(place)
        try:
            if place is None:
                raise OSError("rank 0 cannot listen")
            watch.start(_environment(trainer).main_address, *place)
        except OSError as error:
            warnings.warn(
                f"Interrupt: rank {trainer.global_rank} is not watched, since its connection to "
                f"rank 0 failed ({error}); if another rank is lost, this one waits until "
                "the timeout of the strategy",
                stacklevel=2,
            )
        else:
            self._watch = watch

    def _end_run(self, trainer: Trainer, rank: int, words: str, stalled_parent: int) -> None:
        """End this process, since a rank has died or is stalled; called in a thread."""
        path = _last_checkpoint(trainer)
        saved = f"last checkpoint: {path}" if path else "there is no checkpoint yet"
        reporter = 1 if rank == 0 else 0
        shown = (
            f"seqlearn: {words}. The run ends; {saved}" if reporter == trainer.global_rank else ""
        )
        if stalled_parent and _own_launcher(trainer):
            # A stopped process does not end by itself, and nobody else would end it.
            with contextlib.suppress(OSError, AttributeError):
                launcher: Any = trainer.strategy.launcher
                launcher.kill(signal.SIGKILL)
            if rank == 0 and trainer.local_rank > 0 and os.getppid() == stalled_parent:
                os.kill(stalled_parent, signal.SIGKILL)
        end_process(shown, at_once=bool(stalled_parent))

    def _progress(self) -> None:
        if self._watch is not None:
            self._watch.progress()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Tell the other ranks that this one ends, or add what has happened to one of them."""
        if self._watch is None:
            return
        if isinstance(exception, SIGTERMException):
            self._watch.leave()
        elif _is_of_connection(exception) and (verdict := self._watch.wait_for_verdict()):
            exception.add_note(f"{verdict}; last checkpoint: {_last_checkpoint(trainer) or 'none'}")
        else:
            self._watch.leave(f"ended with {type(exception).__name__}: {exception}"[:500])

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the watch."""
        if self._watch is not None:
            self._watch.leave()

    def on_train_batch_start(self, *_: Any) -> None:
        """Count progress, as the hooks below do."""
        self._progress()

    def on_before_backward(self, *_: Any) -> None:
        """Count progress."""
        self._progress()

    def on_validation_batch_start(self, *_: Any) -> None:
        """Count progress."""
        self._progress()

    def on_save_checkpoint(self, *_: Any) -> None:
        """Count progress."""
        self._progress()

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
        self._progress()
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
        self._progress()
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        requested = self._requested_on_any_rank(trainer)
        within = not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if requested and within and not trainer.fit_loop.done:
            self._stop(trainer, requested)

    def _stop_after_epoch(self, trainer: Trainer) -> None:
        """Stop after an epoch that is not the last."""
        requested = self._requested_on_any_rank(trainer)
        if requested and not trainer.fit_loop.done:
            self._stop(trainer, requested)

    def _requested_on_any_rank(self, trainer: Trainer) -> int:
        """The number of the signal that any rank has received; 0 if none has."""
        received = self._received or 0
        if self._group is None:
            return received
        flag = torch.tensor(received)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX, group=self._group)
        return int(flag)

    def _stop(self, trainer: Trainer, number: int) -> None:
        """Save on all ranks, and end the run.

        Raises:
            SIGTERMException: Always.
        """
        self.path = self._checkpoint_path(trainer)
        trainer.save_checkpoint(self.path)
        name = signal.Signals(number).name
        rank_zero_info(
            f"Interrupt: {name} received; stopped after step {trainer.global_step}, saved "
            f"{self.path}. To continue: fit(…, ckpt_path={self.path!r})"
        )
        _requeue(trainer, number)
        by_lightning = _own_launcher(trainer) and trainer.local_rank > 0
        raise SIGTERMException(0 if by_lightning else EXIT_STATUS)

    def _checkpoint_path(self, trainer: Trainer) -> str:
        folder = self.dirpath
        for one in trainer.checkpoint_callbacks:
            if folder is None and isinstance(one, ModelCheckpoint) and one.dirpath:
                folder = str(one.dirpath)
        if folder is None:
            root: Any = trainer.strategy.broadcast(trainer.log_dir or trainer.default_root_dir)
            folder = os.path.join(root, "checkpoints")
        return os.path.join(folder, f"{self.filename}.ckpt")


class _EpochEnd(Checkpoint):
    """Calls a function after all other callbacks of the end of an epoch.

    Lightning calls `on_train_epoch_end` of `Checkpoint` and `EarlyStopping` last, after that of the
    module.
    """

    def __init__(self, function: Callable[[Trainer], None]) -> None:
        self.function = function

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.function(trainer)


def _last_checkpoint(trainer: Trainer) -> str:
    """The newest checkpoint that this run has written or started from; empty if there is none."""
    names = ("_last_checkpoint_saved", "last_model_path", "best_model_path", "path")
    found = [getattr(one, name, "") for one in trainer.callbacks for name in names]  # type: ignore[attr-defined]
    paths = [str(path) for path in (*found, trainer.ckpt_path) if path and os.path.exists(path)]
    return max(paths, key=os.path.getmtime, default="")


def _environment(trainer: Trainer) -> Any:
    return getattr(trainer.strategy, "cluster_environment", None)


def _own_launcher(trainer: Trainer) -> bool:
    """Whether rank 0 has started the others."""
    return isinstance(_environment(trainer), LightningEnvironment)


def _is_of_connection(error: BaseException) -> bool:
    """Whether an error only says that another rank cannot be reached."""
    words = ("gloo", "Connection closed", "Connection reset", "Broken pipe", "NCCL")
    return isinstance(error, DistError) or any(word in str(error) for word in words)


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
