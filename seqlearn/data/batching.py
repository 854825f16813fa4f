"""Batches are planned once; an epoch only shuffles what the plan leaves open.

Examples of similar length on *both* sides share a bucket. Which examples of a bucket meet in a
batch, and in which order the batches come, is a function of (seed, epoch). How many batches
there are, and how large each is, never changes.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DistributedSampler

Ints = NDArray[np.int64]

BUCKET_BATCHES = 2.5
"""Full batches in a bucket, at most, where epochs are shuffled."""


@dataclass(frozen=True)
class Plan:
    """Which rows form batches, and what an epoch may exchange.

    Attributes:
        rows: All rows of the split, those of a bucket, and in it those of a batch, together. A
            negative one, `~row`, repeats `row` only to even out the ranks.
        batches: Where each batch starts in `rows`, and at the end the number of rows.
        buckets: The bucket of each entry of `rows`; rows of one bucket may be exchanged.
        world_size: Batches in a step, one for each rank; their number is a multiple of it.
    """

    rows: Ints
    batches: Ints
    buckets: Ints
    world_size: int = 1

    def __len__(self) -> int:
        """Batches of all ranks together."""
        return len(self.batches) - 1

    def epoch(self, seed: int, epoch: int) -> list[list[int]]:
        """The batches of an epoch, the same for the same (seed, epoch).

        Rows are exchanged within their buckets, then steps are permuted. The batches of one
        step, which run at the same time on all ranks, stay neighbours in length.
        """
        draw = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
        order = np.lexsort((draw.random(len(self.rows)), self.buckets))
        steps = draw.permutation(len(self) // self.world_size)
        places = (steps[:, None] * self.world_size + np.arange(self.world_size)).ravel()
        return self._cut(self.rows[order], places)

    def sequential(self) -> list[list[int]]:
        """The batches in the order of the plan."""
        return self._cut(self.rows, np.arange(len(self)))

    def _cut(self, rows: Ints, places: Ints) -> list[list[int]]:
        starts = self.batches.tolist()
        return [rows[starts[place] : starts[place + 1]].tolist() for place in places.tolist()]


@runtime_checkable
class BatchPlan(Protocol):
    """What a sampler needs of a plan; what a batch is, is between plan and dataset."""

    @property
    def world_size(self) -> int:
        """Batches in a step, one for each rank."""

    def __len__(self) -> int:
        """Batches of all ranks together, a multiple of their number."""

    def epoch(self, seed: int, epoch: int) -> Sequence[Any]:
        """The batches of an epoch, those of one step on all ranks side by side."""

    def sequential(self) -> Sequence[Any]:
        """The same in a fixed order."""


def plan_bucketed(
    source_lengths: Ints,
    target_lengths: Ints,
    batch_tokens: int,
    *,
    world_size: int = 1,
    bucket_batches: float = BUCKET_BATCHES,
    describe_row: Callable[[int], str] = "example row {}".format,
) -> Plan:
    """Plan batches of examples that are similarly long on both sides.

    All examples are cut in two, the longer ones from the shorter ones, on the side that has the
    larger share of padding; each part again, until a part is a bucket.

    Args:
        source_lengths: Tokens in each source.
        target_lengths: Tokens in each target, start and end counted.
        batch_tokens: For every batch that can arise, examples times the longest length on the
            longer side is at most this.
        world_size: Number of ranks. Where the number of batches is no multiple of it, the largest
            batches are halved; only where no more can be halved are examples repeated.
        bucket_batches: Full batches in a bucket at most; more mix better, fewer pad less. Examples
            that do not differ in length share a bucket, however many they are.
        describe_row: Names a row in errors.

    Raises:
        ValueError: If an example alone is longer than the budget.
    """
    longest = _longest(source_lengths, target_lengths, batch_tokens, describe_row)
    buckets: list[tuple[Ints, int]] = []  # rows, and how many make a full batch
    waiting = [np.arange(len(longest))] if len(longest) else []
    while waiting:
        rows = waiting.pop()
        size = batch_tokens // int(longest[rows].max())
        sides = [source_lengths[rows], target_lengths[rows]]
        padding = [1 - lengths.mean() / max(int(lengths.max()), 1) for lengths in sides]
        if len(rows) <= bucket_batches * size or all(np.ptp(lengths) == 0 for lengths in sides):
            buckets.append((rows, size))
            continue
        first, second = sides if padding[0] > padding[1] else sides[::-1]
        order = np.lexsort((second, first))[::-1]
        half = max(1, round(len(rows) / 2 / size)) * size
        waiting += [rows[order[half:]], rows[order[:half]]]
    sizes = [
        len(part) for rows, size in buckets for part in np.array_split(rows, -(-len(rows) // size))
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
    """Plan batches of consecutive examples under the same budget; arguments of `plan_bucketed`.

    Raises:
        ValueError: If an example alone is longer than the budget.
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
    """Yields what the plan has for each batch (a list of rows), those of one rank.

    It is a `DistributedSampler`, also for one process, so that Lightning leaves it alone and tells
    it the epoch. Use it as `DataLoader(dataset, sampler=..., batch_size=None)`.

    Args:
        plan: The batches of all ranks.
        shuffle: Whether each epoch has its own order; otherwise the plan's.
        seed: Decides, with the epoch, the order.
        rank: Which of the plan's `world_size` ranks this is.

    Raises:
        ValueError: If the rank is outside the world.
    """

    def __init__(self, plan: BatchPlan, *, shuffle: bool, seed: int = 0, rank: int = 0) -> None:
        super().__init__(
            plan,  # type: ignore[arg-type]  # only its length is read
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
        """This rank's batches of the epoch that was set.

        Raises:
            ValueError: If more processes run together than when the plan was made: each of them
                would get all batches.
        """
        if _processes() > self._processes:
            raise ValueError(
                f"this loader was made while {self._processes} process ran, and now "
                f"{_processes()} run together, each of which would get all of its batches; give "
                "the Trainer the data module itself, as in trainer.fit(model, datamodule=data)"
            )
        batches = self.all_batches(self.epoch)
        return iter(batches[self.rank :: self.num_replicas][self._start :])

    def __len__(self) -> int:
        """This rank's batches in every epoch, also in one that is joined later.

        Lightning itself counts those that ran before an interruption.
        """
        return len(self.plan) // self.num_replicas

    def all_batches(self, epoch: int) -> Sequence[Any]:
        """The batches of all ranks in an epoch, those of one step side by side."""
        if not self.shuffle:
            return self.plan.sequential()
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, self.plan.epoch(self.seed, epoch)
        return self._order[1]

    @contextmanager
    def starting_at(self, epoch: int, batch: int) -> Iterator[None]:
        """Within the block, iterations start at a batch of an epoch.

        Args:
            epoch: Which order.
            batch: This rank's first batch of that order.
        """
        before = self.epoch, self._start
        self.epoch, self._start = epoch, batch
        try:
            yield
        finally:
            self.epoch, self._start = before


def _processes() -> int:
    """Processes that run together, as far as torch knows yet."""
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if together else 1


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


def _pad_to_world_size(rows: Ints, sizes: list[int], buckets: Ints, world_size: int) -> Plan:
    """Make the number of batches a multiple of the ranks: halve the largest, else repeat rows."""
    halves = [[size] for size in sizes]
    heap = [(-size, place, 0) for place, size in enumerate(sizes)]
    heapq.heapify(heap)
    missing = -len(sizes) % world_size
    while missing and heap and heap[0][0] < -1:
        size, place, part = heapq.heappop(heap)
        half = -size // 2
        halves[place][part] = -size - half
        halves[place].append(half)
        heapq.heappush(heap, (size + half, place, part))
        heapq.heappush(heap, (-half, place, len(halves[place]) - 1))
        missing -= 1
    final = [size for parts in halves for size in parts]
    if missing and len(rows):
        final += [1] * missing
        repeated = ~np.resize(rows, missing)
        rows = np.concatenate([rows, repeated])
        buckets = np.concatenate([buckets, buckets.max() + 1 + np.arange(missing)])
    return Plan(rows, np.cumsum([0, *final]), buckets, world_size)
