"""Inputs of the answering commands: lines, tables, arrays and series, from files or standard input.

Every format is read as it is used, so that a file of any length needs constant memory.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np

from seqlearn.data.columns import cell_of, column_index
from seqlearn.data.sources.series_arrays import ARRAY_SUFFIXES, SeriesArrays
from seqlearn.data.sources.series_tables import Found, SeriesColumns, SeriesTable
from seqlearn.data.sources.text_files import csv_records
from seqlearn.spec import SideSpec
from seqlearn.spec.words import Unit, check_words, join_units

LONGEST_LINE = 2**24
"""Most bytes of a line."""

Format = Literal["lines", "csv", "tsv", "jsonl", "npy", "npz", "parquet"]
Kind = Literal["text", "vector", "series"]
FORMATS: dict[Kind, tuple[Format, ...]] = {
    "text": ("lines", "csv", "tsv", "jsonl"),
    "vector": ("csv", "tsv", "jsonl", "npy"),
    "series": ("jsonl", "csv", "tsv", "parquet", "npy", "npz"),
}
"""The formats of each kind of input; the first is that of standard input."""

SERIES_TABLES: tuple[Format, ...] = ("csv", "tsv", "parquet")
"""The formats of series with a row for each time step."""


_TABLE_OPTIONS = {
    "id_column, time_column, value_columns and target_columns": (
        "--id-column, --time-column and --column"
    ),
    "value_columns": "--column",
    "pass missing=True": "train the model on data with missing=True",
}
"""What errors of tables of series advise, as the command can do it."""


class Item(NamedTuple):
    """One input.

    Attributes:
        value: What the model takes: a text (also given as a list of words), a list of ids, numbers;
            an empty text has no answer.
        place: Where it is, for errors: file and line, or file and array.
    """

    value: Any
    place: str

    @property
    def is_empty(self) -> bool:
        """Whether it is an empty text."""
        return isinstance(self.value, str) and not self.value


@dataclass(frozen=True)
class InputOptions:
    """How inputs are read.

    Attributes:
        file: The file; `None` is standard input.
        format: `"lines"`, `"csv"`, `"tsv"` or `"jsonl"`; `None` follows from the suffix of the
            file and the kind of input.
        columns: Names of columns, or numbers from 1: of the text, or of the numbers.
        id_column: In a table of series, the column that says which series a row is of; `None` for
            `"id"`.
        time_column: In a table of series, the column of times; `None` for `"time"`, empty if there
            is none.
        unit: What the texts of a list are: words, or characters.
    """

    file: str | None = None
    format: Format | None = None
    columns: tuple[str, ...] = ()
    id_column: str | None = None
    time_column: str | None = None
    unit: Unit = "word"

    @property
    def name(self) -> str:
        """What errors call the input."""
        return self.file or "standard input"


def kind_of(side: SideSpec) -> Kind:
    """Whether an input of a type is a text (or ids), a vector, or a series of vectors.

    Examples:
        >>> from seqlearn.spec import SeriesSpec, TextSpec, VectorSpec
        >>> [kind_of(side) for side in (TextSpec(9, 4), VectorSpec(2), SeriesSpec(2))]
        ['text', 'vector', 'series']
    """
    if not side.is_sequence:
        return "vector"
    return "series" if side.row_format.shape else "text"


def open_input(options: InputOptions) -> io.BufferedIOBase:
    """Open the file (also a `.gz` file), or standard input.

    Raises:
        OSError: If the file cannot be opened.
    """
    if options.file is None:
        return cast(io.BufferedIOBase, sys.stdin.buffer)
    if not Path(options.file).exists():
        raise FileNotFoundError(
            f"{options.file}: there is no such file of inputs; for one text, pass it to standard "
            "input: echo TEXT | seqlearn …"
        )
    if options.file.endswith(".gz"):
        return gzip.GzipFile(options.file, "rb")
    return open(options.file, "rb")


def read_items(options: InputOptions, side: SideSpec, stream: io.BufferedIOBase) -> Iterator[Item]:
    """Read inputs of a type.

    Args:
        options: What to read.
        side: The type of the inputs.
        stream: The open file; arrays are read from the file itself.

    Raises:
        ValueError: If the format does not fit the type, a column does not exist, or an input is
            invalid; the message names file and line.
    """
    kind, form = kind_of(side), _format(options, kind_of(side))
    if form == "lines":
        items = _whole_lines(options, stream)
    elif form == "jsonl":
        items = _objects(options, stream)
    elif kind == "series":
        items = _series(options, form, side)
    elif form == "npy":
        items = _vectors_of_array(options)
    else:
        items = _records(options, form, stream, one=kind == "text")
    if kind == "text":
        return (_as_text(item, side, options.unit) for item in items)
    return (_checked(item, side) for item in items)


def _format(options: InputOptions, kind: Kind) -> Format:
    """The format of the input.

    Raises:
        ValueError: If the kind of input does not come in this format, or a column is needed.
    """
    allowed = FORMATS[kind]
    suffix = Path((options.file or "").removesuffix(".gz")).suffix[1:]
    known = [each for formats in FORMATS.values() for each in formats]
    form: Any = options.format or (suffix if suffix in known else allowed[0])
    if form not in allowed:
        raise ValueError(
            f"{options.name}: expected {kind}s as {', '.join(allowed)}, got {form}; name the "
            "format with --format, or convert the file"
        )
    if kind == "text" and form in ("csv", "tsv") and not options.columns:
        raise ValueError(
            f"{options.name}: name the column of the texts with --column NAME (or its number, "
            "from 1), or pass --format lines to read whole lines"
        )
    if kind == "text" and len(options.columns) > 1:
        raise ValueError(f"expected one --column of texts, got {list(options.columns)}")
    if form in ("lines", "npy", "npz") and options.columns:
        raise ValueError(
            f"{options.name}: --column is for tables, and this is read as {form}; pass --format "
            "csv, tsv or jsonl, or leave --column out"
        )
    if (options.id_column, options.time_column) != (None, None) and (
        kind != "series" or form not in SERIES_TABLES
    ):
        raise ValueError(
            f"{options.name}: --id-column and --time-column are for tables of series "
            f"({', '.join(SERIES_TABLES)}), and this is read as {kind} from {form}; leave them out"
        )
    if kind == "series" and form not in {"jsonl", suffix}:
        raise ValueError(
            f"{options.name}: series as {form} are read from a file that ends in .{form}; name "
            "such a file, or pass JSON Lines"
        )
    return form


def read_lines(stream: io.BufferedIOBase, name: str) -> Iterator[str]:
    """The lines of a stream of UTF-8, split at line feeds alone.

    Raises:
        ValueError: If a line is not UTF-8, or has no end within 16 MiB; the message names file and
            line.
    """
    for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE + 1), b""), 1):
        if len(line) > LONGEST_LINE:
            raise ValueError(
                f"{name}, line {number}: expected lines of at most {LONGEST_LINE >> 20} MiB, got "
                "a longer one; the input must be text, one example on each line"
            )
        try:
            # A byte order mark at the start of the file is not part of the text.
            yield line.rstrip(b"\r\n").decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{name}, line {number}: expected UTF-8, got the byte {line[error.start]:#04x} at "
                f"byte {error.start + 1} of the line; convert the text to UTF-8"
            ) from error


def _whole_lines(options: InputOptions, stream: io.BufferedIOBase) -> Iterator[Item]:
    for number, line in enumerate(read_lines(stream, options.name), 1):
        yield Item(line, f"{options.name}, line {number}")


def _objects(options: InputOptions, stream: io.BufferedIOBase) -> Iterator[Item]:
    """The values of JSON Lines: whole lines, one column of objects, or several columns of numbers.

    Raises:
        ValueError: If a line is not JSON, or lacks a column.
    """
    for number, line in enumerate(read_lines(stream, options.name), 1):
        where = f"{options.name}, line {number}"
        try:
            found = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{where}: expected JSON, but at character {error.pos + 1}: {error.msg}"
            ) from error
        if isinstance(found, dict) != bool(options.columns):
            advice = "name it with --column" if isinstance(found, dict) else "leave --column out"
            expected = "an object" if options.columns else "a value"
            raise ValueError(f"{where}: expected {expected}, got {line[:40]!r}; {advice}")
        cells = [cell_of(found, column, where) for column in options.columns]
        yield Item(found if not cells else cells[0] if len(cells) == 1 else cells, where)


def _records(
    options: InputOptions, form: str, stream: io.BufferedIOBase, *, one: bool
) -> Iterator[Item]:
    """The texts (`one` column) or the vectors of CSV or TSV.

    With a column name the first line is a header, which has no answer. Columns by number, and
    vectors without `--column`, have none.
    """
    indices: list[int] = []
    width = 0
    for line, cells in _cells(read_lines(stream, options.name), form, options.name):
        where = f"{options.name}, line {line}"
        if not width:
            width = len(cells)
            columns = [int(each) if each.isdecimal() else each for each in options.columns]
            if any(column == 0 for column in columns):
                raise ValueError(f"expected column numbers from 1, got {options.columns}")
            indices = [column_index(each, cells, where) for each in columns] or [*range(width)]
            if any(isinstance(column, str) for column in columns):
                continue
        if len(cells) != width:
            raise ValueError(
                f"{where}: expected {width} cells, as on line 1, got {len(cells)}; correct the line"
            )
        chosen = [cells[index] for index in indices]
        yield Item(chosen[0] if one else _numbers(chosen, where), where)


def _cells(lines: Iterable[str], form: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """The number of the first line of each record, and its cells."""
    if form == "tsv":
        for number, line in enumerate(lines, 1):
            yield number, line.split("\t")
        return
    yield from csv_records(lines, name)


def _numbers(cells: Sequence[str], where: str) -> list[float]:
    try:
        return [float(cell) for cell in cells]
    except ValueError as error:
        raise ValueError(
            f"{where}: expected numbers ({error}); name the columns of numbers with --column if "
            "line 1 is a header"
        ) from error


def _vectors_of_array(options: InputOptions) -> Iterator[Item]:
    """The rows of a `.npy` file, which is memory-mapped."""
    try:
        array = np.lib.format.open_memmap(str(options.file), mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{options.file}: expected numbers in NumPy's format, without Python objects ({error})"
        ) from error
    if array.ndim != 2:
        raise ValueError(
            f"{options.file}: expected an array (examples, size), got one of shape {array.shape}"
        )
    for row, vector in enumerate(array):
        yield Item(np.asarray(vector), f"{options.file}, row {row} (from 0)")


def _series(options: InputOptions, form: str, side: SideSpec) -> Iterator[Item]:
    """The series of an array, or of a table with one row for each time step."""
    if f".{form}" in ARRAY_SUFFIXES:
        found = SeriesArrays("test", options.file, None, "utf-8").rows()
    else:
        times = "time" if options.time_column is None else options.time_column or None
        identity = "id" if options.id_column is None else options.id_column
        names = SeriesColumns(identity, times, options.columns or None, ())
        found = _rows_of_table(options, names, missing=bool(getattr(side, "missing", False)))
    for series in found:
        yield Item(series.values, series.place)


def _rows_of_table(
    options: InputOptions, names: SeriesColumns, *, missing: bool
) -> Iterator[Found]:
    """The series of a table; errors name the options of the command.

    Raises:
        ValueError: As `SeriesTable`.
    """
    try:
        table = SeriesTable("test", options.file, names, missing=missing, encoding="utf-8")
        yield from table.rows()
    except ValueError as error:
        message = str(error)
        for argument, option in _TABLE_OPTIONS.items():
            message = message.replace(argument, option)
        raise ValueError(message) from error


def _as_text(item: Item, side: SideSpec, unit: Unit) -> Item:
    """A text as the model takes it: ids where the model has no tokenizer; words as one text."""
    value = item.value
    if isinstance(value, list) and any(isinstance(word, str) for word in value):
        try:
            text = join_units(check_words(value, unit), unit)
            return _as_text(item._replace(value=text), side, unit)
        except ValueError as error:
            raise ValueError(f"{item.place}, {error}") from error
    if not isinstance(value, str):
        return _checked(item, side)
    if item.is_empty or getattr(side, "is_readable_text", True):
        return item  # texts are checked with their unknown symbols
    try:
        ids = [int(each) for each in value.split()]
    except ValueError as error:
        raise ValueError(
            f"{item.place}: expected ids separated by spaces, because the model has no tokenizer "
            f"({error})"
        ) from error
    return _checked(item._replace(value=ids), side)


def _checked(item: Item, side: Any) -> Item:
    """An input that the type can encode.

    Raises:
        ValueError: If it cannot; the message names the place.
    """
    try:
        side.encode([item.value], label="input")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{item.place}: {str(error).removeprefix('input 1: ')}") from error
    return item
