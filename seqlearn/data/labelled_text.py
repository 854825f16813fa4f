"""Texts and what they are: from tables, from lines that start with a label, from datasets."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from seqlearn.data.drawing import drawing
from seqlearn.data.fields import Classes, Text
from seqlearn.data.module import SequenceDataModule, Split
from seqlearn.data.text_files import (
    Rows,
    codec_name,
    column_names,
    column_pair,
    column_place,
    digest_file,
    read_csv,
    read_lines,
    refuse_empty,
)

Labelled = str | Path | Rows
"""One split: a file, or rows with named columns."""

_Columns = tuple[int | str, int | str]
_WORDS = Text("word")
_TABLES = (".csv", ".tsv", ".jsonl")


class LabelledText(SequenceDataModule):
    """Texts and the class of each.

    How a file is read follows from its name, which may end in `.gz` besides:

    - `.csv`: cells between commas; one in double quotes may hold commas and ends of lines;
    - `.tsv`: cells between tabs, taken as they stand;
    - `.jsonl`: one JSON object on each line;
    - any other: a label at the start of each line and, after a blank, its text.

    The first three, and Hugging Face datasets (anything with a length whose items are mappings),
    need `columns`. In JSON and datasets a label may be a whole number; where a dataset knows the
    names of its labels, these are taken. Neither a text nor a label may be empty.

    Args:
        train: The training split.
        val: The validation split, if there is one. A number is the share of the training split
            that is drawn for validation and left out of training; of each label at least one
            example stays in training.
        test: The test split, if there is one.
        text: How texts are cut into tokens.
        columns: Text and label: names (a CSV or TSV then starts with a line of names), or numbers
            from 1.
        label_until: Cuts labels before this sign: with `":"` the label `LOC:city` is `LOC`.
        encoding: Of the files; a mark at the start of UTF-8 is left out.
        batch_tokens: Budget of a batch, see `SequenceDataModule`.
        seed: Decides the order of training, and which share is drawn.
        num_workers: Processes that slice batches.

    Raises:
        TypeError: If a split is neither a path nor a dataset.
        ValueError: If an argument makes no sense. Bad data is found when the data is prepared, and
            named by file and line: a `ValueError`, or a `FileNotFoundError` for a missing file.

    Example::

        LabelledText("train.txt", 0.1, "test.txt", label_until=":", encoding="latin-1")
    """

    def __init__(
        self,
        train: Labelled,
        val: float | Labelled | None = None,
        test: Labelled | None = None,
        text: Text = _WORDS,
        *,
        columns: tuple[int, int] | tuple[str, str] | None = None,
        label_until: str | None = None,
        encoding: str = "utf-8",
        batch_tokens: int = 4096,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            text, Classes(), batch_tokens=batch_tokens, seed=seed, num_workers=num_workers
        )
        if label_until == "":
            raise ValueError("expected label_until to be a sign such as ':', got an empty string")
        self.label_until = label_until
        self.encoding = codec_name(encoding)
        self.columns = column_pair(columns, "(text, label)")
        self.val_share = val if isinstance(val, int | float) else None
        if self.val_share is not None and not 0 < self.val_share < 1:
            raise ValueError(
                "val: expected files, a dataset, or a share of train above 0 and below 1, "
                f"got {val}"
            )
        self._train = self._reader("train", train)
        own = None if val is None or self.val_share is not None else self._reader("val", val)
        self._val = own
        self._test = None if test is None else self._reader("test", test)

    def examples(self, split: Split) -> Iterator[tuple[str, str]]:
        """The texts and labels of a split."""
        return ((text, label) for _, text, label in self._rows(split))

    def fingerprint(self) -> str:
        """The digests of the files, and how they are read; of a dataset, its texts and labels."""
        drawn = None if self.val_share is None else (self.val_share, self.seed)
        how = (self.encoding, self.columns, self.label_until, drawn)
        digest = hashlib.sha256(repr(how).encode())
        for reader in (self._train, self._val, self._test):
            digest.update(f"\n{reader and reader.digest()}".encode())
        return digest.hexdigest()

    def locate(self, split: Split, row: int) -> str:
        """File and line, or the row of a dataset."""
        return next(itertools.islice(self._rows(split), row, None))[0]

    def _rows(self, split: Split) -> Iterator[tuple[str, str, str]]:
        """Place, text and label of each example."""
        reader = {"train": self._train, "val": self._val, "test": self._test}[split]
        if self.val_share is None or split == "test":
            return iter(()) if reader is None else self._read(reader)
        drawn = self._drawn
        rows = enumerate(self._read(self._train))
        return (row for number, row in rows if (number in drawn) == (split == "val"))

    @functools.cached_property
    def _drawn(self) -> frozenset[int]:
        """The rows of the training split that are for validation."""
        assert self.val_share is not None
        labels = [label for _, _, label in self._read(self._train)]
        order = list(range(len(labels)))
        drawing(f"share {self.seed}").shuffle(order)
        first = {labels[row]: row for row in reversed(order)}
        free = [row for row in order if first[labels[row]] != row]
        count = round(self.val_share * len(labels))
        if labels and not 0 < count <= len(free):
            raise ValueError(
                f"val={self.val_share} of {len(labels)} training examples with {len(first)} labels "
                f"is {count} examples, and as one of each label stays {len(free)} can be drawn; "
                "take another share, or give val files of its own"
            )
        return frozenset(free[:count])

    def _read(self, reader: _File | _Dataset) -> Iterator[tuple[str, str, str]]:
        """Place, text and label of each row of a file or dataset."""
        for number, text, label in reader.rows():
            place = reader.place(number)
            if isinstance(text, str):
                refuse_empty(text, place, "fill it in, or take the example out")
            yield place, text, self._label(label, place)

    def _label(self, label: Any, place: str) -> Any:
        """The label as it counts; what can be none is left to `Classes.check`."""
        if isinstance(label, int | np.integer) and not isinstance(label, bool):
            label = str(label)
        if not isinstance(label, str):
            return label
        if self.label_until is not None:
            whole = label
            label, found, _ = whole.partition(self.label_until)
            if not found:
                raise ValueError(
                    f"{place}: expected a label with {self.label_until!r} in it, as label_until "
                    f"says, got {whole!r}; correct it, or leave out label_until"
                )
        if not label.strip():
            raise ValueError(
                f"{place}: expected a label, got an empty one; fill it in, or take the example out"
            )
        return label

    def _reader(self, split: Split, given: object) -> _File | _Dataset:
        if isinstance(given, str | os.PathLike):
            return _File(split, Path(given), self.columns, self.encoding)
        if not isinstance(given, Rows):
            raise TypeError(
                f"{split}: expected a file or a dataset with rows, got {type(given).__name__}"
            )
        return _Dataset(split, given, self.columns)


class _File:
    """A table, or lines that start with a label."""

    def __init__(self, split: Split, path: Path, columns: _Columns | None, encoding: str) -> None:
        suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix
        self._suffix = suffix if suffix in _TABLES else None
        if self._suffix and columns is None:
            raise ValueError(f"{split}: {path} needs columns=(text, label), two names or numbers")
        if not self._suffix and columns is not None:
            raise ValueError(
                f"{split}: columns={columns} are for files that end in {', '.join(_TABLES)}, but "
                f"{path} is read as lines that start with a label; rename it, or leave out columns"
            )
        if suffix == ".jsonl" and columns is not None and isinstance(columns[0], int):
            raise ValueError(f"{split}: {path} needs the names of its columns, got {columns}")
        self._split, self._path, self._encoding = split, path, encoding
        self._columns = columns

    def digest(self) -> str:
        return f"{self._suffix} {digest_file(self._split, self._path)}"

    def place(self, line: int) -> str:
        return f"{self._path}, line {line}"

    def rows(self) -> Iterator[tuple[int, Any, Any]]:
        """The line on which an example starts, its text, and its label."""
        if self._columns is None:
            return self._labelled_lines()
        return self._objects() if self._suffix == ".jsonl" else self._records()

    def _lines(self) -> Iterator[tuple[int, str]]:
        return enumerate(read_lines(self._split, self._path, self._encoding), start=1)

    def _labelled_lines(self) -> Iterator[tuple[int, str, str]]:
        for number, line in self._lines():
            parts = line.split(maxsplit=1)
            if len(parts) < 2 or line[0].isspace():
                raise ValueError(
                    f"{self.place(number)}: expected a label, a blank and a text, "
                    f"got {line[:60]!r}; correct or remove the line"
                )
            yield number, parts[1], parts[0]

    def _objects(self) -> Iterator[tuple[int, Any, Any]]:
        text, label = cast("tuple[str, str]", self._columns)
        for number, line in self._lines():
            try:
                found = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"{self.place(number)}: expected a JSON object, but at character "
                    f"{error.pos + 1}: {error.msg}; correct or remove the line"
                ) from error
            if not isinstance(found, dict):
                raise ValueError(  # noqa: TRY004 -- bad data is a ValueError, here as everywhere
                    f"{self.place(number)}: expected a JSON object, got {type(found).__name__}; "
                    "correct or remove the line"
                )
            for column in (text, label):
                column_place(column, list(found), self.place(number))
            yield number, found[text], found[label]

    def _records(self) -> Iterator[tuple[int, str, str]]:
        if self._suffix == ".csv":
            records = read_csv(self._split, self._path, self._encoding)
        else:
            records = ((number, line.split("\t")) for number, line in self._lines())
        places: list[int] = []
        width = 0
        for number, cells in records:
            if not places:
                width = len(cells)
                places = self._places(cells)
                if isinstance(cast("_Columns", self._columns)[0], str):
                    continue
            if len(cells) != width:
                raise ValueError(
                    f"{self.place(number)}: expected {width} columns, as on line 1, "
                    f"got {len(cells)}; correct or remove the line"
                )
            yield number, cells[places[0]], cells[places[1]]

    def _places(self, first: list[str]) -> list[int]:
        """Where text and label stand in a record, the first of the file being known."""
        places = []
        for column in cast("_Columns", self._columns):
            if isinstance(column, str):
                places.append(column_place(column, first, self.place(1)))
            elif column > len(first):
                raise ValueError(
                    f"{self.place(1)}: expected at least {column} columns, got {len(first)}; "
                    "correct columns, or the file"
                )
            else:
                places.append(column - 1)
        return places


class _Dataset:
    """A dataset in memory, or one of Hugging Face."""

    def __init__(self, split: Split, rows: Rows, columns: _Columns | None) -> None:
        if columns is None or isinstance(columns[0], int):
            raise ValueError(
                f"{split}: a dataset needs the names of its columns, columns=(text, label); "
                f"got {columns}, and it has {column_names(rows)}"
            )
        self._split, self._rows = split, rows
        self._text, self._label = cast("tuple[str, str]", columns)

    def digest(self) -> str:
        digest = hashlib.sha256()
        for _, text, label in self.rows():
            digest.update(repr((text, label)).encode())
        return digest.hexdigest()

    def place(self, row: int) -> str:
        return f"{self._split} dataset, row {row}"

    def rows(self) -> Iterator[tuple[int, Any, Any]]:
        """The number of each row from 0, its text, and its label."""
        names = self._names()
        for number in range(len(self._rows)):
            row: Mapping[str, Any] = self._rows[number]
            for column in (self._text, self._label):
                if column not in row:
                    column_place(column, list(row), self.place(number))
            label = row[self._label]
            if names is not None and isinstance(label, int | np.integer):
                if not 0 <= label < len(names):
                    raise ValueError(
                        f"{self.place(number)}: expected a label from 0 to {len(names) - 1}, got "
                        f"{label}; filter out what has no label"
                    )
                label = names[int(label)]
            yield number, row[self._text], label

    def _names(self) -> list[str] | None:
        """The names of the labels, where a Hugging Face dataset knows them (`ClassLabel`)."""
        features = getattr(self._rows, "features", None)
        if not isinstance(features, Mapping):
            return None
        return getattr(features.get(self._label), "names", None)
