from __future__ import annotations

import math

import pytest

from seqlearn.comparison.statistic import mean_over_seeds, quantile_t


def test_an_interval_by_hand() -> None:
    """The deviation of 0.80, 0.84 and 0.88 is 0.04; with two degrees of freedom t is 4.303."""
    found = mean_over_seeds([0.80, 0.84, 0.88])
    assert found is not None
    assert found.mean == pytest.approx(0.84)
    assert found.half == pytest.approx(4.303 * 0.04 / math.sqrt(3))
    assert (found.low, found.high) == pytest.approx((0.7406, 0.9394), abs=1e-4)


def test_one_value_has_no_interval() -> None:
    found = mean_over_seeds([0.5, float("nan")])
    assert found is not None
    assert (found.mean, found.half, found.low, found.high) == (0.5, None, 0.5, 0.5)
    assert mean_over_seeds([]) is None


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.7062), (9, 2.2622), (30, 2.0423), (31, 2.0395), (100, 1.9840)]
)
def test_quantiles_of_published_tables(freedom: int, quantile: float) -> None:
    assert quantile_t(freedom) == pytest.approx(quantile, abs=6e-4)
