"""The field `Vector`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from seqlearn.class_methods import class_only_method
from seqlearn.data.column_encoders import ArrayEncoder, ColumnEncoder, DescribeRow
from seqlearn.data.fields import Field, brief, short_repr
from seqlearn.plain_data import convert_fields
from seqlearn.spec import SideSpec, VectorSpec
from seqlearn.spec.raw_inputs import unmasked
from seqlearn.spec.scaling import check_scaling, fit_scaling


@dataclass(frozen=True)
class Vector(Field):
    """A vector of numbers.

    Attributes:
        size: Number of elements of each vector.
        normalize: Whether models read and predict vectors with zero mean and unit variance. Mean
            and deviation of each element are those of the training split; the spec keeps them.
        mean: The mean of each element, instead of that of the training split.
        std: The deviation of each element.

    Raises:
        TypeError: If `size` is not a whole number.
        ValueError: If `size` is not positive, or `mean` and `std` do not have `size` numbers.

    Examples:
        >>> Vector(90)
        Vector(size=90)
    """

    spec_type: ClassVar[type[SideSpec]] = VectorSpec

    size: int
    normalize: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __repr__(self) -> str:
        return short_repr(self)

    def __post_init__(self) -> None:
        convert_fields(self)
        if self.size < 1:
            raise ValueError(f"expected vectors of at least one number, got size={self.size}")
        check_scaling(self)

    @class_only_method
    def from_spec(cls, spec: VectorSpec) -> Vector:
        """The field of a trained model's size and scaling, `model.spec.source` or `.target`."""
        return cls(spec.size).with_spec(spec)

    def with_spec(self, spec: Any) -> Vector:
        """This field with the scaling of a spec."""
        if not isinstance(spec, VectorSpec) or spec.size != self.size:
            raise ValueError(f"expected the spec of vectors of {self.size} numbers, got {spec}")
        scaled = spec.mean is not None
        return replace(self, normalize=scaled, mean=spec.mean, std=spec.std)

    def check(self, value: object) -> None:
        """Check that a value is a vector of this size.

        Raises:
            ValueError: If `value` is not `size` numbers, or one of them is not finite as float32.
        """
        try:
            with np.errstate(over="ignore"):
                vector = np.asarray(unmasked(value), dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(f"expected {self.size} numbers, got {brief(value)}") from error
        if vector.shape != (self.size,):
            raise ValueError(
                f"expected a vector of {self.size} numbers, got one of shape {vector.shape}"
            )
        if not np.isfinite(vector).all():
            index = int(np.flatnonzero(~np.isfinite(vector))[0])
            raise ValueError(
                f"expected finite numbers, got {vector[index]} at position {index + 1}; "
                "remove or replace it"
            )

    def digest(self) -> str | None:
        """None."""
        return None

    def make_spec(self, values: Callable[[], Iterator[Any]]) -> VectorSpec:
        """A `VectorSpec` of this size, with mean and deviation if `normalize` is set."""
        if not self.normalize or self.mean is not None:
            return VectorSpec(self.size, self.mean, self.std)
        return VectorSpec(self.size, *fit_scaling(map(np.asarray, values()), self.size))

    def make_column_encoder(
        self, spec: Any, describe_row: DescribeRow, *, is_target: bool
    ) -> ColumnEncoder:
        """An encoder of vectors in single precision."""
        return ArrayEncoder(spec, describe_row, is_target=is_target)
