"""Encoded examples as flat arrays, from which padded batches are sliced.

The files of a side are `train.source.values.npy` and so on; see `rows.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from seqlearn.batch import SequenceBatch
from seqlearn.data.array_files import Texts, read_array
from seqlearn.data.rows import Rows


class BatchDataset(Dataset[SequenceBatch], ABC):
    """A dataset that is indexed by the entries of a `BatchPlan` and returns batches."""

    @abstractmethod
    def __getitem__(self, planned: Any) -> SequenceBatch:
        """Slice and pad the batch of one entry of the plan."""

    @abstractmethod
    def counted(self, batches: Sequence[Any]) -> NDArray[np.int64]:
        """Number of targets in the loss of each batch; `batches` are entries of the plan."""


class EncodedDataset(BatchDataset):
    """One encoded split, indexed by lists of rows; an item is a padded batch.

    It is pickled, for worker processes that are not forked, as the path of its folder.

    Args:
        folder: Folder of the files.
        split: The split to read.

    Raises:
        FileNotFoundError: If the folder does not have the split.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.folder, self.split = folder, split
        self._source = _read(folder, f"{split}.source")
        target = _read(folder, f"{split}.target")
        if target is None:
            raise FileNotFoundError(f"{folder} has no prepared data of the split {split!r}")
        self._target = target
        kept = folder / f"{split}.rows.npy"
        self._rows = read_array(kept) if kept.exists() else None
        name = f"{split}.references"
        self._references = Texts(folder, name) if (folder / f"{name}.bytes.npy").exists() else None

    def __reduce__(self) -> tuple[Any, ...]:
        return EncodedDataset, (self.folder, self.split)

    def __len__(self) -> int:
        """Number of examples in the split."""
        return len(self._target)

    def origin(self, row: int) -> int:
        """The row in the source's examples of a row of this split, before any were dropped."""
        return row if self._rows is None else int(self._rows[row])

    @property
    def source_lengths(self) -> NDArray[np.int64]:
        """The length of each source, `example`; 1 if it is not a sequence, 0 without a source."""
        return np.zeros(len(self), np.int64) if self._source is None else self._source.lengths

    @property
    def target_lengths(self) -> NDArray[np.int64]:
        """The length of each target, start and end included; 1 if it is not a sequence."""
        return self._target.lengths

    @property
    def target_ids(self) -> NDArray[np.int32]:
        """The concatenated ids of all target texts, each enclosed in start and end.

        Raises:
            TypeError: If the targets are not sequences of ids.
        """
        values: NDArray[np.int32] = self._target.values
        if not self._target.has_time or values.dtype.kind != "i" or values.ndim != 1:
            raise TypeError("expected targets that are sequences of ids, such as texts")
        return values

    def __getitem__(self, rows: Sequence[int] | int) -> SequenceBatch:
        """Slice and pad one batch.

        Args:
            rows: Row indices in the order of the batch; a single number is a batch of one. A
                negative entry `~row` is that row, marked as a duplicate.

        Raises:
            IndexError: If a row is out of range.
        """
        marked = np.atleast_1d(np.asarray(rows, dtype=np.int64))
        real = np.where(marked < 0, ~marked, marked)
        if len(real) and real.max() >= len(self):
            raise IndexError(f"expected rows below {len(self)}, got {real.max()}")
        source, source_lengths = (None, None) if self._source is None else self._source.slice(real)
        target, target_lengths = self._target.slice(real)
        references: tuple[str, ...] | None = None
        if self._references is not None:
            references = tuple(self._references[row] for row in real.tolist())
        return SequenceBatch(
            source=source,
            source_lengths=source_lengths,
            target=target,
            target_lengths=target_lengths,
            indices=torch.from_numpy(marked),
            references=references,
        )

    def counted(self, batches: Sequence[Sequence[int]]) -> NDArray[np.int64]:
        """Number of targets in the loss of each batch.

        Args:
            batches: The rows of each batch, as for `dataset[rows]`.

        Returns:
            Counts, `batches`, from `TargetSpec.count_items`; 0 for duplicates.
        """
        sizes = [len(rows) for rows in batches]
        marked = np.fromiter(chain.from_iterable(batches), dtype=np.int64, count=sum(sizes))
        counts = self._target.items(np.where(marked < 0, ~marked, marked))
        ends = np.cumsum(np.where(marked < 0, 0, counts))
        return np.diff(np.concatenate([[0], ends])[np.cumsum([0, *sizes])])


def _read(folder: Path, name: str) -> Rows | None:
    paths = [folder / f"{name}.{part}.npy" for part in ("values", "offsets", "items")]
    values, *others = (read_array(path) if path.exists() else None for path in paths)
    return None if values is None else Rows(values, *others)
