"""Batching for truncated backpropagation through time (TBPTT).

All documents of a split are concatenated, each as start … end, into one circular token stream,
which is divided into `num_streams` contiguous streams of equal length. Batch t holds the tokens
`t · window` to `(t + 1) · window` of every stream, so row i of batch t + 1 continues row i of
batch t:

    stream 0   | window 0 | window 1 | window 2 | …        row 0 of batch 0, 1, 2, …
    stream 1   | window 0 | window 1 | window 2 | …        row 1 of batch 0, 1, 2, …

A window of `window` predictions has one id more: its last id is a target here and an input in the
next window. So every id is predicted once in an epoch, and a recurrent model can carry its state
from batch to batch. The stream is circular: the first start follows the last end. Start symbols are
not predicted; `SequenceModule` leaves them out of loss and metrics.

The lengths of the streams differ by at most one id. The last batch has shorter rows. A row whose
stream has already ended holds the stream's last id alone and predicts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, overload

import numpy as np
import torch
from numpy.typing import NDArray

from seqlearn.batch import PAD, START, SequenceBatch
from seqlearn.data.encoded import BatchDataset, EncodedDataset

Ints = NDArray[np.int64]


class BPTTWindow(NamedTuple):
    """The slice of the token stream that one batch holds.

    Attributes:
        streams: Index of each row's stream, `batch`.
        starts: Position of each row's first id in the circular token stream, `batch`.
        predicted: Number of ids that each row predicts, `batch`; a row has one id more.
        continues_previous: Whether each row continues the same row of the previous batch.
    """

    streams: Ints
    starts: Ints
    predicted: Ints
    continues_previous: bool


@dataclass(frozen=True)
class StreamPlan:
    """Division of a circular token stream into streams and windows.

    Attributes:
        num_tokens: Length of the circular token stream.
        num_streams: Number of streams on each rank.
        window: Number of ids that a full row predicts.
        world_size: Number of ranks; rank `r` has the streams from `r · num_streams`.

    Examples:
        >>> plan = StreamPlan(num_tokens=12, num_streams=2, window=3)
        >>> [window.starts.tolist() for window in plan.sequential()]
        [[0, 6], [3, 9]]
    """

    num_tokens: int
    num_streams: int
    window: int
    world_size: int = 1

    @property
    def steps(self) -> int:
        """Number of batches on each rank; the same in every epoch."""
        longest = -(-self.num_tokens // (self.num_streams * self.world_size))
        return -(-longest // self.window)

    def __len__(self) -> int:
        """Number of batches of all ranks together."""
        return self.steps * self.world_size

    def epoch(self, seed: int, epoch: int) -> BPTTWindows:
        """The batches of an epoch, a function of (seed, epoch).

        Windows must follow one another, so an epoch only draws the position at which the first
        stream starts.
        """
        draw = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
        return BPTTWindows(self, int(draw.integers(self.num_tokens)))

    def sequential(self) -> BPTTWindows:
        """The batches in a fixed order; the first stream starts with the text."""
        return BPTTWindows(self, 0)


class BPTTWindows(Sequence[BPTTWindow]):
    """The windows of an epoch, computed on access; those of one step on all ranks are adjacent.

    Args:
        plan: The division into streams.
        first: Position at which the first stream starts.
        indices: Indices of the plan's batches to include; all of them by default.
    """

    def __init__(self, plan: StreamPlan, first: int, indices: range | None = None) -> None:
        self._plan, self._first = plan, first
        self._indices = range(len(plan)) if indices is None else indices

    def __len__(self) -> int:
        """Number of windows."""
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> BPTTWindow: ...
    @overload
    def __getitem__(self, index: slice) -> BPTTWindows: ...
    def __getitem__(self, index: int | slice) -> BPTTWindow | BPTTWindows:
        """One window, or several of them."""
        if isinstance(index, slice):
            return BPTTWindows(self._plan, self._first, self._indices[index])
        plan = self._plan
        step, rank = divmod(self._indices[index], plan.world_size)
        bounds = np.arange(
            rank * plan.num_streams, (rank + 1) * plan.num_streams + 1, dtype=np.int64
        )
        streams = bounds[:-1]
        bounds = bounds * plan.num_tokens // (plan.num_streams * plan.world_size)
        starts = bounds[:-1] + step * plan.window
        predicted = np.minimum(bounds[1:] - starts, plan.window)
        return BPTTWindow(streams, (self._first + starts) % plan.num_tokens, predicted, step > 0)


def plan_streams(
    num_tokens: int, window: int, batch_tokens: int, *, world_size: int = 1
) -> StreamPlan:
    """Plan `batch_tokens // window` streams on each rank; fewer if the text is too short for them.

    Args:
        num_tokens: Length of the circular token stream.
        window: Number of ids that a full row predicts.
        batch_tokens: Number of ids that a batch predicts on each rank, at most.
        world_size: Number of ranks.

    Raises:
        ValueError: If `window` is larger than `batch_tokens`, or not smaller than the text.
    """
    if window > batch_tokens:
        raise ValueError(
            f"expected batch_tokens of at least the window, {window}, got {batch_tokens}"
        )
    if window >= num_tokens:
        raise ValueError(
            f"the text has {num_tokens} tokens (start and end counted), too few for "
            f"window={window}; set window to at most {num_tokens - 1}, or use a longer text"
        )
    streams = min(batch_tokens // window, num_tokens // (window * world_size))
    return StreamPlan(num_tokens, max(1, streams), window, world_size)


class StreamDataset(BatchDataset):
    """One encoded split as a circular token stream, indexed by `BPTTWindow`.

    Args:
        encoded: The split; its targets are the documents.
    """

    def __init__(self, encoded: EncodedDataset) -> None:
        self._encoded = encoded

    def __len__(self) -> int:
        """Length of the circular token stream."""
        return len(self._encoded.target_ids)

    def __getitem__(self, window: BPTTWindow) -> SequenceBatch:
        """Slice one batch; rows whose stream ends within the window are padded.

        The batch has at least two columns, so that a decoder has an input also after all streams
        have ended.
        """
        steps = np.arange(int(window.predicted.max(initial=1)) + 1)
        real = steps <= window.predicted[:, None]
        positions = (window.starts[:, None] + steps) % len(self)
        target = np.full(real.shape, PAD, dtype=np.int64)
        target[real] = self._encoded.target_ids[positions[real]]
        return SequenceBatch(
            source=None,
            source_lengths=None,
            target=torch.from_numpy(target),
            target_lengths=torch.from_numpy(window.predicted + 1),
            indices=torch.from_numpy(window.streams),
            continues_previous=window.continues_previous,
        )

    def counted(self, windows: Sequence[BPTTWindow]) -> Ints:
        """Number of targets in the loss of each window: the predicted ids except start symbols.

        Args:
            windows: Windows of the plan.

        Returns:
            Counts, `windows`.
        """
        return np.array([self._counted(window) for window in windows], dtype=np.int64)

    def _counted(self, window: BPTTWindow) -> int:
        first = window.starts + 1
        ends = first + window.predicted
        # A window may pass the end of the token stream, where it closes.
        starts = np.searchsorted(self._starts, [first, ends])
        return int(window.predicted.sum() - (starts[1] - starts[0]).sum())

    @cached_property
    def _starts(self) -> Ints:
        """Positions of start symbols in the token stream, followed by those one round later."""
        positions = np.flatnonzero(self._encoded.target_ids == START)
        return np.concatenate([positions, positions + len(self)])
