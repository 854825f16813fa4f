"""Batch plans: which examples form batches, and in which order.

Examples of similar source *and* target length share a bucket. The plan fixes the number of batches
and their sizes once. Which examples of a bucket form a batch, and the order of the batches, is a
function of (seed, epoch).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, overload, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DistributedSampler

from seqlearn.data.buckets import divide_into_buckets

Ints = NDArray[np.int64]

BUCKET_BATCHES = 2.5
"""Maximum number of full batches in a bucket if epochs are shuffled."""


@dataclass(frozen=True)
class Plan:
    """A plan of batches in buckets.

    Attributes:
        rows: All row indices of the split, grouped by bucket and then by batch. A negative entry
            `~row` is a duplicate of `row` that gives all ranks equally many batches.
        batches: Start of each batch in `rows`, followed by the number of rows.
        buckets: The bucket of each entry of `rows`; an epoch permutes rows within a bucket.
        world_size: Number of ranks; the number of batches is a multiple of it.

    Examples:
        >>> plan = plan_sequential(np.array([2, 2, 2, 9]), np.ones(4, dtype=np.int64), 9)
        >>> list(plan.sequential())
        [[0, 1, 2], [3]]
    """

    rows: Ints
    batches: Ints
    buckets: Ints
    world_size: int = 1

    def __len__(self) -> int:
        """Number of batches of all ranks together."""
        return len(self.batches) - 1

    def epoch(self, seed: int, epoch: int) -> RowBatches:
        """The batches of an epoch, a function of (seed, epoch).

        Rows are permuted within their buckets, then steps are permuted. The batches of one step,
        which run at the same time on all ranks, keep similar lengths.
        """
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
        draws = rng.random(len(self.rows))
        bounds = [0, *(np.flatnonzero(np.diff(self.buckets)) + 1).tolist(), len(draws)]
        rows = np.empty_like(self.rows)
        for start, end in itertools.pairwise(bounds):
            rows[start:end] = self.rows[start:end][_order(draws[start:end])]
        steps = rng.permutation(len(self) // self.world_size)
        batches = (steps[:, None] * self.world_size + np.arange(self.world_size)).ravel()
        return RowBatches(rows, self.batches, batches)

    def sequential(self) -> RowBatches:
        """The batches in the order of the plan."""
        return RowBatches(self.rows, self.batches, np.arange(len(self)))


class RowBatches(Sequence[list[int]]):
    """The batches of an epoch, lists of rows, which are made on access.

    Args:
        rows: The rows of all batches of the plan.
        starts: Start of each batch in `rows`, followed by the number of rows.
        batches: Indices of the batches to include, in order.
    """

    def __init__(self, rows: Ints, starts: Ints, batches: Ints) -> None:
        self._rows, self._starts, self._batches = rows, starts, batches

    def __len__(self) -> int:
        """Number of batches."""
        return len(self._batches)

    @overload
    def __getitem__(self, index: int) -> list[int]: ...
    @overload
    def __getitem__(self, index: slice) -> RowBatches: ...
    def __getitem__(self, index: int | slice) -> list[int] | RowBatches:
        """The rows of one batch, or a part of the batches."""
        if isinstance(index, slice):
            return RowBatches(self._rows, self._starts, self._batches[index])
        batch = self._batches[index]
        rows: list[int] = self._rows[self._starts[batch] : self._starts[batch + 1]].tolist()
        return rows


@runtime_checkable
class BatchPlan(Protocol):
    """Protocol of a plan for a `BatchSampler`; its entries index a `BatchDataset`."""

    @property
    def world_size(self) -> int:
        """Number of ranks, which is the number of batches in a step."""

    def __len__(self) -> int:
        """Number of batches of all ranks together, a multiple of `world_size`."""

    def epoch(self, seed: int, epoch: int) -> Sequence[Any]:
        """The batches of an epoch; those of one step on all ranks are adjacent."""

    def sequential(self) -> Sequence[Any]:
        """The batches in a fixed order."""


def plan_bucketed(
    source_lengths: Ints,
    target_lengths: Ints,
    batch_tokens: int,
    *,
    world_size: int = 1,
    bucket_batches: float = BUCKET_BATCHES,
    describe_row: Callable[[int], str] = "example row {}".format,
) -> Plan:
    """Plan batches of examples with similar source and target lengths.

    `divide_into_buckets` makes the buckets; each is divided into batches of nearly equal size.

    Args:
        source_lengths: Number of tokens in each source.
        target_lengths: Number of tokens in each target, start and end included.
        batch_tokens: Budget of a batch: the number of examples times the longest length of the
            longer side is at most this, in every epoch.
        world_size: Number of ranks. If the number of batches is not a multiple of it, the largest
            batches are halved; if none can be halved, examples are duplicated.
        bucket_batches: Maximum number of full batches in a bucket. More give better mixing, fewer
            give less padding. Examples of equal length always share a bucket.
        describe_row: Describes a row in errors.

    Raises:
        ValueError: If a single example is longer than the budget.
    """
    _longest(source_lengths, target_lengths, batch_tokens, describe_row)
    buckets = divide_into_buckets(source_lengths, target_lengths, batch_tokens, bucket_batches)
    sizes = [
        len(rows) // parts + (part < len(rows) % parts)
        for rows, size in buckets
        for parts in [-(-len(rows) // size)]
        for part in range(parts)
    ]
    return _pad_to_world_size(
        np.concatenate([rows for rows, _ in buckets]) if buckets else np.zeros(0, np.int64),
        sizes,
        np.repeat(np.arange(len(buckets)), [len(rows) for rows, _ in buckets]),
        world_size,
    )


def plan_sequential(
    source_lengths: Ints,
    target_lengths: Ints,
    batch_tokens: int,
    *,
    world_size: int = 1,
    describe_row: Callable[[int], str] = "example row {}".format,
) -> Plan:
    """Plan batches of consecutive examples under the same budget.

    Args:
        source_lengths: As in `plan_bucketed`.
        target_lengths: As in `plan_bucketed`.
        batch_tokens: As in `plan_bucketed`.
        world_size: As in `plan_bucketed`.
        describe_row: As in `plan_bucketed`.

    Raises:
        ValueError: If a single example is longer than the budget.
    """
    longest = _longest(source_lengths, target_lengths, batch_tokens, describe_row)
    sizes: list[int] = []
    size = most = 0
    for length in longest.tolist():
        if size and (size + 1) * max(most, length) > batch_tokens:
            sizes.append(size)
            size = most = 0
        size, most = size + 1, max(most, length)
    if size:
        sizes.append(size)
    rows = np.arange(len(longest))
    return _pad_to_world_size(rows, sizes, rows, world_size)


class BatchSampler(DistributedSampler[Any]):
    """Yields the plan's entry (a list of rows) for each batch of one rank.

    It is a `DistributedSampler`, also for one process, so that Lightning does not replace it and
    calls its `set_epoch`. Use it as `DataLoader(dataset, sampler=..., batch_size=None)`.

    Args:
        plan: The batches of all ranks.
        shuffle: Whether each epoch has an order of its own.
        seed: Determines, with the epoch, the order.
        rank: Rank of this process, below the plan's `world_size`.

    Raises:
        ValueError: If the rank is out of range.
    """

    def __init__(self, plan: BatchPlan, *, shuffle: bool, seed: int = 0, rank: int = 0) -> None:
        super().__init__(
            plan,  # type: ignore[arg-type]  # only its length is used
            num_replicas=plan.world_size,
            rank=rank,
            shuffle=shuffle,
            seed=seed,
        )
        self.plan = plan
        self._start = 0
        self._order: tuple[int, Sequence[Any]] | None = None
        self._processes = _processes()

    def __iter__(self) -> Iterator[Any]:
        """This rank's batches of the current epoch.

        Raises:
            ValueError: If more processes run than when the plan was made, since each of them would
                get all batches.
        """
        if _processes() > self._processes:
            raise ValueError(
                f"this loader was created with {self._processes} process, but now {_processes()} "
                "processes run, and each would get all of its batches; pass the data module itself "
                "to the Trainer, as in trainer.fit(model, datamodule=data)"
            )
        batches = self.all_batches(self.epoch)
        return iter(batches[self.rank :: self.num_replicas][self._start :])

    def __len__(self) -> int:
        """Number of this rank's batches in an epoch, also in an epoch that is resumed.

        Lightning counts the batches before the interruption itself.
        """
        return len(self.plan) // self.num_replicas

    def all_batches(self, epoch: int) -> Sequence[Any]:
        """The batches of all ranks in an epoch; those of one step are adjacent."""
        if not self.shuffle:
            return self.plan.sequential()
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, self.plan.epoch(self.seed, epoch)
        return self._order[1]

    @contextmanager
    def starting_at(self, epoch: int, batch: int) -> Iterator[None]:
        """Context in which iterations start at a given batch of an epoch.

        Args:
            epoch: The epoch.
            batch: This rank's first batch in it.
        """
        previous = self.epoch, self._start
        self.epoch, self._start = epoch, batch
        try:
            yield
        finally:
            self.epoch, self._start = previous


def _processes() -> int:
    """World size of torch's process group; 1 before it is initialized."""
    initialized = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if initialized else 1


def _longest(
    source_lengths: Ints,
    target_lengths: Ints,
    batch_tokens: int,
    describe_row: Callable[[int], str],
) -> Ints:
    """Length of the longer side, at least one."""
    longest: Ints = np.maximum(np.maximum(source_lengths, target_lengths), 1)
    if len(longest) and longest.max() > batch_tokens:
        row = int(longest.argmax())
        raise ValueError(
            f"{describe_row(row)}: {source_lengths[row]} tokens in the source and "
            f"{target_lengths[row]} in the target do not fit batch_tokens={batch_tokens}; "
            f"set batch_tokens to at least {longest[row]}, or shorten the example"
        )
    return longest


def _order(draws: NDArray[np.float64]) -> Ints:
    """The stable order of random numbers; equal ones, for which it matters, are rare."""
    order = np.argsort(draws)
    if np.diff(draws[order]).all():
        return order
    return np.argsort(draws, kind="stable")


def _pad_to_world_size(rows: Ints, sizes: list[int], buckets: Ints, world_size: int) -> Plan:
    """Make the number of batches a multiple of the ranks: halve the largest, or duplicate rows."""
    halves = [[size] for size in sizes]
    heap = [(-size, index, 0) for index, size in enumerate(sizes)]
    heapq.heapify(heap)
    missing = -len(sizes) % world_size
    while missing and heap and heap[0][0] < -1:
        size, index, part = heapq.heappop(heap)
        half = -size // 2
        halves[index][part] = -size - half
        halves[index].append(half)
        heapq.heappush(heap, (size + half, index, part))
        heapq.heappush(heap, (-half, index, len(halves[index]) - 1))
        missing -= 1
    final = [size for parts in halves for size in parts]
    if missing and len(rows):
        final += [1] * missing
        duplicates = ~np.resize(rows, missing)
        rows = np.concatenate([rows, duplicates])
        buckets = np.concatenate([buckets, buckets.max() + 1 + np.arange(missing)])
    return Plan(rows, np.cumsum([0, *final]), buckets, world_size)
