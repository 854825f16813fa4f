"""Contiguous streams: a long text, read at several places side by side.

All texts of a split stand one after the other, start … end, in one circle of ids. The circle is cut
into streams of equal length, and every batch holds the next window of each stream:

    stream 0   | window 0 | window 1 | window 2 | …        row 0 of batch 0, 1, 2, …
    stream 1   | window 0 | window 1 | window 2 | …        row 1 of batch 0, 1, 2, …

A window also holds the id after its last one, which is predicted there and read in the next window.
So every id is predicted once in an epoch, and a recurrent model can carry its state along. The
circle closes where the first start follows the last end. A start is predicted by nobody:
`SequenceModule` leaves it out of loss and metrics.

Streams differ by at most one id. In the last batch rows are shorter than a window, and where a
stream has ended, a row is its last id alone and predicts nothing.
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
    """One batch.

    Attributes:
        streams: Number of each stream, `batch`.
        starts: Where each row starts in the circular token stream, `batch`.
        predicted: How many ids each row predicts, `batch`; a row is one longer.
        continues: Whether the rows go on where those of the batch before ended.
    """

    streams: Ints
    starts: Ints
    predicted: Ints
    continues: bool


@dataclass(frozen=True)
class StreamPlan:
    """Which window of which streams forms which batch.

    Attributes:
        ids: Ids in the circular token stream.
        num_streams: Streams on each rank.
        window: Ids that a full row predicts.
        world_size: Number of ranks; rank `r` reads the streams from `r · num_streams`.
    """

    ids: int
    num_streams: int
    window: int
    world_size: int = 1

    @property
    def steps(self) -> int:
        """Batches on each rank; the same in every epoch."""
        longest = -(-self.ids // (self.num_streams * self.world_size))
        return -(-longest // self.window)

    def __len__(self) -> int:
        """Batches of all ranks together."""
        return self.steps * self.world_size

    def epoch(self, seed: int, epoch: int) -> BPTTWindows:
        """The batches of an epoch, the same for the same (seed, epoch).

        Streams must be read in order; what differs is the position at which the first one starts.
        """
        draw = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
        return BPTTWindows(self, int(draw.integers(self.ids)))

    def sequential(self) -> BPTTWindows:
        """The batches with the first stream starting where the text does."""
        return BPTTWindows(self, 0)


class BPTTWindows(Sequence[BPTTWindow]):
    """The batches of an epoch, those of one step on all ranks side by side; made when asked for.

    Args:
        plan: How the circle is cut.
        first: Where in it the first stream starts.
        places: Which of the plan's batches these are; all of them by default.
    """

    def __init__(self, plan: StreamPlan, first: int, places: range | None = None) -> None:
        self._plan, self._first = plan, first
        self._places = range(len(plan)) if places is None else places

    def __len__(self) -> int:
        """How many there are."""
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> BPTTWindow: ...
    @overload
    def __getitem__(self, index: slice) -> BPTTWindows: ...
    def __getitem__(self, index: int | slice) -> BPTTWindow | BPTTWindows:
        """One batch, or some of them."""
        if isinstance(index, slice):
            return BPTTWindows(self._plan, self._first, self._places[index])
        plan = self._plan
        step, rank = divmod(self._places[index], plan.world_size)
        bounds = np.arange(
            rank * plan.num_streams, (rank + 1) * plan.num_streams + 1, dtype=np.int64
        )
        streams = bounds[:-1]
        bounds = bounds * plan.ids // (plan.num_streams * plan.world_size)
        starts = bounds[:-1] + step * plan.window
        predicted = np.minimum(bounds[1:] - starts, plan.window)
        return BPTTWindow(streams, (self._first + starts) % plan.ids, predicted, step > 0)


def plan_streams(ids: int, window: int, batch_tokens: int, *, world_size: int = 1) -> StreamPlan:
    """Plan `batch_tokens // window` streams on each rank; fewer, if they would not fill a window.

    Raises:
        ValueError: If a window does not fit the text or the budget.
    """
    if window > batch_tokens:
        raise ValueError(
            f"expected batch_tokens of at least the window, {window}, got {batch_tokens}"
        )
    if window >= ids:
        raise ValueError(
            f"the text has {ids} tokens (start and end counted), too few for window={window}; "
            f"set window to at most {ids - 1}, or take a longer text"
        )
    streams = min(batch_tokens // window, ids // (window * world_size))
    return StreamPlan(ids, max(1, streams), window, world_size)


class StreamDataset(BatchDataset):
    """One encoded split as a circular token stream. Asked for a window, it answers with a batch.

    Args:
        encoded: The split; its targets are the texts.
    """

    def __init__(self, encoded: EncodedDataset) -> None:
        self._encoded = encoded

    def __len__(self) -> int:
        """Ids in the circular token stream."""
        return len(self._encoded.target_ids)

    def __getitem__(self, window: BPTTWindow) -> SequenceBatch:
        """Slice one batch, padded where a stream ends within the window.

        Rows have a step to predict also where all streams have ended: a decoder always has
        something to read.
        """
        steps = np.arange(int(window.predicted.max(initial=1)) + 1)
        real = steps <= window.predicted[:, None]
        places = (window.starts[:, None] + steps) % len(self)
        target = np.full(real.shape, PAD, dtype=np.int64)
        target[real] = self._encoded.target_ids[places[real]]
        return SequenceBatch(
            source=None,
            source_lengths=None,
            target=torch.from_numpy(target),
            target_lengths=torch.from_numpy(window.predicted + 1),
            rows=torch.from_numpy(window.streams),
            continues=window.continues,
        )

    def counted(self, windows: Sequence[BPTTWindow]) -> Ints:
        """How many targets of each window count in its loss: all that are predicted but starts.

        Returns:
            `windows`.
        """
        return np.array([self._counted(window) for window in windows], dtype=np.int64)

    def _counted(self, window: BPTTWindow) -> int:
        first = window.starts + 1
        ends = first + window.predicted
        # A window may go once around the place where the circle closes.
        starts = np.searchsorted(self._starts, [first, ends])
        return int(window.predicted.sum() - (starts[1] - starts[0]).sum())

    @cached_property
    def _starts(self) -> Ints:
        """Where starts are in the circular token stream, and once more a round later."""
        places = np.flatnonzero(self._encoded.target_ids == START)
        return np.concatenate([places, places + len(self)])
