"""Encoded examples as flat arrays, from which padded batches are sliced.

Texts are stored as two arrays: the concatenated ids of all texts, and the offset of each text.
Labels and vectors are one array. The files of a split are `train.source.ids.npy` and
`train.source.offsets.npy`, or `train.source.values.npy`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import Dataset

from seqlearn.batch import END, PAD, START, UNKNOWN, SequenceBatch
from seqlearn.data.class_weights import class_weights
from seqlearn.spec import ClassesSpec, TextSpec

MMAP_THRESHOLD = 1 << 26
"""Files larger than this are memory-mapped instead of read."""

DescribeRow = Callable[[int], str]
"""Describes the example of a row in error messages."""


@runtime_checkable
class ColumnEncoder(Protocol):
    """Encodes one side of one split, and writes it to files.

    Attributes:
        unknown: How many tokens were outside the vocabulary; `None` without a vocabulary.
    """

    unknown: int | None

    def encode(self, values: Sequence[Any], row: int) -> Sequence[Any]:
        """Encode the values of consecutive rows; `row` is the first one."""

    def append(self, encoded: Sequence[Any]) -> None:
        """Append rows that `encode` returned."""

    def save(self, folder: Path, name: str) -> None:
        """Write the files that `EncodedDataset` reads; `name` is split and side."""

    def update_spec(self, spec: Any, split: str) -> Any:
        """The side of the spec after this split has been encoded."""


class TextEncoder:
    """Encodes texts with the side's tokenizer.

    Attributes:
        longest: Number of tokens of the longest text so far, without start and end.
        unknown: Number of tokens outside the vocabulary.
    """

    def __init__(self, side: TextSpec, describe_row: DescribeRow, *, is_target: bool) -> None:
        assert side.tokenizer is not None
        self._tokenizer = Tokenizer.from_str(side.tokenizer)
        self._describe_row = describe_row
        self._is_target = is_target
        self._ids: list[NDArray[np.int32]] = []
        self._lengths: list[int] = []
        self.longest = 0
        self.unknown: int | None = 0
        self._unknown = 0

    def encode(self, values: Sequence[str], row: int) -> list[list[int]]:
        """Encode texts to ids, without start and end.

        Args:
            values: The texts.
            row: Row of the first text, for errors.

        Raises:
            ValueError: If the tokenizer produces a padding, start or end id.
        """
        encodings = self._tokenizer.encode_batch_fast(values, add_special_tokens=False)
        lists = [encoding.ids for encoding in encodings]
        ids = _flat(lists)
        reserved = np.flatnonzero(np.isin(ids, (PAD, START, END)))
        if len(reserved):
            index = int(
                np.searchsorted(np.cumsum([len(text) for text in lists]), reserved[0], "right")
            )
            raise ValueError(
                f"{self._describe_row(row + index)}: the tokenizer encodes a part of "
                f"{values[index][:60]!r} as padding, start or end; remove it from the text, or use "
                "another tokenizer"
            )
        return lists

    def append(self, encoded: Sequence[list[int]]) -> None:
        """Append encoded texts."""
        lists, ids = encoded, _flat(encoded)
        self._unknown += int(np.count_nonzero(ids == UNKNOWN))
        self.unknown = self._unknown
        self.longest = max(self.longest, *(len(text) for text in lists), 0)
        if self._is_target:
            lists = [[START, *text, END] for text in lists]
            ids = _flat(lists)
        self._ids.append(ids)
        self._lengths.extend(len(text) for text in lists)

    def save(self, folder: Path, name: str) -> None:
        """Write ids (int32) and offsets (int64, one more than the number of texts)."""
        ids = np.concatenate(self._ids) if self._ids else np.zeros(0, np.int32)
        offsets = np.zeros(len(self._lengths) + 1, dtype=np.int64)
        np.cumsum(self._lengths, out=offsets[1:])
        np.save(folder / f"{name}.ids.npy", ids, allow_pickle=False)
        np.save(folder / f"{name}.offsets.npy", offsets, allow_pickle=False)

    def update_spec(self, spec: TextSpec, split: str) -> TextSpec:
        """With the longest text, and whether training has tokens outside the vocabulary."""
        longest = max(spec.max_length, self.longest)
        seen = spec.unk_in_training or (split == "train" and self._unknown > 0)
        return replace(spec, max_length=longest, unk_in_training=seen)


def _flat(texts: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    total = sum(len(text) for text in texts)
    return np.fromiter(chain.from_iterable(texts), dtype=np.int32, count=total)


class ClassEncoder:
    """Encodes labels as class ids; `weights` are those of the field `Classes`."""

    unknown: int | None = None

    def __init__(
        self,
        side: ClassesSpec,
        describe_row: DescribeRow,
        weights: str | Mapping[str, float] | None = None,
    ) -> None:
        self._weights = weights
        self._ids = {label: number for number, label in enumerate(side.labels)}
        self._describe_row = describe_row
        self._values: list[int] = []

    def encode(self, values: Sequence[str], row: int) -> list[int]:
        """Encode labels as class ids.

        Args:
            values: The labels.
            row: Row of the first label, for errors.

        Raises:
            ValueError: If a label does not occur in the training split.
        """
        for number, label in enumerate(values):
            if label not in self._ids:
                raise ValueError(
                    f"{self._describe_row(row + number)}: the label {label!r} does not occur in "
                    f"the training split, which has {list(self._ids)[:10]}; correct it, or add "
                    "training examples of it"
                )
        return [self._ids[label] for label in values]

    def append(self, encoded: Sequence[int]) -> None:
        """Append class ids."""
        self._values.extend(encoded)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of examples of each class."""
        return np.bincount(np.array(self._values, np.int64), minlength=len(self._ids))

    def save(self, folder: Path, name: str) -> None:
        """Write the class ids (int64)."""
        values = np.array(self._values, dtype=np.int64)
        np.save(folder / f"{name}.values.npy", values, allow_pickle=False)

    def update_spec(self, spec: ClassesSpec, split: str) -> ClassesSpec:
        """With the weights of the classes.

        Raises:
            ValueError: If a class has lost all training examples to a `max_length`.
        """
        if split != "train":
            return spec
        lost = [label for label, count in zip(spec.labels, self.counts, strict=True) if not count]
        if lost:
            raise ValueError(
                f"max_length: all training examples of the label {lost[0]!r} are longer and are "
                "dropped; raise it, or take the label out"
            )
        if self._weights is None:
            return spec
        return replace(spec, weights=class_weights(self._weights, spec.labels, self.counts))


class VectorEncoder:
    """Vectors, or other arrays of one shape, in single precision."""

    unknown: int | None = None

    def __init__(self) -> None:
        self._values: list[NDArray[np.float32]] = []

    def encode(self, values: Sequence[Any], row: int) -> list[NDArray[np.float32]]:
        """The values as arrays."""
        return [np.asarray(value, dtype=np.float32) for value in values]

    def append(self, encoded: Sequence[NDArray[np.float32]]) -> None:
        """Add the next arrays."""
        self._values.extend(encoded)

    def save(self, folder: Path, name: str) -> None:
        """Write the arrays (float32)."""
        values = np.stack(self._values) if self._values else np.zeros((0, 0), np.float32)
        np.save(folder / f"{name}.values.npy", values, allow_pickle=False)

    def update_spec(self, spec: Any, split: str) -> Any:
        """The same spec."""
        return spec


def save_rows(folder: Path, split: str, rows: Sequence[int]) -> None:
    """Write the source's row indices of a split from which examples were dropped."""
    np.save(folder / f"{split}.rows.npy", np.array(rows, np.int64), allow_pickle=False)


def save_references(folder: Path, split: str, texts: Sequence[str]) -> None:
    """Write the raw target texts of an evaluation split."""
    path = folder / f"{split}.references.json"
    path.write_text(json.dumps(list(texts), ensure_ascii=False), encoding="utf-8")


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
        self._rows = _load(kept) if kept.exists() else None
        references = folder / f"{split}.references.json"
        self._references: list[str] | None = None
        if references.exists():
            self._references = json.loads(references.read_text(encoding="utf-8"))

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
        """Number of tokens in each source, `example`; 1 for a vector, 0 without a source."""
        return np.zeros(len(self), np.int64) if self._source is None else self._source.lengths

    @property
    def target_lengths(self) -> NDArray[np.int64]:
        """Number of tokens in each target, start and end included; 1 for a class or a vector."""
        return self._target.lengths

    @property
    def target_ids(self) -> NDArray[np.int32]:
        """The concatenated ids of all target texts, each enclosed in start and end.

        Raises:
            TypeError: If the targets are not texts.
        """
        if not isinstance(self._target, _Texts):
            raise TypeError("expected targets that are texts; these are classes or vectors")
        return self._target.ids

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
        references = self._references
        return SequenceBatch(
            source=source,
            source_lengths=source_lengths,
            target=target,
            target_lengths=target_lengths,
            indices=torch.from_numpy(marked),
            references=None if references is None else tuple(references[row] for row in real),
        )

    def counted(self, batches: Sequence[Sequence[int]]) -> NDArray[np.int64]:
        """Number of targets in the loss of each batch.

        Args:
            batches: The rows of each batch, as for `dataset[rows]`.

        Returns:
            Counts, `batches`: for texts the tokens after the start, for classes one per example,
            for vectors their elements; 0 for duplicates.
        """
        sizes = [len(rows) for rows in batches]
        marked = np.fromiter(chain.from_iterable(batches), dtype=np.int64, count=sum(sizes))
        counts = self._target.counted(np.where(marked < 0, ~marked, marked))
        ends = np.cumsum(np.where(marked < 0, 0, counts))
        return np.diff(np.concatenate([[0], ends])[np.cumsum([0, *sizes])])


class _Texts:
    """Concatenated ids of texts."""

    def __init__(self, ids: NDArray[np.int32], offsets: NDArray[np.int64]) -> None:
        self.ids, self._offsets = ids, offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self._offsets)

    def counted(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of tokens after the start of each text."""
        return self._offsets[rows + 1] - self._offsets[rows] - 1

    def slice(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Ids `batch time` padded on the right, and lengths `batch`."""
        starts = self._offsets[rows]
        lengths = self._offsets[rows + 1] - starts
        steps = np.arange(int(lengths.max(initial=0)))
        real = steps < lengths[:, None]
        ids = np.full(real.shape, PAD, dtype=np.int64)
        ids[real] = self.ids[(starts[:, None] + steps)[real]]
        return torch.from_numpy(ids), torch.from_numpy(lengths)


class _Values:
    """Class ids `example`, or vectors `example size`."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.ones(len(self), dtype=np.int64)

    def counted(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of elements of each value."""
        return np.full(len(rows), self._values[0].size if len(self) else 0, dtype=np.int64)

    def slice(self, rows: NDArray[np.int64]) -> tuple[Tensor, None]:
        return torch.from_numpy(np.ascontiguousarray(self._values[rows])), None


def _read(folder: Path, name: str) -> _Texts | _Values | None:
    if (folder / f"{name}.ids.npy").exists():
        return _Texts(_load(folder / f"{name}.ids.npy"), _load(folder / f"{name}.offsets.npy"))
    if (folder / f"{name}.values.npy").exists():
        return _Values(_load(folder / f"{name}.values.npy"))
    return None


def _load(path: Path) -> NDArray[Any]:
    large = path.stat().st_size > MMAP_THRESHOLD
    loaded: NDArray[Any] = np.load(path, mmap_mode="r" if large else None, allow_pickle=False)
    return loaded
