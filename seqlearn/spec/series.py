"""A series of vectors as source: measurements over time, features of speech, sensor data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqlearn.batch import length_mask
from seqlearn.nn import Standardize
from seqlearn.plain_data import convert_fields
from seqlearn.spec.base import RowFormat, SourceSpec
from seqlearn.spec.raw_inputs import check_list, to_series
from seqlearn.spec.scaling import check_scaling, differing_scaling


@dataclass(frozen=True)
class SeriesSpec(SourceSpec):
    """A source that is a sequence of vectors of one size.

    Attributes:
        size: Numbers in the vector of each time step.
        max_length: Time steps of the longest series of any split.
        mean: The mean of each number over the training split, which the input layer subtracts;
            `None` without normalization.
        std: The standard deviation of each, by which the input layer divides.
        missing: Whether numbers may be missing (NaN). The input layer then reads the mean in their
            place, and a flag for each number that says whether it is there.

    Raises:
        TypeError: If `size` is not a whole number.
        ValueError: If `size` is not positive, or mean and deviation do not have `size` numbers.

    Examples:
        >>> SeriesSpec(2, max_length=90).row_format
        RowFormat(dtype='float32', shape=(2,))
    """

    kind: ClassVar[str] = "series"
    is_sequence: ClassVar[bool] = True

    size: int
    max_length: int = 0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    missing: bool = False

    def __post_init__(self) -> None:
        convert_fields(self)
        if self.size < 1:
            raise ValueError(f"expected vectors of at least one number, got size={self.size}")
        check_scaling(self)

    def __repr__(self) -> str:
        scaled = ", normalized" if self.mean is not None else ""
        missing = ", missing=True" if self.missing else ""
        return f"SeriesSpec({self.size}, max_length={self.max_length}{scaled}{missing})"

    @property
    def longest(self) -> int:
        """`max_length`, at least 1."""
        return max(1, self.max_length)

    @property
    def row_format(self) -> RowFormat:
        """`size` numbers for each time step, and as many flags if numbers may be missing."""
        return RowFormat("float32", (self.size * (1 + self.missing),))

    def diff(self, other: SeriesSpec) -> str | None:
        """Size, treatment of missing numbers, or scaling, if they differ."""
        for name in ("size", "missing"):
            if getattr(self, name) != getattr(other, name):
                return f"{name}={getattr(self, name)} against {name}={getattr(other, name)}"
        return differing_scaling(self, other)

    def describe(self, value: Any) -> str:
        """Length and width."""
        return f"{len(value)} × {self.size} numbers"

    def random_value(self, rng: Random, length: int) -> NDArray[np.float32]:
        """Multiples of one half around the mean; of missing numbers one in four."""
        numbers = [rng.randint(-4, 4) / 2 for _ in range(length * self.size)]
        values = np.array(numbers, np.float32).reshape(length, self.size)
        if self.mean is not None and self.std is not None:
            values = (values * np.array(self.std) + np.array(self.mean)).astype(np.float32)
        if self.missing:
            there = np.array([rng.random() < 0.75 for _ in numbers]).reshape(values.shape)
            values = np.where(there, values, np.float32("nan"))
        return self._stored(values)

    def make_input_layer(self, d_model: int) -> nn.Module:
        """Normalization, then a linear map."""
        scale = Standardize(self.mean, self.std, self.size, flags=self.missing)
        return nn.Sequential(scale, nn.Linear(self.row_format.shape[0], d_model))

    def embed(
        self, layer: nn.Module, source: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The vectors, each mapped to `d_model` numbers."""
        assert lengths is not None
        if source.shape[1] == 0:
            source = nn.functional.pad(source, (0, 0, 0, 1))
        mask = length_mask(lengths.clamp(min=1), source.shape[1])
        return layer(source), mask, lengths == 0

    def encode(self, values: Iterable[Any], *, label: str = "input") -> list[NDArray[np.float32]]:
        """Check raw series, and turn each into an array of the row format.

        Args:
            values: Arrays, tensors or nested lists `time size`; `time` suffices if `size` is 1.
            label: How error messages name one of them.

        Raises:
            TypeError: If it is not a list of series, or one is not made of numbers.
            ValueError: If one has vectors of another size, or a number that is not finite.

        Examples:
            >>> SeriesSpec(1).encode([[0, 2]])[0].tolist()
            [[0.0], [2.0]]
        """
        listed = check_list(values, label)
        return [
            self._stored(to_series(each, self.size, f"{label} {number}", missing=self.missing))
            for number, each in enumerate(listed, 1)
        ]

    def decode(self, ids: Iterable[Any]) -> list[NDArray[np.float32]]:
        """The series as arrays `time size`, with NaN for missing numbers."""
        return [self._read(np.asarray(each, np.float32)) for each in ids]

    def collate(
        self, encoded: Sequence[Any], device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor | None]:
        """Pad the series with zeros, in single precision at least."""
        dtype = torch.promote_types(dtype, torch.float32)
        (width,) = self.row_format.shape
        rows = [torch.as_tensor(np.asarray(each)).reshape(-1, width).to(dtype) for each in encoded]
        lengths = torch.tensor([len(row) for row in rows], device=device)
        return nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device), lengths

    def unbatch(self, source: Tensor, lengths: Tensor | None) -> list[Any]:
        """The series as arrays, without padding."""
        assert lengths is not None
        rows = source.float().cpu().numpy()
        return [
            self._read(row[:length]) for row, length in zip(rows, lengths.tolist(), strict=True)
        ]

    def _stored(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self.missing:
            return values
        there = ~np.isnan(values)
        return np.concatenate([np.where(there, values, 0), there], -1).astype(np.float32)

    def _read(self, row: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self.missing:
            return row
        values, there = np.split(row, 2, -1)
        return np.where(there > 0, values, np.float32("nan"))
