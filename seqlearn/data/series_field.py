"""The field `Series`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from seqlearn.class_methods import class_only_method
from seqlearn.data.column_encoders import ArrayEncoder, ColumnEncoder, DescribeRow
from seqlearn.data.fields import Field, short_repr
from seqlearn.data.length_limit import Overflow, check_length_limit
from seqlearn.plain_data import convert_fields
from seqlearn.spec import SeriesSpec, SideSpec
from seqlearn.spec.raw_inputs import to_series, unmasked
from seqlearn.spec.scaling import check_scaling, fit_scaling


@dataclass(frozen=True)
class Series(Field):
    """A series of vectors: measurements over time, features of speech, sensor data. As source only.

    Attributes:
        size: Numbers in the vector of each time step.
        normalize: Whether models read each number with zero mean and unit variance. Mean and
            deviation are computed over all time steps of the training split and kept in the spec.
        missing: Whether numbers may be missing (NaN). Models then read the mean in their place, and
            a flag for each number that says whether it is there. If not, NaN is an error.
        mean: The mean of each number, instead of that of the training split.
        std: The deviation of each number.
        max_length: Maximum number of time steps of a series in the training split; `None` is no
            limit. Validation and test series are never changed.
        overflow: How to treat a longer training series, as in `Text`.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If `size` is not positive, `mean` and `std` do not have `size` numbers,
            `max_length` is below 1, or `overflow` is not one of the three.

    Examples:
        >>> Series(12, missing=True)
        Series(size=12, missing=True)
    """

    spec_type: ClassVar[type[SideSpec]] = SeriesSpec
    length_unit: ClassVar[str] = "time steps"

    size: int
    normalize: bool = True
    missing: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    max_length: int | None = None
    overflow: Overflow = "error"

    def __post_init__(self) -> None:
        convert_fields(self)
        if self.size < 1:
            raise ValueError(f"expected vectors of at least one number, got size={self.size}")
        check_scaling(self)
        check_length_limit(self.max_length, self.overflow)

    def __repr__(self) -> str:
        return short_repr(replace(self, mean=None, std=None))

    @class_only_method
    def from_spec(cls, spec: SeriesSpec) -> Series:
        """The field of a trained model's size and scaling, `model.spec.source`."""
        return cls(spec.size).with_spec(spec)

    def with_spec(self, spec: Any) -> Series:
        """This field with the scaling of a spec."""
        if not isinstance(spec, SeriesSpec) or spec.size != self.size:
            raise ValueError(f"expected the spec of series of {self.size} numbers, got {spec}")
        scaled = spec.mean is not None
        return replace(self, normalize=scaled, missing=spec.missing, mean=spec.mean, std=spec.std)

    def check(self, value: Any) -> None:
        """Check that a value is a series of this size with at least one time step.

        Raises:
            ValueError: If it is not; the message names time step and number.
        """
        try:
            series = to_series(value, self.size, "series", missing=self.missing)
        except TypeError as error:
            raise ValueError(str(error)) from error
        if not len(series):
            raise ValueError("expected at least one time step, got an empty series; remove it")

    def digest(self) -> str | None:
        """None."""
        return None

    def make_spec(self, values: Callable[[], Iterator[Any]]) -> SeriesSpec:
        """A `SeriesSpec` of this size, with mean and deviation if `normalize` is set."""
        spec = SeriesSpec(self.size, 0, self.mean, self.std, missing=self.missing)
        if not self.normalize or self.mean is not None:
            return spec
        arrays = (np.asarray(unmasked(value), np.float64) for value in values())
        mean, std = fit_scaling(arrays, self.size)
        return replace(spec, mean=mean, std=std)

    def make_column_encoder(
        self, spec: Any, describe_row: DescribeRow, *, is_target: bool
    ) -> ColumnEncoder:
        """An encoder of series in single precision."""
        return ArrayEncoder(
            spec,
            describe_row,
            is_target=is_target,
            encode=lambda value: spec.encode([value])[0],
            update_spec=lambda spec, longest: replace(
                spec, max_length=max(spec.max_length, longest)
            ),
        )
