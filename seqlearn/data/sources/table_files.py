"""Rows of tables in files: CSV, TSV and JSON Lines."""

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
    """`.csv`, `.tsv` or `.jsonl`, where a file's name (without `.gz`) ends so."""
    suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix
    return suffix if suffix in SUFFIXES else None


class FileTable:
    """Two columns of a table in a file.

    All lines must have as many cells as the first. A first line that looks like names of columns
    is refused if the user named no columns, and warned of if the user gave numbers.

    Args:
        split: What the table is for, to be named in errors.
        path: The file; `.csv` and `.jsonl` (also `.gz`) are read as such, others as TSV.
        columns: Names (a CSV or TSV then starts with a line of names) or numbers from 1; `None`
            takes the first two columns (of JSON objects, the usual ones or the only two).
        usual: What the columns are: `("source", "target")`.
        encoding: As `normalize_encoding` gives it.

    Raises:
        ValueError: If numbers of columns are given for JSON.
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
        """SHA-256 of the file, and how it is read."""
        return f"{self._suffix} {digest_file(self._split, self._path)}"

    def place(self, line: int) -> str:
        """File and line."""
        return f"{self._path}, line {line}"

    def rows(self) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """The line on which a row starts, and its cells.

        Raises:
            ValueError: If a line is bad; the message names it.
        """
        return self._objects() if self._suffix == ".jsonl" else self._records()

    def _lines(self) -> Iterator[tuple[int, str]]:
        return enumerate(read_lines(self._split, self._path, self._encoding), start=1)

    def _objects(self) -> Iterator[tuple[int, tuple[Any, ...]]]:
        for number, line in self._lines():
            where = self.place(number)
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
                        f"{where}: say which columns to read, columns=({', '.join(self._usual)}); "
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
        places: list[int] = []
        width = 0
        for number, cells in records:
            if number == 1:
                width = len(cells)
                places = [column_index(c, cells, self.place(1)) for c in self.columns]
                if isinstance(self.columns[0], str):
                    continue
                self._check_header([cells[place] for place in places])
            if len(cells) != width:
                cause = "quote a cell that holds a comma" if comma else "a stray tab is a column"
                raise ValueError(
                    f"{self.place(number)}: expected {width} columns, as on line 1, "
                    f"got {len(cells)}; correct or remove the line ({cause})"
                )
            yield number, tuple(cells[place] for place in places)

    def _check_header(self, cells: list[str]) -> None:
        """Refuse names of columns that would be read as an example, or warn of them."""
        names = ", ".join(map(repr, cells))
        if self._given is None and looks_like_header(cells):
            raise ValueError(
                f"{self.place(1)}: {names} look like the names of columns; say "
                f"columns=({names}), or columns=(1, 2) if they are an example"
            )
        self._header.check(cells, self.place(1), f"say columns=({names}) in the place of numbers")
