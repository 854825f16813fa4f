"""Means over seeds with confidence intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

CONFIDENCE = 0.95

_T: tuple[float, ...] = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_T += (2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086)
_T += (2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)
"""The 97.5% quantiles of Student's t with 1 to 30 degrees of freedom."""


class Mean(NamedTuple):
    """A mean over seeds.

    Attributes:
        mean: The mean.
        half: Half the width of the 95% interval; `None` with fewer than two values.
        seeds: The number of values.
    """

    mean: float
    half: float | None
    seeds: int

    @property
    def low(self) -> float:
        """The lower end of the interval; the mean if there is none."""
        return self.mean - (self.half or 0.0)

    @property
    def high(self) -> float:
        """The upper end of the interval; the mean if there is none."""
        return self.mean + (self.half or 0.0)


def quantile_t(freedom: int) -> float:
    """The 97.5% quantile of Student's t.

    Above 30 degrees of freedom by the expansion of Abramowitz & Stegun, 26.7.5, to four digits.

    Examples:
        >>> quantile_t(1), round(quantile_t(60), 3)
        (12.706, 2.0)
    """
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = statistics.NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def mean_over_seeds(values: Sequence[float]) -> Mean | None:
    """The mean with its 95% t-interval; `None` without finite values.

    Examples:
        >>> mean_over_seeds([0.5])
        Mean(mean=0.5, half=None, seeds=1)
    """
    finite = [float(value) for value in values if value is not None and math.isfinite(value)]
    if not finite:
        return None
    mean = statistics.fmean(finite)
    if len(finite) == 1:
        return Mean(mean, None, 1)
    half = quantile_t(len(finite) - 1) * statistics.stdev(finite) / math.sqrt(len(finite))
    return Mean(mean, half, len(finite))
