"""Mean and standard deviation of the numbers of a type, learned from the training split."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class Scaled(Protocol):
    """A type with a mean and a standard deviation for each of its numbers."""

    @property
    def size(self) -> int:
        """How many numbers a vector has."""

    @property
    def mean(self) -> tuple[float, ...] | None:
        """The mean of each."""

    @property
    def std(self) -> tuple[float, ...] | None:
        """The standard deviation of each."""


def check_scaling(spec: Scaled) -> None:
    """Check mean and deviation, and store them as tuples of floats.

    Raises:
        ValueError: If only one is given, one does not have `size` numbers, a number is not finite,
            or a deviation is not positive.
    """
    if spec.mean is None and spec.std is None:
        return
    for name in ("mean", "std"):
        numbers = tuple(float(number) for number in getattr(spec, name) or ())
        least = -math.inf if name == "mean" else 0.0
        if len(numbers) != spec.size or not all(least < n < math.inf for n in numbers):
            positive = "" if name == "mean" else "positive "
            raise ValueError(
                f"expected {name} as {spec.size} {positive}finite numbers, as mean and std belong "
                f"together, got {getattr(spec, name)}"
            )
        object.__setattr__(spec, name, numbers)


def differing_scaling(mine: Scaled, other: Scaled) -> str | None:
    """Describe how mean or deviation differ; `None` if they are equal."""
    for name in ("mean", "std"):
        one, two = getattr(mine, name), getattr(other, name)
        if one != two:
            return f"{name} {_short(one)} against {_short(two)}"
    return None


def fit_scaling(
    arrays: Iterable[NDArray[Any]], size: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute mean and standard deviation of each number, ignoring NaN.

    The sums are merged array by array (Chan et al. 1983), so that a large mean costs no accuracy. A
    number that never changes, or is always missing, gets the deviation 1.

    Args:
        arrays: Arrays `… size`.
        size: How many numbers a vector has.

    Examples:
        >>> fit_scaling([np.array([[1.0, 5.0], [3.0, 5.0]])], 2)
        ((2.0, 5.0), (1.0, 1.0))
    """
    count, mean, squares = np.zeros(size), np.zeros(size), np.zeros(size)
    for array in arrays:
        rows = np.asarray(array, np.float64).reshape(-1, size)
        there = ~np.isnan(rows)
        more = there.sum(0)
        total = count + more
        safe = np.maximum(more, 1)
        part = np.where(there, rows, 0).sum(0) / safe
        shift = np.where(more > 0, part - mean, 0.0)
        squares += np.square(np.where(there, rows - part, 0.0)).sum(0)
        squares += shift**2 * count * more / np.maximum(total, 1)
        mean += shift * more / np.maximum(total, 1)
        count = total
    std = np.sqrt(squares / np.maximum(count, 1))
    tiny = std <= 1e-7 * np.abs(mean)  # what rounding to single precision makes of a constant
    std = np.where(tiny | (std == 0), 1.0, std)
    return tuple(map(float, mean)), tuple(map(float, std))


def _short(numbers: tuple[float, ...] | None) -> str:
    if numbers is None:
        return "none"
    shown = ", ".join(f"{number:.4g}" for number in numbers[:4])
    return f"({shown}{', …' if len(numbers) > 4 else ''})"
