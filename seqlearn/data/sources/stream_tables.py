"""Streams of rows, which are written to the cache once and read from there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from seqlearn.data.cache import CachedFolder, cached, read_manifest
from seqlearn.data.preparation import Split
from seqlearn.data.progress import Progress
from seqlearn.data.sources.tables import MemoryTable, Stream

_CHUNK = 1024  # rows that are written at a time
_ROWS, _COLUMNS = "rows.jsonl", "columns.json"


class StreamTable:
    """Selected columns of a stream.

    Args:
        split: The split of the stream, for errors.
        stream: The stream.
        columns: As in `MemoryTable`.
        usual: As in `MemoryTable`.
        any_two: As in `MemoryTable`.
    """

    def __init__(
        self,
        split: Split,
        stream: Stream,
        columns: Sequence[int | str] | None,
        usual: tuple[str, ...],
        *,
        any_two: bool,
    ) -> None:
        self._split, self._stream = split, stream
        self._given, self._usual, self._any_two = columns, usual, any_two
        self._folder: CachedFolder | None = None

    @property
    def columns(self) -> tuple[int | str, ...]:
        """The columns that are read."""
        content = (self._cached() / _COLUMNS).read_text(encoding="utf-8")
        return tuple(json.loads(content))

    def digest(self) -> str:
        """SHA-256 of the cells, in hexadecimal."""
        return str(read_manifest(self._cached())["files"][_ROWS][1])

    def location(self, row: int) -> str:
        """Describe a row in error messages."""
        return f"{self._split} stream {self._stream.name!r}, row {row}"

    def rows(self) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """The number of each row from 0, and its cells.

        Raises:
            ValueError: If a cell is missing; the message names row and column.
        """
        with (self._cached() / _ROWS).open(encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines):
                yield number, tuple(json.loads(line))

    def _cached(self) -> Path:
        if self._folder is None:
            what = [self._stream.name, self._split, self._given, self._usual, self._any_two]
            key = hashlib.sha256(f"stream 1 {json.dumps(what)}".encode()).hexdigest()
            about = {"name": self._stream.name, "text": f"{self._split}, rows of a stream"}
            self._folder = cached(key, self._write, about)
        return self._folder.path

    def _write(self, folder: Path) -> None:
        """Read the stream, and write its cells."""
        rows = iter(Progress().over(self._stream.start(), self._stream.name, "reading"))
        count, columns = 0, self._given
        with (folder / _ROWS).open("w", encoding="utf-8", newline="\n") as file:
            while chunk := list(islice(rows, _CHUNK)):
                part = MemoryTable(
                    self._split,
                    chunk,
                    columns,
                    self._usual,
                    any_two=self._any_two,
                    first_row=count,
                )
                columns = part.columns
                for _, cells in part.rows():
                    file.write(json.dumps(cells, ensure_ascii=False, default=_plain) + "\n")
                count += len(chunk)
        if not count:
            raise ValueError(
                f"{self._split}: expected rows, but the stream {self._stream.name!r} has none; an "
                "iterator that was read before is empty"
            )
        (folder / _COLUMNS).write_text(json.dumps(columns), encoding="utf-8")


def _plain(value: Any) -> Any:
    """A numpy array or scalar as plain data."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise ValueError(f"expected texts or numbers in the cells of a stream, got {value!r:.60}")
