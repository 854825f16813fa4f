"""Loaders that can be iterated by several at once, and that weigh the batches of training.

torch starts persistent worker processes anew for each iteration, which ends the one that is still
running. Here an iteration that was ended so goes on where it was when its next batch is due: a
callback that takes a batch from a loader changes nothing for the Trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import lightning as L
from torch.utils.data import DataLoader

from seqlearn.batch import SequenceBatch
from seqlearn.data.batching import BatchSampler, Ints
from seqlearn.data.position import TrainingPosition, fitting_trainer, training_loaders
from seqlearn.spec import SequenceSpec


class Extent(NamedTuple):
    """What an iteration yields.

    Attributes:
        epoch: Which order it follows.
        batch: The first batch of that order.
        batches: How many batches it yields.
        length: How many of them an epoch has, before the next one begins.
    """

    epoch: int
    batch: int
    batches: int
    length: int


class SequenceLoader(DataLoader[SequenceBatch]):
    """Ready batches of a `BatchSampler`'s plan.

    Made with `DataLoader`'s arguments: `sampler` is a `BatchSampler`, `batch_size` is `None`.

    Attributes:
        spec: Of the batches, to be held against a model's.
    """

    spec: SequenceSpec | None = None

    _starts = 0  # of iterations; the last one owns the persistent workers

    def __iter__(self) -> Iterator[SequenceBatch]:  # type: ignore[override]
        """The batches, from the moment on at which the first is taken."""
        return _Batches(self)

    @property
    def plan_sampler(self) -> BatchSampler:
        """The sampler, by its type."""
        return cast(BatchSampler, self.sampler)

    def extent(self) -> Extent:
        """What an iteration that starts now yields: the epoch that the sampler was set to."""
        return Extent(self.plan_sampler.epoch, 0, len(self), len(self))

    def weight(self, epoch: int, batch: int, length: int) -> float:
        """What the mean loss of a batch counts; see `SequenceBatch.loss_weight`."""
        return 1.0

    def iterate(self, epoch: int, batch: int) -> tuple[Iterator[SequenceBatch], int]:
        """Start torch's own iteration, and number it.

        Args:
            epoch: Which order.
            batch: The first batch of that order.
        """
        with self.plan_sampler.starting_at(epoch, batch):
            batches = super().__iter__()
        self._starts += 1
        return batches, self._starts

    def is_cut_off(self, number: int) -> bool:
        """Whether an iteration has lost the worker processes to a later one."""
        return self.persistent_workers and number != self._starts


class _Batches(Iterator[SequenceBatch]):
    """One iteration over a loader."""

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
        if self._batches is None or ended or loader.is_cut_off(self._number):
            self._batches, self._number = loader.iterate(self._epoch, self._batch)
        batch = next(self._batches)
        weight = loader.weight(self._epoch, self._batch, self._length)
        self._batch, self._left = self._batch + 1, self._left - 1
        return batch if weight == 1.0 else batch._replace(loss_weight=weight)


@runtime_checkable
class TrainedData(Protocol):
    """What a loader of training batches needs to know of its data module."""

    trainer: L.Trainer | None
    training_position: TrainingPosition


class TrainingLoader(SequenceLoader):
    """The training batches.

    The Trainer that fits the data module gets them from the position of its run on, each with its
    weight; anybody else gets the whole current epoch. `attach` says whose they are.
    """

    _data: TrainedData | None = None

    def attach(self, data: TrainedData, counted: Callable[[Sequence[Any]], Ints]) -> None:
        """Follow the runs of a data module.

        Args:
            data: The data module.
            counted: How many targets count in each of some batches of the plan.
        """
        self._data = data
        self._counted = counted
        self._group: tuple[tuple[int, ...], Ints] | None = None

    def extent(self) -> Extent:
        """What an iteration that starts now yields."""
        trainer = self._running()
        if trainer is None or self._data is None:
            return super().extent()
        position = self._data.training_position
        if position.anchor is None:  # a data module whose own `setup` leaves out this package's
            position.start(trainer)
        length = max(1, int(min(trainer.num_training_batches, len(self))))
        epoch, batch = position.now(trainer, length)
        if not self._is_trained_from(trainer):
            return Extent(epoch, 0, len(self), len(self))
        done: Any = trainer.fit_loop.epoch_loop.batch_progress.current
        return Extent(epoch, batch, length - done.processed % length, length)

    def weight(self, epoch: int, batch: int, length: int) -> float:
        """The share of a batch in its optimizer step, as `SequenceBatch.loss_weight` says.

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
        place = progress.processed % accumulated
        left = trainer.num_training_batches - (progress.processed - place)
        first = epoch * length + batch - place
        counts = self._counts(first, int(min(accumulated, left)) if left > 0 else 1, length)
        total = int(counts.sum())
        own = int(counts[min(place, len(counts) - 1), sampler.rank])
        return own * replicas * accumulated / total if total else 0.0

    def _counts(self, first: int, steps: int, length: int) -> Ints:
        """How many targets count, `steps replicas`, from a step on that is counted over epochs."""
        sampler = self.plan_sampler
        key = (first, steps, length)
        if self._group is None or self._group[0] != key:
            batches: list[Any] = []
            for step in range(first, first + steps):
                epoch, place = divmod(step, length)
                start = place * sampler.num_replicas
                batches += sampler.all_batches(epoch)[start : start + sampler.num_replicas]
            self._group = key, self._counted(batches).reshape(steps, sampler.num_replicas)
        return self._group[1]

    def _running(self) -> L.Trainer | None:
        """The Trainer, if it fits the data module now."""
        return None if self._data is None else fitting_trainer(self._data)

    def _is_trained_from(self, trainer: L.Trainer) -> bool:
        return any(each is self for each in training_loaders(trainer))


class ResumableLoader(TrainingLoader):
    """Tells Lightning, by having these two methods, that it can be resumed within an epoch.

    The position itself is in the data module's state. A loader without them, handed to `fit`
    without its data module, cannot be resumed so, and Lightning warns of it.
    """

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to load."""


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
