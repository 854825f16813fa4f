"""Tables in files: CSV, TSV and JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seqlearn.data.columns import (
    HeaderWarning,
    cell_of,
    column_index,
    default_columns,
    flat_names,
    looks_like_header,
)
from seqlearn.data.preparation import Split
from seqlearn.data.sources.text_files import digest_file, read_csv, read_lines

SUFFIXES = (".csv", ".tsv", ".jsonl")


def table_suffix(path: Path) -> str | None:
    """The suffix of a file name (without `.gz`) if it is `.csv`, `.tsv` or `.jsonl`."""
    suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix
    return suffix if suffix in SUFFIXES else None


def first_names(split: Split, path: Path, encoding: str) -> list[str]:
    """The cells of the first line of a CSV or TSV file, or the names in the first JSON object."""
    suffix = table_suffix(path)
    if suffix == ".csv":
        return next(read_csv(split, path, encoding))[1]
    line = next(read_lines(split, path, encoding))
    if suffix != ".jsonl":
        return line.split("\t")
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return []  # the error about the columns comes first
    return flat_names(found) if isinstance(found, dict) else []


class FileTable:
    """Two columns of a table in a file.

    All lines must have the same number of cells. A first line that looks like a header is an error
    if the user named no columns, and a warning if the user gave numbers.

    Args:
        split: The split of the table, for errors.
        path: The file; `.csv` and `.jsonl` (also `.gz`) are read as such, others as TSV.
        columns: Names (a CSV or TSV then has a header line) or numbers from 1; `None` reads the
            first two columns (of JSON objects, the usual ones or the only two).
        usual: The default names of the columns: `("source", "target")`.
        encoding: Encoding, as `normalize_encoding` returns it.

    Raises:
        ValueError: If column numbers are given for JSON.
    """

    def __init__(
        self,
        split: Split,
        path: Path,
        columns: Sequence[int | str] | None,
        usual: tuple[str, str],
        encoding: str,
    ) -> None:
        self._suffix = table_suffix(path) or ".tsv"
        if self._suffix == ".jsonl" and columns is not None and isinstance(columns[0], int):
            raise ValueError(f"{split}: {path} needs the names of its columns, got {columns}")
        self._split, self._path, self._encoding = split, path, encoding
        self._given, self._usual = columns, usual
        self._header = HeaderWarning()
        self.columns: tuple[int | str, ...] = tuple(columns or (1, 2))

    def digest(self) -> str:
        """SHA-256 of the file, and its format."""
        return f"{self._suffix} {digest_file(self._split, self._path)}"

    def location(self, line: int) -> str:
        """File and line."""
        return f"{self._path}, line {line}"

    def rows(self) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """The number of each row's first line, and its cells.

        Raises:
            ValueError: If a line is invalid; the message names it.
        """
        return self._objects() if self._suffix == ".jsonl" else self._records()

    def _lines(self) -> Iterator[tuple[int, str]]:
        return enumerate(read_lines(self._split, self._path, self._encoding), start=1)

    def _objects(self) -> Iterator[tuple[int, tuple[Any, ...]]]:
        for number, line in self._lines():
            where = self.location(number)
            try:
                found = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"{where}: expected a JSON object, but at character {error.pos + 1}: "
                    f"{error.msg}; correct or remove the line"
                ) from error
            if not isinstance(found, dict):
                raise ValueError(  # noqa: TRY004 -- bad data is a ValueError, here as everywhere
                    f"{where}: expected a JSON object, got {type(found).__name__}; "
                    "correct or remove the line"
                )
            if number == 1 and self._given is None:
                columns = default_columns(found, self._usual, any_two=True)
                if columns is None:
                    raise ValueError(
                        f"{where}: select the columns with columns=({', '.join(self._usual)}); "
                        f"there are {flat_names(found)}"
                    )
                self.columns = columns
            yield number, tuple(cell_of(found, str(name), where) for name in self.columns)

    def _records(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        comma = self._suffix == ".csv"
        if comma:
            records = read_csv(self._split, self._path, self._encoding)
        else:
            records = ((number, line.split("\t")) for number, line in self._lines())
        indices: list[int] = []
        width = 0
        for number, cells in records:
            if number == 1:
                width = len(cells)
                indices = [column_index(c, cells, self.location(1)) for c in self.columns]
                if isinstance(self.columns[0], str):
                    continue
                self._check_header([cells[index] for index in indices])
            if len(cells) != width:
                cause = "quote cells with commas" if comma else "every tab separates two columns"
                raise ValueError(
                    f"{self.location(number)}: expected {width} columns, as on line 1, "
                    f"got {len(cells)}; correct or remove the line ({cause})"
                )
            yield number, tuple(cells[index] for index in indices)

    def _check_header(self, cells: list[str]) -> None:
        """Raise or warn if the first row looks like a header and would be read as an example."""
        names = ", ".join(map(repr, cells))
        if self._given is None and looks_like_header(cells):
            raise ValueError(
                f"{self.location(1)}: {names} look like column names; pass columns=({names}), on "
                f'the command line --data.columns "[{names}]", or columns=(1, 2) if they are an '
                "example"
            )
        self._header.check(cells, self.location(1), f"pass columns=({names}) instead of numbers")
