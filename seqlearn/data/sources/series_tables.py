"""Series in tables: one row for each time step, with a column that says which series it is of."""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqlearn.data.columns import cell_of, delimiter_advice, plain_cell
from seqlearn.data.preparation import Split
from seqlearn.data.sources.table_files import FileTable, table_suffix
from seqlearn.data.sources.tables import KINDS, columns_of
from seqlearn.data.sources.text_files import digest_file, read_csv, read_lines

_MISSING = frozenset(("", "na", "n/a", "nan", "null", "none"))
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")


class SeriesColumns(NamedTuple):
    """The names of the columns.

    Attributes:
        id: Says which series a row is of.
        time: Increases from row to row of a series; `None` if the table has no times.
        values: The numbers of a time step; `None` for all other columns.
        target: What is predicted: one value for the whole series, repeated in each of its rows.
        no_values: Columns that are not among the numbers by default.
    """

    id: str
    time: str | None
    values: tuple[str, ...] | None
    target: tuple[str, ...]
    no_values: tuple[str, ...] = ()


class Found(NamedTuple):
    """A series of a table.

    Attributes:
        place: Where it starts, for errors.
        values: `time size`, in double precision.
        target: The cells of the target columns.
    """

    place: str
    values: NDArray[np.float64]
    target: tuple[Any, ...]


class SeriesTable:
    """The series of a table in a file or in memory.

    Args:
        split: The split, for errors.
        given: A `.csv`, `.tsv` or `.parquet` file (the first two also `.gz`), or a table in memory.
        columns: The names of the columns.
        missing: Whether a number may be missing.
        encoding: Encoding of a text file.

    Attributes:
        value_names: The columns of the numbers, in order.

    Raises:
        ValueError: If a column does not exist, or none is left for the numbers.
        ImportError: If a parquet file is given and pyarrow is not installed.
    """

    def __init__(
        self, split: Split, given: Any, columns: SeriesColumns, *, missing: bool, encoding: str
    ) -> None:
        self._split, self._missing, self._columns, self._encoding = (
            split,
            missing,
            columns,
            encoding,
        )
        self._path = Path(given) if isinstance(given, str | os.PathLike) else None
        if self._path is not None and self._path.suffix == ".parquet":
            given = _parquet(split, self._path)
        self._table = None if isinstance(given, str | os.PathLike) else _by_column(split, given)
        names = self._names()
        where = str(self._path) if self._path else f"{split} dataset"
        used = (columns.id, *([columns.time] if columns.time else []), *columns.target)
        self.value_names = columns.values or tuple(
            name for name in names if name not in (*used, *columns.no_values)
        )
        for name in (*used, *self.value_names):
            if name not in names:
                raise ValueError(
                    f"{where}: expected a column {name!r}, got {list(names)}; name the columns "
                    "with id_column, time_column, value_columns and target_columns"
                    + delimiter_advice(names)
                )
        if not self.value_names:
            raise ValueError(f"{where}: expected columns of numbers besides {list(used)}, got none")
        self._names_read = (*used, *self.value_names)

    @property
    def size(self) -> int:
        """Numbers of each time step."""
        return len(self.value_names)

    def digest(self) -> str:
        """Digest of the file or of the cells."""
        if self._path is not None:
            return f"{self._path.suffix} {self.value_names} {digest_file(self._split, self._path)}"
        digest = hashlib.sha256(repr(self._names_read).encode())
        for _, cells in self._rows():
            digest.update(repr(cells).encode())
        return digest.hexdigest()

    def rows(self) -> Iterator[Found]:
        """The series, in the order in which they start.

        Raises:
            ValueError: If rows of a series are not consecutive, times do not increase, a number is
                missing or not a number, or the target changes within a series; the message names
                file and line, or the row.
        """
        timed = int(self._columns.time is not None)
        until = 1 + timed + len(self._columns.target)
        known: set[Any] = set()
        place, last = "", None
        target: tuple[Any, ...] = ()
        vectors: list[list[float]] = []
        current: Any = known  # equal to no id
        for where, cells in self._rows():
            name, time, said = cells[0], cells[1] if timed else None, cells[1 + timed : until]
            if name != current:
                if vectors:
                    yield Found(place, np.array(vectors), target)
                self._check_id(name, known, where)
                known.add(name)
                current, place, target, vectors, last = name, where, said, [], None
            if said != target:
                raise ValueError(
                    f"{where}: expected the target {target} in all rows of series {name!r}, as in "
                    f"its first, got {said}"
                )
            if timed:
                last = self._later(time, last, name, where)
            vectors.append([self._number(*each, where) for each in self._named(cells[until:])])
        if vectors:
            yield Found(place, np.array(vectors), target)

    def _named(self, cells: Sequence[Any]) -> Iterator[tuple[str, Any]]:
        return zip(self.value_names, cells, strict=True)

    def _check_id(self, name: Any, known: set[Any], where: str) -> None:
        if _is_missing(name):
            raise ValueError(
                f"{where}: expected an id in column {self._columns.id!r}, got {name!r}"
            )
        if name in known:
            raise ValueError(
                f"{where}: series {name!r} has been complete before; rows of a series must follow "
                f"one another: sort the table by {self._columns.id!r} and time, or make ids unique"
            )

    def _later(self, time: Any, last: Any, name: Any, where: str) -> Any:
        """Check that a time is after the last one, and return it in a form to compare."""
        moment: Any = _moment(time)
        if moment is None:
            raise ValueError(
                f"{where}: expected a number or a date in column {self._columns.time!r}, "
                f"got {time!r}"
            )
        if last is not None:
            if type(moment) is not type(last) or _has_zone(moment) != _has_zone(last):
                raise ValueError(
                    f"{where}: the time {time!r} is of another kind than the one before; use "
                    "numbers, dates, or dates with a time zone alone"
                )
            if not moment > last:
                raise ValueError(
                    f"{where}: expected increasing times within series {name!r}, got {time!r} "
                    f"after {last}; sort the table by {self._columns.id!r} and "
                    f"{self._columns.time!r}, and remove repeated times"
                )
        return moment

    def _number(self, column: str, cell: Any, where: str) -> float:
        if _is_missing(cell):
            if self._missing:
                return float("nan")
            raise ValueError(
                f"{where}, column {column!r}: expected a number, got {cell!r}; fill it in, or pass "
                "missing=True"
            )
        try:
            return float(cell)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{where}, column {column!r}: expected a number, got {str(cell)[:40]!r}; correct "
                "it, or name the columns of numbers with value_columns"
            ) from error

    def _names(self) -> tuple[str, ...]:
        """The names of all columns."""
        if self._table is not None:
            return tuple(self._table)
        assert self._path is not None
        suffix = table_suffix(self._path)
        if suffix == ".csv":
            return tuple(next(read_csv(self._split, self._path, self._encoding))[1])
        return tuple(next(read_lines(self._split, self._path, self._encoding)).split("\t"))

    def _rows(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """The place and the cells of each row."""
        if self._table is not None:
            name = str(self._path) if self._path else f"{self._split} dataset"
            cells = zip(*(self._table[name] for name in self._names_read), strict=True)
            for number, row in enumerate(cells):
                yield f"{name}, row {number}", tuple(plain_cell(cell) for cell in row)
            return
        assert self._path is not None
        usual = ("id", "value")
        table = FileTable(self._split, self._path, self._names_read, usual, self._encoding)
        for line, row in table.rows():
            yield table.location(line), row


def _by_column(split: Split, table: Any) -> dict[str, Any]:
    """The columns of a table in memory."""
    columns = columns_of(split, table)
    if columns is not None:
        return columns
    if hasattr(table, "column_names"):
        return {name: table[name] for name in table.column_names}
    if isinstance(table, Sequence) and table and isinstance(table[0], Mapping):
        names = list(table[0])
        return {
            name: [cell_of(row, name, f"{split} dataset, row {n}") for n, row in enumerate(table)]
            for name in names
        }
    raise TypeError(f"{split}: expected a file, or a table with named columns ({KINDS})")


def _parquet(split: Split, path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{split}: expected a file at {path}, but there is none")
    try:
        reader = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise ImportError(
            f"{path}: reading parquet needs pyarrow: pip install pyarrow; or pass "
            "pandas.read_parquet(…)"
        ) from error
    try:
        columns: dict[str, Any] = reader.read_table(path).to_pydict()
    except Exception as error:  # pyarrow's own classes
        raise ValueError(f"{path}: expected a parquet file ({error})") from error
    return columns


def _is_missing(cell: Any) -> bool:
    if isinstance(cell, str):
        return cell.strip().lower() in _MISSING
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, float) and cell != cell  # noqa: PLR0124 -- NaN


def _has_zone(moment: float | dt.datetime) -> bool:
    return getattr(moment, "tzinfo", None) is not None


def _moment(time: Any) -> float | dt.datetime | None:
    """A time as a number or a date; `None` if it is neither."""
    if isinstance(time, dt.datetime):
        return time
    if isinstance(time, dt.date):
        return dt.datetime(time.year, time.month, time.day)  # noqa: DTZ001 -- as the table has it
    if _is_missing(time) or isinstance(time, bool):
        return None
    try:
        return float(time)
    except (TypeError, ValueError):
        pass
    try:
        return dt.datetime.fromisoformat(str(time).strip())
    except ValueError:
        return None
