"""A side that is a vector of numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqlearn.plain_data import convert_fields
from seqlearn.spec.raw_inputs import check_list, to_vector


@dataclass(frozen=True)
class VectorSpec:
    """One side that is a vector of numbers.

    Attributes:
        size: Numbers in each vector.

    Raises:
        TypeError: If `size` is no whole number.
        ValueError: If `size` is not positive.
    """

    kind: ClassVar[str] = "vector"

    size: int

    def __post_init__(self) -> None:
        convert_fields(self)
        if self.size < 1:
            raise ValueError(f"expected vectors of at least one number, got size={self.size}")

    def encode(self, vectors: Iterable[Any], *, label: str = "input") -> list[NDArray[np.float32]]:
        """Check raw vectors, and turn each into an array of `size` numbers.

        Args:
            vectors: Lists, arrays or tensors of numbers.
            label: How error messages name one of them.

        Raises:
            TypeError: If it is not a list of vectors, or one is not made of numbers.
            ValueError: If one has another size, or a number that is not finite.

        Example:
            >>> VectorSpec(2).encode([[0, 1]])
            [array([0., 1.], dtype=float32)]
        """
        listed = check_list(vectors, label)
        return [to_vector(each, self.size, f"{label} {n}") for n, each in enumerate(listed, 1)]
