"""Tables in memory, from any library.

A table is a pandas (or polars) `DataFrame`, a dictionary of columns, a Hugging Face `Dataset`, a
list of dictionaries, or a list of tuples. The libraries are detected by the attributes of their
objects and never imported. A `DatasetDict`, or a dictionary of such tables, has several splits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from seqlearn.data.columns import (
    HeaderWarning,
    cell_of,
    check_present,
    column_index,
    column_title,
    default_columns,
    flat_names,
    plain_cell,
)
from seqlearn.data.preparation import SPLITS, Split
from seqlearn.data.sources.holdout import fraction_of

_SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
KINDS = (
    "a DataFrame, a dictionary of lists, a Dataset, a list of dictionaries or of tuples; rows that "
    "can be read only once, such as an IterableDataset, as Stream(rows, name=...)"
)


@runtime_checkable
class Rows(Protocol):
    """A table in memory: a DataFrame, a dictionary of lists, a Dataset, or a list of rows."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: Any, /) -> Any: ...


class Stream:
    """Rows that are read once, such as a Hugging Face `IterableDataset` or a generator.

    The first time that the data is prepared, the rows are written to the cache under the name. From
    then on they are read from there, also by other processes and later runs; the stream is not read
    again.

    Args:
        rows: An iterable of rows: dictionaries, or tuples of cells.
        name: Names the rows, with their version. Other rows need another name.

    Raises:
        TypeError: If `rows` is not an iterable of rows.
        ValueError: If the name is empty.

    Examples:
        >>> Stream((pair for pair in [("one", "eins")]), name="numbers 1.0")
        Stream('numbers 1.0')
    """

    def __init__(self, rows: Iterable[Any], name: str) -> None:
        if not isinstance(rows, Iterable) or isinstance(rows, str | bytes | Mapping):
            raise TypeError(f"expected an iterable of rows, got {type(rows).__name__}")
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"expected the name of the rows, such as 'corpus 1.0', got {name!r}")
        self.rows, self.name = rows, name
        self._started = False

    def start(self) -> Iterator[Any]:
        """The rows, from the first.

        Raises:
            ValueError: If they can be iterated only once, and an earlier attempt has started.
        """
        rows = iter(self.rows)
        if rows is self.rows:
            if self._started:
                raise ValueError(
                    f"the rows of {self!r} can be read only once, and an earlier attempt stopped "
                    "in the middle; make the iterator and the Stream anew"
                )
            self._started = True
        return rows

    def __repr__(self) -> str:
        return f"Stream({self.name!r})"


class MemoryTable:
    """Selected columns of a table in memory.

    Args:
        split: The split of the table, for errors.
        table: The table.
        columns: The columns to read: names, or numbers from 1. `None` reads the usual ones.
        usual: The default names of the columns: `("source", "target")`.
        any_two: Whether a table with exactly as many columns needs no names.
        first_row: Number of the first row, if the table is a part of a larger one.

    Raises:
        TypeError: If it is not a table.
        ValueError: If the choice of columns is ambiguous, a column does not exist, or rows cannot
            be told from columns (a tuple of lists).

    Examples:
        >>> table = MemoryTable("train", {"a": [1], "b": [2]}, ["b"], ("text",), any_two=False)
        >>> list(table.rows())
        [(0, (2,))]
    """

    def __init__(
        self,
        split: Split,
        table: Any,
        columns: Sequence[int | str] | None,
        usual: tuple[str, ...],
        *,
        any_two: bool,
        first_row: int = 0,
    ) -> None:
        self._split, self._table, self._first_row = split, table, first_row
        self._columnwise = columns_of(split, table)
        first = self._first()
        self._unnamed = not isinstance(first, Mapping)
        if columns is None and _may_be_columns(table, len(usual)):
            raise ValueError(
                f"{split}: expected a list of rows, got a tuple of {len(table)} lists, which may "
                "be rows or columns; convert columns with list(zip(…)), or pass a list of rows"
            )
        self._header = HeaderWarning()
        self._whole = columns is None  # rows must have exactly these cells
        if columns is None and isinstance(first, Mapping):
            columns = default_columns(first, usual, any_two=any_two)
        elif columns is None and first is not None:
            columns = tuple(range(1, len(usual) + 1))
        if columns is None and len(self):
            raise ValueError(
                f"{split}: a table needs the names of its columns, columns=({', '.join(usual)}); "
                f"it has {[] if first is None else flat_names(first)}"
            )
        self.columns = tuple(columns or usual)

    def __len__(self) -> int:
        if self._columnwise is not None:
            return len(next(iter(self._columnwise.values()), ()))
        return len(self._table)

    def digest(self) -> str:
        """SHA-256 of the cells, and of the names of labels, in hexadecimal."""
        digest = hashlib.sha256()
        names = [self.label_names(column) for column in self.columns]
        if any(names):
            digest.update(repr(names).encode())
        for _, cells in self.rows():
            # A long array leaves numbers out of its `repr`.
            whole = [cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in cells]
            digest.update(repr(tuple(whole)).encode())
        return digest.hexdigest()

    def location(self, row: int) -> str:
        """Describe a row in error messages."""
        return f"{self._split} dataset, row {row}"

    def rows(self) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """The number of each row from 0, and its cells.

        Raises:
            ValueError: If a cell is missing; the message names row and column.
        """
        for number, found in enumerate(self._cells(), self._first_row):
            cells = tuple(plain_cell(cell) for cell in found)
            if number == 0 and self._unnamed:
                self._header.check(cells, self.location(0), "remove the row")
            for column, cell in zip(self.columns, cells, strict=True):
                check_present(cell, f"{self.location(number)}, {column_title(column)}")
            yield number, cells

    def label_names(self, column: int | str) -> list[str] | None:
        """The label names of a Hugging Face dataset (`ClassLabel`, or lists of them), if any."""
        features = getattr(self._table, "features", None)
        if not isinstance(features, Mapping):
            return None
        if isinstance(column, int):
            column = list(features)[column - 1]
        feature = features.get(column)
        return getattr(getattr(feature, "feature", feature), "names", None)  # of lists: the items'

    def _first(self) -> Any:
        """The first row: a mapping, a sequence of cells, or `None` without rows."""
        if self._columnwise is not None:
            return {name: next(iter(cells), None) for name, cells in self._columnwise.items()}
        return self._row(0) if len(self._table) else None

    def _row(self, number: int) -> Any:
        row = self._table[number]
        if not isinstance(row, Mapping | tuple | list | np.ndarray):
            raise TypeError(
                f"{self.location(self._first_row + number)}: expected a dictionary or a tuple of "
                f"cells, got {type(row).__name__}; a table is {KINDS}"
            )
        return row

    def _cells(self) -> Iterator[tuple[Any, ...]]:
        if self._columnwise is None:
            for number in range(len(self._table)):
                row, place = self._row(number), self._first_row + number
                yield tuple(self._cell(row, column, place) for column in self.columns)
            return
        names = list(self._columnwise)
        read = [self._reader(column, names) for column in self.columns]
        yield from zip(*(reader() for reader in read), strict=True)

    def _cell(self, row: Any, column: int | str, number: int) -> Any:
        where = self.location(number)
        if isinstance(row, Mapping):
            if isinstance(column, int):
                return list(row.values())[column_index(column, list(row), where)]
            return cell_of(row, column, where)
        if isinstance(column, str):
            raise ValueError(  # noqa: TRY004 -- bad data is a ValueError, here as everywhere
                f"{where}: expected a dictionary, because columns= has the name {column!r}, got a "
                f"{type(row).__name__}; use numbers from 1, columns=(1, 2)"
            )
        width = max(c for c in self.columns if isinstance(c, int))
        if len(row) < width or (self._whole and len(row) > width):
            numbers = ", ".join(str(number) for number in range(1, width + 1))
            raise ValueError(
                f"{where}: expected {width} cells, got {len(row)}; correct the row, or select "
                f"cells with columns=({numbers}); convert parallel lists to rows with list(zip(…))"
            )
        return row[column - 1]

    def _reader(self, column: int | str, names: list[str]) -> Callable[[], Iterator[Any]]:
        assert self._columnwise is not None
        where = f"{self._split} dataset"
        if isinstance(column, int) or column in names:
            cells = self._columnwise[names[column_index(column, names, where)]]
            return lambda: iter(cells)
        whole = self._columnwise  # the column may be nested
        rows = zip(*whole.values(), strict=True)
        return lambda: (
            cell_of(dict(zip(names, row, strict=True)), column, self.location(number))
            for number, row in enumerate(rows)
        )


def split_tables(train: Any, val: Any, test: Any) -> dict[Split, Any]:
    """The splits with data of their own, and their data.

    If `train` is a `DatasetDict`, its splits `train`, `validation` (or `valid`, `val`, `dev`) and
    `test` are used, and others are ignored. `train` is always in the result; a `val` that is a
    fraction of it is not.

    Raises:
        ValueError: If a `DatasetDict` has no training split, or a split is given twice.
    """
    given: dict[Split, Any] = {"train": train, "val": val, "test": test}
    for split in SPLITS if _holds_splits(train) else ():
        found = [name for name in _SPLIT_NAMES[split] if name in train]
        if split == "train" and not found:
            raise ValueError(f"train: expected a split 'train' in it, got {list(train)}")
        if split != "train" and found and given[split] is not None:
            raise ValueError(
                f"{split}: train already has a split {found[0]!r}; remove {split}, or pass "
                "train=splits['train']"
            )
        if found:
            given[split] = train[found[0]]
    without = {"val"} if fraction_of(val) is not None else set()
    without |= {split for split in ("val", "test") if given[split] is None}
    return {split: one for split, one in given.items() if split not in without}


def is_table(given: Any) -> bool:
    """Whether an object may be a table; its rows are checked when they are read."""
    return not isinstance(given, str | bytes) and isinstance(given, Rows)


def _holds_splits(given: Any) -> bool:
    if not isinstance(given, Mapping) or not given:
        return False
    if not any(name in given for names in _SPLIT_NAMES.values() for name in names):
        # One column of dictionaries, such as "translation", makes a dictionary of columns.
        nested = [value for value in given.values() if _has_rows(value, Mapping)]
        return (len(given) > 1 and len(nested) == len(given)) or all(
            _is_named_table(value) for value in given.values()
        )
    rows: Any = (Mapping, tuple, list) if "train" in given else (Mapping, tuple)
    return all(_is_named_table(value) or _has_rows(value, rows) for value in given.values())


def _may_be_columns(table: Any, count: int) -> bool:
    """Whether a table is a tuple of as many lists or arrays as it has columns."""
    return (
        isinstance(table, tuple)
        and len(table) == count
        and all(isinstance(row, list | np.ndarray) for row in table)
    )


def _has_rows(given: Any, kinds: Any) -> bool:
    """Whether an object is a sequence whose first item is of one of the kinds."""
    return isinstance(given, Sequence) and bool(given) and isinstance(given[0], kinds)


def _is_named_table(given: Any) -> bool:
    """Whether an object is a table with names of columns, or a `Stream`."""
    return isinstance(given, Mapping | Stream) or any(
        hasattr(given, name) for name in ("column_names", "columns")
    )


def columns_of(split: Split, table: Any) -> dict[str, Any] | None:
    """The columns of a table that is stored by column; `None` if it is stored by row."""
    if hasattr(table, "iloc") and hasattr(table, "columns"):
        names = [str(name) for name in table.columns]
        return {name: table.iloc[:, index].tolist() for index, name in enumerate(names)}
    if hasattr(table, "columns") and hasattr(table, "get_column"):
        return {str(name): table.get_column(name).to_list() for name in table.columns}
    if not isinstance(table, Mapping):
        return None
    for name, cells in table.items():
        if isinstance(cells, str | bytes) or not isinstance(cells, Rows):
            raise TypeError(
                f"{split}: expected a list of cells as column {name!r}, got {type(cells).__name__} "
                f"{cells!r:.40}; a dictionary that maps sources to targets is a table as "
                "list(mapping.items())"
            )
    lengths = {name: len(cells) for name, cells in table.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{split}: expected columns of one length, got {lengths}")
    return {str(name): cells for name, cells in table.items()}
