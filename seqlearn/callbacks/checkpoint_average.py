"""`CheckpointAverage`: the mean of the weights at the ends of the last epochs."""

from __future__ import annotations

import itertools
import math
import weakref
from collections import deque
from collections.abc import Collection, Iterator
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import (
    ModelCheckpoint,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.strategies import (
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
)
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from seqlearn.core.checkpointed import CURRENT_STATE, Checkpointed
from seqlearn.core.compiled import WRAPPER
from seqlearn.plain_data import check_whole_number

SHARDING = (ModelParallelStrategy, FSDPStrategy, DeepSpeedStrategy)
"""Strategies under which no process has the whole module."""


class CheckpointAverage(L.Callback):
    """Validate, save and test the mean of the weights at the ends of the last epochs.

    Vaswani et al. 2017 average the last checkpoints of a run before they translate. Here the mean
    is at hand during training: each epoch ends with a snapshot of the weights, and validation, the
    `state_dict` of each checkpoint and the module after `fit` have the mean of the last `last`
    snapshots. Training itself goes on with the current weights, and is not affected. If a run ends
    within an epoch (`max_steps`), its last weights are part of the last mean.

    A checkpoint also holds the current weights and the snapshots, so that a resumed run equals an
    uninterrupted one; it is larger by `last` + 1 times the size of the weights. The snapshots are
    in the memory of the CPU. Before the first snapshot the current weights are used.

    Args:
        last: Number of snapshots in the mean.
        every_n_steps: Take a snapshot after so many optimizer steps; `None` is at the end of each
            epoch, before its validation.

    Raises:
        TypeError: If a number is not a whole number.
        ValueError: If a number is below 1; when `fit` starts, if the strategy shards the module, if
            another callback averages the weights, or if a `ModelCheckpoint` saves only the weights
            of a module that is not one of this library; if the weights get other names during the
            run, as by pruning.

    Warns:
        UserWarning: If a run ends with fewer snapshots than `last`. Their mean then contains
            weights from the beginning of the run, and is often worse than the current ones. If
            validation comes more often than snapshots, so that it measures the same mean again.

    Examples:
        >>> from lightning.pytorch.callbacks import ModelCheckpoint
        >>> callbacks = [CheckpointAverage(last=5), ModelCheckpoint(monitor="val/loss")]
    """

    averages_weights = True
    """Whether a resumed run continues the mean of its checkpoint."""

    def __init__(self, last: int = 10, every_n_steps: int | None = None) -> None:
        self.last = check_whole_number(last, "CheckpointAverage.last", 1)
        self.every_n_steps = every_n_steps
        if every_n_steps is not None:
            self.every_n_steps = check_whole_number(
                every_n_steps, "CheckpointAverage.every_n_steps", 1
            )
        self._snapshots: deque[dict[str, Tensor]] = deque(maxlen=self.last)
        self._end: dict[str, Tensor] | None = None  # of a run that ends within an epoch
        self._other: dict[str, Tensor] = {}  # the mean; the current weights while it is in use
        self._in_use, self._latest_step = False, 0
        self._fitting = False
        self._module: weakref.ref[L.LightningModule] | None = None  # that was fitted

    def __getstate__(self) -> dict[str, Any]:
        """All but the reference to the module, which cannot be pickled."""
        return self.__dict__ | {"_module": None}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Start without snapshots when `fit` begins."""
        self._fitting = stage == "fit"
        if not self._fitting:
            return
        if isinstance(trainer.strategy, SHARDING):
            raise ValueError(  # noqa: TRY004 -- a Trainer with an unsupported option
                f"CheckpointAverage does not work with {type(trainer.strategy).__name__}, because "
                "it copies the whole module; use strategy='ddp', or leave the callback out"
            )
        self._check_callbacks(trainer, pl_module)
        self._module = weakref.ref(pl_module)
        self._snapshots.clear()
        self._end = None
        self._other, self._in_use, self._latest_step = {}, False, 0

    def _check_callbacks(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        for each in callbacks:
            if isinstance(each, WeightAveraging | StochasticWeightAveraging):
                raise ValueError(  # noqa: TRY004 -- callbacks that exclude each other
                    f"CheckpointAverage and {type(each).__name__} both average the weights; leave "
                    "one of them out"
                )
            if (
                isinstance(each, ModelCheckpoint)
                and each.save_weights_only
                and not isinstance(module, Checkpointed)
            ):
                raise ValueError(
                    f"ModelCheckpoint(save_weights_only=True) saves the current weights of a "
                    f"{type(module).__name__}, not their mean, because Lightning calls no callback "
                    "then; leave save_weights_only out"
                )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Warn if validation comes more often than snapshots."""
        batches = float(trainer.val_check_batch or math.inf)
        quick: Any = trainer.fast_dev_run  # type: ignore[attr-defined]
        if not trainer.enable_validation or quick or math.isinf(batches):
            return
        epoch, group = trainer.num_training_batches, trainer.accumulate_grad_batches
        steps = max(1, int(batches) // group)
        if self.every_n_steps is None:
            repeats, taken = batches < epoch, "each epoch"
        else:
            if batches >= epoch:  # the last group of an epoch may be smaller
                steps = math.ceil(epoch / group) * (trainer.check_val_every_n_epoch or 1)
            repeats, taken = steps < self.every_n_steps, f"{self.every_n_steps} steps"
        if repeats:
            rank_zero_warn(
                f"CheckpointAverage: validation comes after {steps} steps, and a snapshot after "
                f"{taken}, so that it measures the same mean again, which EarlyStopping counts as "
                f"no improvement; set every_n_steps={steps}"
            )

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any
    ) -> None:
        """Forget the end of a run that goes on."""
        if self._end is not None:
            self._end, self._other = None, _mean(self._snapshots)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any, **__: Any
    ) -> None:
        """Take a snapshot if one is due: before the validation and checkpoints of this step."""
        if self.every_n_steps is None:
            due = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        else:
            due = trainer.global_step % self.every_n_steps == 0
        if due and trainer.global_step > self._latest_step:
            self._latest_step = trainer.global_step
            self._snapshots.append(_snapshot(pl_module))
            self._other = _mean(self._snapshots)
        elif _ends(trainer):
            self._take_end(trainer, pl_module)

    def _take_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Let the last weights of a run count if it ends within an epoch.

        They are no snapshot: if the run is resumed, it must equal one that did not end there.
        """
        within = self.every_n_steps is None and trainer.global_step > self._latest_step
        if within and self._snapshots and self._end is None:
            self._end = _snapshot(module)
            self._other = _mean([*self._snapshots, self._end][-self.last :])

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Use the mean in the validation of a run."""
        if trainer.state.fn == TrainerFn.FITTING and self._snapshots and not self._in_use:
            self._exchange(pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on with the current weights, if the run does."""
        if self._in_use and trainer.state.fn == TrainerFn.FITTING:
            self._exchange(pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the mean in the module."""
        taken = len(self._snapshots)
        if taken < self.last:
            so = "mean contains weights from its beginning" if taken else "current weights are used"
            rank_zero_warn(
                f"CheckpointAverage: expected {self.last} snapshots by the end of the run, got "
                f"{taken}, so the {so}; lower last= (a fourth of the epochs is usual), or set "
                "every_n_steps="
            )
        self._take_end(trainer, pl_module)
        self._leave_mean(pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the mean in the module if nothing was left to train."""
        self._leave_mean(pl_module)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Leave the current weights in the module if a run ends in its validation."""
        if self._in_use and trainer.state.fn == TrainerFn.FITTING:
            self._exchange(pl_module)

    def _leave_mean(self, module: L.LightningModule) -> None:
        if self._snapshots and not self._in_use:
            self._exchange(module)

    def state_dict(self) -> dict[str, Any]:
        """The snapshots, for a run that is resumed."""
        return {
            "snapshots": list(self._snapshots),
            "latest_step": self._latest_step,
            "end": self._end,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the snapshots of a run; only the last ones, if `last` is smaller now."""
        if not self._fitting:  # the checkpoint is only tested
            return
        self._snapshots = deque(state_dict["snapshots"], maxlen=self.last)
        self._latest_step, self._end = state_dict["latest_step"], state_dict.get("end")
        end = [] if self._end is None else [self._end]
        self._other = _mean([*self._snapshots, *end][-self.last :])

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the mean as the `state_dict`, and the current weights beside it."""
        other_module = self._module is not None and self._module() is not pl_module
        if not self._snapshots or other_module:
            return
        in_use = checkpoint["state_dict"]
        self._exchange(pl_module)
        other = {name: each.detach().clone() for name, each in pl_module.state_dict().items()}
        self._exchange(pl_module)
        mean, current = (in_use, other) if self._in_use else (other, in_use)
        checkpoint["state_dict"], checkpoint[CURRENT_STATE] = mean, current

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Resume training with the current weights, not with the mean."""
        if trainer.state.fn == TrainerFn.FITTING and CURRENT_STATE in checkpoint:
            pl_module.load_state_dict(checkpoint[CURRENT_STATE], strict=pl_module.strict_loading)

    def _exchange(self, module: L.LightningModule) -> None:
        """Exchange the current weights and their mean."""
        before = _snapshot(module)
        if before.keys() != self._other.keys():
            others = sorted(before.keys() ^ self._other.keys())
            raise ValueError(
                f"CheckpointAverage: the module has other weights than at the last snapshot "
                f"({', '.join(others[:3])}); do not use it together with pruning or anything else "
                "that renames, adds or removes weights during the run"
            )
        with torch.no_grad():
            for name, weight in _weights(module):
                weight.copy_(self._other[name])
        self._other, self._in_use = before, not self._in_use


def _ends(trainer: L.Trainer) -> bool:
    """Whether the run ends after this step."""
    by_steps = 0 < trainer.max_steps <= trainer.global_step
    return by_steps or (trainer.should_stop and trainer.fit_loop._can_stop_early)  # noqa: SLF001 -- no public way


def _weights(module: L.LightningModule) -> Iterator[tuple[str, Tensor]]:
    """The parameters and saved buffers that are no whole numbers; a tied one once.

    The names do not depend on what is compiled.
    """
    saved = {name.replace(WRAPPER, "") for name in module.state_dict()}
    buffers = dict(module.named_buffers())
    for name, each in itertools.chain(module.named_parameters(), buffers.items()):
        plain = name.replace(WRAPPER, "")
        counts = name not in buffers or plain in saved
        if counts and (each.is_floating_point() or each.is_complex()):
            yield plain, each


def _snapshot(module: L.LightningModule) -> dict[str, Tensor]:
    """A copy of the weights, on the CPU."""
    return {name: each.detach().cpu().clone() for name, each in _weights(module)}


def _mean(snapshots: Collection[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each weight, in double precision before it is rounded."""
    if not snapshots:
        return {}
    *_, newest = snapshots
    means = {}
    for name, weight in newest.items():
        if any(name not in each for each in snapshots):
            continue  # the exchange says so
        exact = torch.complex128 if weight.is_complex() else torch.float64
        total = torch.zeros_like(weight, dtype=exact)
        for each in snapshots:
            total += each[name]
        means[name] = (total / len(snapshots)).to(weight.dtype)
    return means
