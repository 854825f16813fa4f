"""Rows of one side of a split in flat arrays: how they are written, read and padded.

The [`row_format`][seqlearn.spec.SideSpec.row_format] of the type decides. `NAME.values.npy` holds
all rows. If they have a time axis (`is_sequence`), they are concatenated, and `NAME.offsets.npy`
holds the offset of each row, and the end; if not, they are stacked. For targets,
`NAME.items.npy` holds the number of items of each in the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlearn.data.array_files import ArrayWriter
from seqlearn.spec import SideSpec, TargetSpec


def to_row(value: Any, spec: SideSpec) -> NDArray[Any]:
    """Convert an encoded value to an array of the type's row format.

    Args:
        value: A number, or (nested) lists, arrays or tensors of numbers.
        spec: The type.

    Returns:
        An array `time …` if the type is a sequence, otherwise `…`.

    Raises:
        ValueError: If the shape or a number does not fit the format.
    """
    dtype, shape = np.dtype(spec.row_format.dtype), spec.row_format.shape
    axes = ("time", *shape) if spec.is_sequence else shape
    expected = f"expected numbers of shape ({', '.join(map(str, axes))}) that fit {dtype}"
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{expected}, got {type(value).__name__} {value!r:.60}") from error
    if spec.is_sequence and len(array.shape) > 0 and len(array) == 0:
        array = np.zeros((0, *shape), dtype)
    found = array.shape[1:] if spec.is_sequence else array.shape
    if array.ndim != len(axes) or found != shape:
        raise ValueError(f"{expected}, got shape {array.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        row = array.astype(dtype) if array.dtype.kind in "biuf" else None
    if row is None or not np.isfinite(row).all():
        raise ValueError(f"{expected}, got {array!r:.60}")
    if dtype.kind in "iu" and not np.array_equal(row, array):
        raise ValueError(f"{expected}, got {array!r:.60}")
    return row


class RowWriter:
    """Writes the rows of one side of one split to files, in parts.

    Args:
        spec: The type; its `row_format` and `is_sequence` decide how rows are stored.
        is_target: Whether this side is the target.
        folder: The folder of the files.
        name: Split and side, such as `"train.source"`.
    """

    def __init__(self, spec: SideSpec, *, is_target: bool, folder: Path, name: str) -> None:
        self._spec, self._is_target = spec, is_target
        self._dtype, self._shape = np.dtype(spec.row_format.dtype), spec.row_format.shape
        self._values = ArrayWriter(folder / f"{name}.values.npy", self._dtype, self._shape)
        self._writers = [self._values]
        if spec.is_sequence:
            self._offsets = ArrayWriter(folder / f"{name}.offsets.npy", "int64")
            self._offsets.append(np.zeros(1))
            self._writers.append(self._offsets)
        if is_target:
            self._items = ArrayWriter(folder / f"{name}.items.npy", "int32")
            self._writers.append(self._items)

    def append(self, rows: Sequence[Any]) -> None:
        """Append rows: lists of numbers, or arrays as `to_row` returns them."""
        if not self._spec.is_sequence:
            lengths = np.ones(len(rows), np.int64)
            self._values.append(np.array(rows, self._dtype).reshape(len(rows), *self._shape))
        else:
            lengths = np.array([len(row) for row in rows], np.int64)
            self._offsets.append(self._values.rows + np.cumsum(lengths))
            self._values.append(self._concatenated(rows, int(lengths.sum())))
        if self._is_target:
            assert isinstance(self._spec, TargetSpec)
            self._items.append(self._spec.count_items(lengths))

    def finish(self) -> None:
        """Write the number of rows."""
        for writer in self._writers:
            writer.finish()

    def _concatenated(self, rows: Sequence[Any], total: int) -> NDArray[Any]:
        if any(isinstance(row, np.ndarray) for row in rows):
            return np.concatenate(rows, dtype=self._dtype)
        if self._shape:
            return np.zeros((0, *self._shape), self._dtype)
        return np.fromiter(chain.from_iterable(rows), self._dtype, count=total)


class Rows:
    """The rows of one side of one split.

    Args:
        values: Stacked rows, `row …`; or concatenated ones, `total …`.
        offsets: The offset of each concatenated row, and the end; `None` if rows are stacked.
        items: For targets, how many items of the loss each has.

    Attributes:
        values: As above, memory-mapped if large.
    """

    def __init__(
        self,
        values: NDArray[Any],
        offsets: NDArray[np.int64] | None = None,
        items: NDArray[np.int32] | None = None,
    ) -> None:
        self.values, self._offsets, self._items = values, offsets, items

    def __len__(self) -> int:
        return len(self.values) if self._offsets is None else len(self._offsets) - 1

    @property
    def has_time(self) -> bool:
        """Whether rows have a time axis."""
        return self._offsets is not None

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The length of each row; 1 without a time axis."""
        if self._offsets is None:
            return np.ones(len(self), dtype=np.int64)
        return np.diff(self._offsets)

    def items(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many items of the loss the targets in these rows have."""
        assert self._items is not None, "these rows are not targets"
        return self._items[rows].astype(np.int64)

    def slice(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor | None]:
        """The values of some rows, padded on the right with zeros, and their lengths.

        Returns:
            Values `batch time …` and lengths `batch`, or values `batch …` and `None`. Integers are
            int64, other numbers float32.
        """
        dtype = np.int64 if self.values.dtype.kind in "iub" else np.float32
        if self._offsets is None:
            return torch.from_numpy(self.values[rows].astype(dtype)), None
        starts = self._offsets[rows]
        lengths = self._offsets[rows + 1] - starts
        steps = np.arange(int(lengths.max(initial=0)))
        real = steps < lengths[:, None]
        padded = np.zeros((*real.shape, *self.values.shape[1:]), dtype=dtype)
        padded[real] = self.values[(starts[:, None] + steps)[real]]
        return torch.from_numpy(padded), torch.from_numpy(lengths)
