"""Buckets of examples with similar source *and* target lengths.

The examples are divided by their pair of lengths, and there are few different pairs: the work
depends on their number, not on that of the examples, which are sorted once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def divide_into_buckets(
    source_lengths: Ints, target_lengths: Ints, batch_tokens: int, bucket_batches: float
) -> list[tuple[Ints, int]]:
    """Divide examples into buckets.

    The examples are split into a longer and a shorter half by the side with the larger fraction of
    padding. Each half is split again until it is small enough for a bucket.

    Args:
        source_lengths: Number of tokens in each source.
        target_lengths: Number of tokens in each target.
        batch_tokens: Budget of a batch: number of examples times the longest length.
        bucket_batches: Maximum number of full batches in a bucket; examples of equal lengths always
            share one.

    Returns:
        The rows of each bucket, and the number of examples in a full batch.

    Examples:
        >>> lengths = np.array([2, 9, 2, 9])
        >>> [(rows.tolist(), size) for rows, size in divide_into_buckets(lengths, lengths, 18, 1)]
        [([3, 1], 2), ([2, 0], 9)]
    """
    if not len(source_lengths):
        return []
    keys = _narrow(source_lengths * (int(target_lengths.max()) + 1) + target_lengths)
    order = np.argsort(keys, kind="stable")
    changes = np.flatnonzero(np.diff(keys[order])) + 1
    starts = np.concatenate([[0], changes])
    ends = np.concatenate([changes, [len(order)]])
    first = order[starts]
    buckets: list[tuple[Ints, int]] = []
    waiting = [_Part(source_lengths[first], target_lengths[first], starts, ends, depth=0)]
    while waiting:
        part = waiting.pop()
        size = part.batch_size(batch_tokens)
        if len(part) <= bucket_batches * size or part.has_equal_lengths:
            whole = np.arange(len(order)) if part.depth == 0 else part.rows(order)
            buckets.append((whole, size))
        else:
            longer, shorter = part.split(max(1, round(len(part) / 2 / size)) * size)
            waiting += [shorter, longer]
    return buckets


@dataclass(frozen=True)
class _Part:
    """A part of the examples, as ranges of the examples that are sorted by their lengths.

    Attributes:
        source: Source length of each range, `range`.
        target: Target length of each range, `range`.
        starts: First position of each range.
        ends: Position after the last one of each range.
        depth: Number of times that the part was split. Each split reverses the order of examples
            with equal lengths.
    """

    source: Ints
    target: Ints
    starts: Ints
    ends: Ints
    depth: int

    def __len__(self) -> int:
        return int((self.ends - self.starts).sum())

    def batch_size(self, batch_tokens: int) -> int:
        """Number of examples of a full batch."""
        return batch_tokens // max(1, int(self.source.max()), int(self.target.max()))

    @property
    def has_equal_lengths(self) -> bool:
        return len(self.starts) == 1

    def rows(self, order: Ints) -> Ints:
        """The rows, from long to short."""
        ranges = zip(self.starts.tolist(), self.ends.tolist(), strict=True)
        step = -1 if self.depth % 2 else 1
        return np.concatenate([order[start:end][::step] for start, end in ranges])

    def split(self, count: int) -> tuple[_Part, _Part]:
        """The `count` longest examples of the side with more padding, and the others."""
        counts = self.ends - self.starts
        padding = [
            1 - (lengths @ counts / counts.sum()) / max(int(lengths.max()), 1)
            for lengths in (self.source, self.target)
        ]
        sides = self.source, self.target
        first, second = sides if padding[0] > padding[1] else sides[::-1]
        order = np.lexsort((second, first))[::-1]
        totals = np.cumsum(counts[order])
        last = int(np.searchsorted(totals, count))  # the range in which the longer half ends
        left = int(totals[last]) - count  # number of its examples in the shorter half
        longer, shorter = order[: last + 1], order[last if left else last + 1 :]
        parts = [
            _Part(self.source[half], self.target[half], self.starts[half], self.ends[half], depth)
            for depth in [self.depth + 1]
            for half in (longer, shorter)
        ]
        if left and parts[0].depth % 2:  # a range is read from its end
            parts[0].starts[-1] += left
            parts[1].ends[0] = parts[0].starts[-1]
        elif left:
            parts[0].ends[-1] -= left
            parts[1].starts[0] = parts[0].ends[-1]
        return parts[0], parts[1]


def _narrow(values: Ints) -> NDArray[np.integer]:
    """Numbers of zero or more in their smallest type; numpy sorts 16 bits in linear time."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))
