"""Drawing a share of the training split for validation."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from numbers import Real
from typing import Any, TypeVar

from seqlearn.data.preparation import Split
from seqlearn.data.rng import seeded_rng

Row = TypeVar("Row")


def fraction_of(val: Any) -> float | None:
    """The share of `train` that `val` stands for; `None` if it is a split of its own.

    Raises:
        ValueError: If it is a number that is no share.
    """
    if not isinstance(val, Real):
        return None
    share = float(val)
    if not 0 < share < 1:
        raise ValueError(
            f"val: expected files, a table, or a share of train above 0 and below 1, got {val}"
        )
    return share


class Holdout:
    """Divides the rows of a training split into training and validation.

    Which rows are drawn depends on `seed` and the number of rows alone (with labels, on the labels
    too): of each label at least one row stays in training. Both parts keep the order of the file.

    Args:
        share: Share of the rows that validation gets, above 0 and below 1.
        seed: Decides which rows are drawn.

    Example:
        >>> holdout = Holdout(0.5, seed=0)
        >>> parts = [list(holdout.part(split, lambda: "abcd")) for split in ("train", "val")]
        >>> sorted(parts[0] + parts[1])
        ['a', 'b', 'c', 'd']
    """

    def __init__(self, share: float, seed: int) -> None:
        self.share, self.seed = share, seed
        self._drawn: frozenset[int] | None = None

    def part(
        self,
        split: Split,
        read: Callable[[], Iterable[Row]],
        label: Callable[[Row], Hashable] | None = None,
    ) -> Iterator[Row]:
        """The rows of `"train"` or `"val"`.

        Args:
            split: Which of the two.
            read: Reads all rows from the start; called twice at first.
            label: The label of a row, where each must stay in training.

        Raises:
            ValueError: If the share leaves one of the two without rows.
        """
        if self._drawn is None:
            self._drawn = self._draw([label(row) if label else None for row in read()], label)
        drawn = self._drawn
        return (row for number, row in enumerate(read()) if (number in drawn) == (split == "val"))

    def _draw(self, labels: list[Hashable], label: object) -> frozenset[int]:
        order = list(range(len(labels)))
        seeded_rng(f"share {self.seed}").shuffle(order)
        free = order
        kept = "both splits need some"
        if label is not None:
            first = {labels[row]: row for row in reversed(order)}
            free = [row for row in order if first[labels[row]] != row]
            kept = f"as one of each label stays {len(free)} can be drawn"
        count = round(self.share * len(labels))
        most = len(free) if label is not None else len(labels) - 1
        if labels and not 0 < count <= most:
            raise ValueError(
                f"val={self.share} of {len(labels)} training examples is {count} examples, and "
                f"{kept}; take another share, or give val a split of its own"
            )
        return frozenset(free[:count])
