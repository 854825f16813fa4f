"""Rows of tables in memory, whatever library they come from.

A table is a pandas (or polars) `DataFrame`, a dictionary of columns, a Hugging Face `Dataset`, a
list of dictionaries, or a list of tuples. The libraries are recognised by what their objects have,
never imported. A `DatasetDict`, or a dictionary of such tables, holds several splits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
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
KINDS = "a DataFrame, a dictionary of lists, a Dataset, a list of dictionaries or of tuples"


@runtime_checkable
class Rows(Protocol):
    """A table in memory: a DataFrame, a dictionary of lists, a Dataset, or a list of rows."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: Any, /) -> Any: ...


class MemoryTable:
    """Some columns of a table in memory.

    Args:
        split: What the table is for, to be named in errors.
        table: The table.
        columns: The columns that are wanted: names, or numbers from 1. `None` takes the usual ones.
        usual: What the columns are, and the names that they usually have: `("source", "target")`.
        any_two: Whether a table with just as many columns needs no names.

    Raises:
        TypeError: If it is no table.
        ValueError: If the columns are not clear, or are not there.
    """

    def __init__(
        self,
        split: Split,
        table: Any,
        columns: Sequence[int | str] | None,
        usual: tuple[str, ...],
        *,
        any_two: bool,
    ) -> None:
        self._split, self._table = split, table
        self._columnwise = _columns_of(split, table)
        first = self._first()
        self._unnamed = not isinstance(first, Mapping)
        self._header = HeaderWarning()
        self._whole = columns is None  # rows have just the cells that are wanted
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
        """SHA-256 of the cells, in hexadecimal."""
        digest = hashlib.sha256()
        for _, cells in self.rows():
            digest.update(repr(cells).encode())
        return digest.hexdigest()

    def place(self, row: int) -> str:
        """How error messages call a row."""
        return f"{self._split} dataset, row {row}"

    def rows(self) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """The number of each row from 0, and its cells.

        Raises:
            ValueError: If a cell is missing; the message names row and column.
        """
        for number, found in enumerate(self._cells()):
            cells = tuple(plain_cell(cell) for cell in found)
            if number == 0 and self._unnamed:
                self._header.check(cells, self.place(0), "take the row out")
            for column, cell in zip(self.columns, cells, strict=True):
                check_present(cell, f"{self.place(number)}, {column_title(column)}")
            yield number, cells

    def label_names(self, column: int | str) -> list[str] | None:
        """The names of the labels, where a Hugging Face dataset knows them (`ClassLabel`)."""
        features = getattr(self._table, "features", None)
        if not isinstance(features, Mapping):
            return None
        if isinstance(column, int):
            column = list(features)[column - 1]
        return getattr(features.get(column), "names", None)

    def _first(self) -> Any:
        """The first row: a mapping, a sequence of cells, or `None` without rows."""
        if self._columnwise is not None:
            return {name: next(iter(cells), None) for name, cells in self._columnwise.items()}
        return self._row(0) if len(self._table) else None

    def _row(self, number: int) -> Any:
        row = self._table[number]
        if not isinstance(row, Mapping | tuple | list | np.ndarray):
            raise TypeError(
                f"{self.place(number)}: expected a dictionary or a tuple of cells, "
                f"got {type(row).__name__}; a table is {KINDS}"
            )
        return row

    def _cells(self) -> Iterator[tuple[Any, ...]]:
        if self._columnwise is None:
            for number in range(len(self._table)):
                row = self._row(number)
                yield tuple(self._cell(row, column, number) for column in self.columns)
            return
        names = list(self._columnwise)
        read = [self._reader(column, names) for column in self.columns]
        yield from zip(*(reader() for reader in read), strict=True)

    def _cell(self, row: Any, column: int | str, number: int) -> Any:
        where = self.place(number)
        if isinstance(row, Mapping):
            if isinstance(column, int):
                return list(row.values())[column_index(column, list(row), where)]
            return cell_of(row, column, where)
        if isinstance(column, str):
            raise ValueError(  # noqa: TRY004 -- bad data is a ValueError, here as everywhere
                f"{where}: expected a dictionary, since columns= names {column!r}, got a "
                f"{type(row).__name__}; say numbers from 1, columns=(1, 2)"
            )
        width = max(c for c in self.columns if isinstance(c, int))
        if len(row) < width or (self._whole and len(row) > width):
            places = ", ".join(str(place) for place in range(1, width + 1))
            raise ValueError(
                f"{where}: expected {width} cells, got {len(row)}; correct the row, or say which "
                f"cells are meant, columns=({places}); lists side by side become rows with "
                "list(zip(…))"
            )
        return row[column - 1]

    def _reader(self, column: int | str, names: list[str]) -> Callable[[], Iterator[Any]]:
        assert self._columnwise is not None
        where = f"{self._split} dataset"
        if isinstance(column, int) or column in names:
            cells = self._columnwise[names[column_index(column, names, where)]]
            return lambda: iter(cells)
        whole = self._columnwise  # the column may stand in a nested one
        rows = zip(*whole.values(), strict=True)
        return lambda: (
            cell_of(dict(zip(names, row, strict=True)), column, self.place(number))
            for number, row in enumerate(rows)
        )


def split_tables(train: Any, val: Any, test: Any) -> dict[Split, Any]:
    """The splits that have something of their own, and what they are made of.

    Of a `DatasetDict` in `train` these are the splits that it has, called `train`, `validation` (or
    `valid`, `val`, `dev`) and `test`; others are left out. `train` is always among them; a `val`
    that is a share of it is not.

    Raises:
        ValueError: If it has no training split, or one that is given besides.
    """
    given: dict[Split, Any] = {"train": train, "val": val, "test": test}
    for split in SPLITS if _holds_splits(train) else ():
        found = [name for name in _SPLIT_NAMES[split] if name in train]
        if split == "train" and not found:
            raise ValueError(f"train: expected a split 'train' in it, got {list(train)}")
        if split != "train" and found and given[split] is not None:
            raise ValueError(
                f"{split}: train has a split {found[0]!r} of its own, and {split} is given "
                f"besides; leave out {split}, or pass train=splits['train']"
            )
        if found:
            given[split] = train[found[0]]
    without = {"val"} if fraction_of(val) is not None else set()
    without |= {split for split in ("val", "test") if given[split] is None}
    return {split: one for split, one in given.items() if split not in without}


def is_table(given: Any) -> bool:
    """Whether something in memory may be a table; its rows are checked when they are read."""
    return not isinstance(given, str | bytes) and isinstance(given, Rows)


def _holds_splits(given: Any) -> bool:
    if not isinstance(given, Mapping) or not given:
        return False
    tables = [
        isinstance(value, Mapping)
        or any(hasattr(value, name) for name in ("column_names", "columns"))
        or (isinstance(value, Sequence) and bool(value) and isinstance(value[0], Mapping | tuple))
        for value in given.values()
    ]
    return all(tables)


def _columns_of(split: Split, table: Any) -> dict[str, Any] | None:
    """The columns of a table that is stored by columns; `None` if it is stored by rows."""
    if hasattr(table, "iloc") and hasattr(table, "columns"):
        names = [str(name) for name in table.columns]
        return {name: table.iloc[:, place].tolist() for place, name in enumerate(names)}
    if hasattr(table, "columns") and hasattr(table, "get_column"):
        return {str(name): table.get_column(name).to_list() for name in table.columns}
    if not isinstance(table, Mapping):
        return None
    lengths = {name: len(cells) for name, cells in table.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{split}: expected columns of one length, got {lengths}")
    return {str(name): cells for name, cells in table.items()}
