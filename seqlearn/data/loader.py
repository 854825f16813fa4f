"""Data loaders with independent iterators, and with loss weights of training batches.

With persistent workers, torch resets the workers for each new iterator, which ends a running one.
Here an iterator that lost its workers resumes at its next batch, so that a callback that takes a
batch from a loader changes nothing for the Trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import lightning as L
import torch
from torch.utils.data import DataLoader

from seqlearn.batch import SequenceBatch
from seqlearn.data.batching import BatchSampler, Ints
from seqlearn.data.position import TrainingPosition, fitting_trainer, training_loaders
from seqlearn.spec import SequenceSpec


class Extent(NamedTuple):
    """The batches that an iterator yields.

    Attributes:
        epoch: The epoch of the first batch.
        batch: Index of the first batch in that epoch.
        batches: Number of batches.
        length: Number of batches of an epoch, after which the next epoch begins.
    """

    epoch: int
    batch: int
    batches: int
    length: int


class SequenceLoader(DataLoader[SequenceBatch]):
    """Loader of the batches of a `BatchSampler`'s plan.

    Takes the arguments of `DataLoader`; `sampler` is a `BatchSampler`, `batch_size` is `None`.

    Attributes:
        spec: Spec of the batches, which is compared with a model's.
    """

    spec: SequenceSpec | None = None

    _starts = 0  # number of iterators; the last one owns the persistent workers

    def __iter__(self) -> Iterator[SequenceBatch]:  # type: ignore[override]
        """An iterator; its position is determined when the first batch is taken."""
        return _EpochCursor(self)

    @property
    def plan_sampler(self) -> BatchSampler:
        """The sampler with its type."""
        return cast(BatchSampler, self.sampler)

    def current_epoch(self) -> Extent:
        """The whole epoch that the sampler is set to."""
        return Extent(self.plan_sampler.epoch, 0, len(self), len(self))

    def extent(self) -> Extent:
        """The batches of an iterator that starts now; by default the whole current epoch.

        Hook: a loader for training continues from the position of the run.
        """
        return self.current_epoch()

    def weight(self, epoch: int, batch: int, length: int) -> float:
        """The weight of a batch's mean loss, see `SequenceBatch.loss_weight`; by default 1.

        Hook: a loader for training weights batches by their targets.
        """
        return 1.0

    def iterate(self, epoch: int, batch: int) -> tuple[Iterator[SequenceBatch], int]:
        """Create torch's iterator, and number it.

        Args:
            epoch: The epoch.
            batch: Index of the first batch in it.
        """
        # torch draws a seed for the workers; from a copy of the global generator, since a draw
        # would change what the caller draws next.
        given = self.generator
        if given is None:
            self.generator = torch.Generator()
            self.generator.set_state(torch.get_rng_state())
        try:
            with self.plan_sampler.starting_at(epoch, batch), torch.device("cpu"):
                batches = super().__iter__()
        finally:
            self.generator = given
        self._starts += 1
        return batches, self._starts

    def has_lost_workers(self, number: int) -> bool:
        """Whether a later iterator has taken over the persistent workers."""
        return self.persistent_workers and number != self._starts


class _EpochCursor(Iterator[SequenceBatch]):
    """An iterator over a loader that continues across the end of an epoch."""

    def __init__(self, loader: SequenceLoader) -> None:
        self._loader = loader
        self._batches: Iterator[SequenceBatch] | None = None
        self._number = self._left = self._epoch = self._batch = self._length = 0

    def __next__(self) -> SequenceBatch:
        loader = self._loader
        if self._batches is None:
            self._epoch, self._batch, self._left, self._length = loader.extent()
        if self._left == 0:
            raise StopIteration
        ended = self._batch == self._length
        if ended:
            self._epoch, self._batch = self._epoch + 1, 0
        if self._batches is None or ended or loader.has_lost_workers(self._number):
            self._batches, self._number = loader.iterate(self._epoch, self._batch)
        batch = next(self._batches)
        weight = loader.weight(self._epoch, self._batch, self._length)
        self._batch, self._left = self._batch + 1, self._left - 1
        return batch if weight == 1.0 else batch._replace(loss_weight=weight)


@runtime_checkable
class TrainedData(Protocol):
    """Protocol of the data module for a loader of training batches."""

    trainer: L.Trainer | None
    training_position: TrainingPosition


class TrainingLoader(SequenceLoader):
    """Loader of the training batches.

    For the Trainer that fits the data module, an iterator starts at the position of the run, and
    each batch has its loss weight. Any other iterator yields the whole current epoch.
    """

    _data: TrainedData | None = None

    def attach(self, data: TrainedData, counted: Callable[[Sequence[Any]], Ints]) -> None:
        """Set the data module whose runs the loader follows.

        Args:
            data: The data module.
            counted: Function that counts the targets in the loss of each batch of the plan.
        """
        self._data = data
        self._counted = counted
        self._group: tuple[tuple[int, ...], Ints] | None = None

    def extent(self) -> Extent:
        """The batches of an iterator that starts now."""
        trainer = self._running()
        if trainer is None or self._data is None:
            return self.current_epoch()
        position = self._data.training_position
        if position.anchor is None:  # a data module whose `setup` does not call `super().setup`
            position.start(trainer)
        length = max(1, int(min(trainer.num_training_batches, len(self))))
        epoch, batch = position.now(trainer, length)
        if not self._is_trained_from(trainer):
            return Extent(epoch, 0, len(self), len(self))
        done: Any = trainer.fit_loop.epoch_loop.batch_progress.current
        return Extent(epoch, batch, length - done.processed % length, length)

    def weight(self, epoch: int, batch: int, length: int) -> float:
        """The weight of a batch in its optimizer step, as `SequenceBatch.loss_weight` defines it.

        Raises:
            ValueError: If the strategy does not step on the last, smaller group of an epoch.
        """
        trainer = self._running()
        sampler = self.plan_sampler
        if trainer is None or not self._is_trained_from(trainer):
            return 1.0
        accumulated, replicas = trainer.accumulate_grad_batches, sampler.num_replicas
        if accumulated * replicas == 1:
            return 1.0
        check_last_group(trainer)
        progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
        micro_batch = progress.processed % accumulated  # index in the accumulation group
        left = trainer.num_training_batches - (progress.processed - micro_batch)
        first = epoch * length + batch - micro_batch
        counts = self._counts(first, int(min(accumulated, left)) if left > 0 else 1, length)
        total = int(counts.sum())
        own = int(counts[min(micro_batch, len(counts) - 1), sampler.rank])
        return own * replicas * accumulated / total if total else 0.0

    def _counts(self, first: int, steps: int, length: int) -> Ints:
        """Number of targets in the loss, `steps replicas`; steps are numbered across epochs."""
        sampler = self.plan_sampler
        key = (first, steps, length)
        if self._group is None or self._group[0] != key:
            batches: list[Any] = []
            for step in range(first, first + steps):
                epoch, index = divmod(step, length)
                start = index * sampler.num_replicas
                batches += sampler.all_batches(epoch)[start : start + sampler.num_replicas]
            self._group = key, self._counted(batches).reshape(steps, sampler.num_replicas)
        return self._group[1]

    def _running(self) -> L.Trainer | None:
        """The Trainer that currently fits the data module, if any."""
        return None if self._data is None else fitting_trainer(self._data)

    def _is_trained_from(self, trainer: L.Trainer) -> bool:
        return any(each is self for each in training_loaders(trainer))


class ResumableLoader(TrainingLoader):
    """A training loader that Lightning can resume within an epoch, because it has these methods.

    The position itself is in the data module's state. A `TrainingLoader` that is passed to `fit`
    without its data module cannot be resumed within an epoch, and Lightning warns of it.
    """

    def state_dict(self) -> dict[str, Any]:
        """Empty; the data module has the state."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Do nothing; the data module has the state."""


def check_last_group(trainer: L.Trainer) -> None:
    """Check that the optimizer steps on every batch that is accumulated.

    Raises:
        ValueError: If an epoch ends within an accumulation group and the strategy, such as
            deepspeed, carries the group on into the next epoch.
    """
    accumulated, batches = trainer.accumulate_grad_batches, trainer.num_training_batches
    if trainer.strategy.handles_gradient_accumulation and batches % accumulated:
        raise ValueError(
            f"{type(trainer.strategy).__name__} takes no optimizer step at the end of an epoch of "
            f"{batches} batches with accumulate_grad_batches={accumulated}; set "
            f"limit_train_batches to a multiple of {accumulated}, or use another strategy, such as "
            "'ddp'"
        )
