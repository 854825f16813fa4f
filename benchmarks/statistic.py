"""Ratios of interleaved measurements: median and its interval."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Ratio(NamedTuple):
    """The median of the ratios of all rounds, and the 95% interval of this median."""

    median: float
    low: float
    high: float
    rounds: int

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def median_ratio(ratios: Sequence[float]) -> Ratio:
    """The median, and its 95% interval by bootstrap over rounds.

    Args:
        ratios: One ratio for each round, of two times that were measured in that round.
    """
    draw = random.Random(0)  # noqa: S311
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(2000))
    return Ratio(statistics.median(ratios), medians[50], medians[1949], len(ratios))
