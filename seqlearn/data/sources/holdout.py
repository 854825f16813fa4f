"""The rows of the splits, of which validation may be a fraction that is drawn from training."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from itertools import compress, islice
from numbers import Real
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from seqlearn.data.preparation import Split
from seqlearn.data.rng import seeded_rng

Row = TypeVar("Row")


@runtime_checkable
class Reader(Protocol):
    """What reads one split, such as a file or a table."""

    def digest(self) -> str:
        """Digest of the content."""


AnyReader = TypeVar("AnyReader", bound=Reader)


def fraction_of(val: Any) -> float | None:
    """The fraction of `train` if `val` is a number; `None` if it is a separate split.

    Raises:
        ValueError: If the number is not between 0 and 1.

    Examples:
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

    Examples:
        >>> holdout = Holdout(0.5, seed=0)
        >>> parts = [list(holdout.part(split, lambda: "abcd")) for split in ("train", "val")]
        >>> sorted(parts[0] + parts[1])
        ['a', 'b', 'c', 'd']
    """

    def __init__(self, fraction: float, seed: int) -> None:
        self.fraction, self.seed = fraction, seed
        self._drawn: NDArray[np.bool_] | None = None

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
            self._drawn = self._draw(read(), label)
        # An array of 5 million rows takes 5 MB; Python numbers would take 300.
        kept = self._drawn if split == "val" else ~self._drawn
        return compress(read(), kept)

    def _draw(
        self, rows: Iterable[Row], label: Callable[[Row], Hashable] | None
    ) -> NDArray[np.bool_]:
        """Whether each row is drawn."""
        numbers: dict[Hashable, int] = {}
        labels = array("q")
        for row in rows:
            name = None if label is None else label(row)
            labels.append(numbers.setdefault(name, len(numbers)))
        order = array("q", range(len(labels)))
        seeded_rng(f"share {self.seed}").shuffle(order)
        free = np.frombuffer(order, np.int64)
        reason = "both splits need some"
        if label is not None:
            first = np.zeros(len(numbers), np.int64)
            of_row = np.frombuffer(labels, np.int64)
            first[of_row[free[::-1]]] = free[::-1]
            free = free[first[of_row[free]] != free]
            reason = f"at most {len(free)} can be drawn, since one of each label stays in train"
        count = round(self.fraction * len(labels))
        most = len(free) if label is not None else len(labels) - 1
        if len(labels) and not 0 < count <= most:
            raise ValueError(
                f"val={self.fraction} of {len(labels)} training examples is {count} examples, and "
                f"{reason}; use another fraction, or pass a separate val split"
            )
        drawn = np.zeros(len(labels), dtype=np.bool_)
        drawn[free[:count]] = True
        return drawn


class SplitReaders(Generic[AnyReader, Row]):
    """The rows of each split, from one reader for each.

    Args:
        readers: The readers of the splits that are given.
        read: Function that reads all rows of a reader from the start.
        fraction: Fraction of the training split that is validation; `None` if none is drawn.
        seed: Determines which rows are drawn.
        label: Function that returns the label of a row, for data with labels; see `Holdout`.
    """

    def __init__(
        self,
        readers: Mapping[Split, AnyReader],
        read: Callable[[AnyReader], Iterable[Row]],
        fraction: float | None,
        seed: int,
        label: Callable[[Row], Hashable] | None = None,
    ) -> None:
        self._readers, self._read, self._label = dict(readers), read, label
        self._holdout = None if fraction is None else Holdout(fraction, seed)

    def rows(self, split: Split) -> Iterator[Row]:
        """The rows of a split; none if it is not given."""
        if self._holdout is not None and split != "test":
            train = self._readers["train"]
            return self._holdout.part(split, lambda: self._read(train), self._label)
        return iter(self._read(self._readers[split]) if split in self._readers else ())

    def row(self, split: Split, number: int) -> tuple[AnyReader, Row]:
        """A row by its number in the split, with the reader that it comes from."""
        drawn = self._holdout is not None and split == "val"
        row = next(islice(self.rows(split), number, None))
        return self._readers["train" if drawn else split], row

    def digest(self, *how: object) -> str:
        """Digest of all readers, of what is drawn, and of the arguments that affect reading."""
        drawn = self._holdout and (self._holdout.fraction, self._holdout.seed)
        digest = hashlib.sha256(repr((*how, drawn)).encode())
        for split, reader in self._readers.items():
            digest.update(f"\n{split} {reader.digest()}".encode())
        return digest.hexdigest()
