"""Numbers and lists as text."""

from __future__ import annotations

from collections.abc import Sequence

from seqlearn.comparison.blocks import Cell, Row
from seqlearn.comparison.figures import Metric
from seqlearn.comparison.statistic import Mean

ABSENT = "–"
"""Stands where nothing was measured."""


def of_metric(mean: Mean | None, metric: Metric) -> str:
    """A mean with its interval.

    Examples:
        >>> of_metric(Mean(0.5, 0.012, 3), Metric("accuracy", "accuracy", percent=True))
        '50.0% ± 1.2'
    """
    if mean is None:
        return ABSENT
    scale, digits, unit = (100, 1, "%") if metric.percent else (1, _digits(mean.mean), "")
    text = f"{scale * mean.mean:.{digits}f}{unit}"
    return text if mean.half is None else f"{text} ± {scale * mean.half:.{digits}f}"


def _digits(value: float) -> int:
    """Decimals for about three digits in all."""
    size = abs(value)
    return 1 if size >= 10 else 2 if size >= 1 else 3


def percent(share: float) -> str:
    """A fraction in percent."""
    return f"{100 * share:.1f}%"


def duration(seconds: float | None) -> str:
    """A time in seconds, minutes or hours.

    Examples:
        >>> duration(8.26), duration(150), duration(9000)
        ('8.3 s', '2.5 min', '2.5 h')
    """
    if seconds is None:
        return ABSENT
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def short(value: float) -> str:
    """A number with three digits.

    Examples:
        >>> short(1234.5), short(0.0123), short(2e-7)
        ('1,230', '0.0123', '2.00e-07')
    """
    if value == 0 or 0.001 <= abs(value) < 1e6:
        rounded = float(f"{value:.3g}")
        return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{value:.3g}"
    return f"{value:.2e}"


def names(labels: Sequence[str]) -> str:
    """A list of names.

    Examples:
        >>> names(["RNN", "GRU", "LSTM"])
        'RNN, GRU and LSTM'
    """
    if len(labels) < 2:
        return "".join(labels)
    return f"{', '.join(labels[:-1])} and {labels[-1]}"


def count(number: int, noun: str) -> str:
    """A number of things.

    Examples:
        >>> count(1, "seed"), count(2, "seed")
        ('1 seed', '2 seeds')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def row(*texts: str) -> Row:
    """A row of plain cells."""
    return Row([Cell(text) for text in texts])
