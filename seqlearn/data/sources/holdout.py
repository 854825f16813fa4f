"""Drawing a fraction of the training split for validation."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from numbers import Real
from typing import Any, TypeVar

from seqlearn.data.preparation import Split
from seqlearn.data.rng import seeded_rng

Row = TypeVar("Row")


def fraction_of(val: Any) -> float | None:
    """The fraction of `train` if `val` is a number; `None` if it is a separate split.

    Raises:
        ValueError: If the number is not between 0 and 1.

    Example:
        >>> fraction_of(0.1), fraction_of("val.txt")
        (0.1, None)
    """
    if not isinstance(val, Real):
        return None
    fraction = float(val)
    if not 0 < fraction < 1:
        raise ValueError(
            f"val: expected files, a table, or a fraction of train above 0 and below 1, got {val}"
        )
    return fraction


class Holdout:
    """Divides the rows of a training split into training and validation.

    The rows that are drawn depend only on `seed` and the number of rows (with labels, also on the
    labels). At least one row of each label stays in training. Both parts keep the original order.

    Args:
        fraction: Fraction of the rows for validation, above 0 and below 1.
        seed: Determines which rows are drawn.

    Example:
        >>> holdout = Holdout(0.5, seed=0)
        >>> parts = [list(holdout.part(split, lambda: "abcd")) for split in ("train", "val")]
        >>> sorted(parts[0] + parts[1])
        ['a', 'b', 'c', 'd']
    """

    def __init__(self, fraction: float, seed: int) -> None:
        self.fraction, self.seed = fraction, seed
        self._drawn: frozenset[int] | None = None

    def part(
        self,
        split: Split,
        read: Callable[[], Iterable[Row]],
        label: Callable[[Row], Hashable] | None = None,
    ) -> Iterator[Row]:
        """The rows of `"train"` or `"val"`.

        Args:
            split: One of the two.
            read: Function that reads all rows from the start; called twice the first time.
            label: Function that returns the label of a row, for data with labels.

        Raises:
            ValueError: If one of the two would have no rows.
        """
        if self._drawn is None:
            self._drawn = self._draw([label(row) if label else None for row in read()], label)
        drawn = self._drawn
        return (row for number, row in enumerate(read()) if (number in drawn) == (split == "val"))

    def _draw(self, labels: list[Hashable], label: object) -> frozenset[int]:
        order = list(range(len(labels)))
        seeded_rng(f"share {self.seed}").shuffle(order)
        free = order
        reason = "both splits need some"
        if label is not None:
            first = {labels[row]: row for row in reversed(order)}
            free = [row for row in order if first[labels[row]] != row]
            reason = f"at most {len(free)} can be drawn, since one of each label stays in train"
        count = round(self.fraction * len(labels))
        most = len(free) if label is not None else len(labels) - 1
        if labels and not 0 < count <= most:
            raise ValueError(
                f"val={self.fraction} of {len(labels)} training examples is {count} examples, and "
                f"{reason}; use another fraction, or pass a separate val split"
            )
        return frozenset(free[:count])
