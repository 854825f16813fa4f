"""Texts and what they are: from tables, from lines that start with a label, from datasets."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.utilities import rank_zero_warn

from seqlearn.data.columns import HeaderWarning, column_pair
from seqlearn.data.fields import Classes, Text
from seqlearn.data.module import SequenceDataModule, Split
from seqlearn.data.sources.holdout import Holdout, fraction_of
from seqlearn.data.sources.table_files import SUFFIXES, FileTable, table_suffix
from seqlearn.data.sources.tables import KINDS, MemoryTable, Rows, is_table, split_tables
from seqlearn.data.sources.text_files import (
    check_not_empty,
    digest_file,
    normalize_encoding,
    read_lines,
)

Labelled = str | Path | Rows
"""One split: a file, or a table in memory."""

_WORDS = Text("word")
_USUAL = ("text", "label")


class LabelledText(SequenceDataModule):
    """Texts and the class of each.

    How a file is read follows from its name, which may end in `.gz` besides:

    - `.csv`: cells between commas; one in double quotes may hold commas and ends of lines;
    - `.tsv`: cells between tabs, taken as they stand;
    - `.jsonl`: one JSON object on each line;
    - any other: a label at the start of each line and, after a blank, its text.

    The first three need `columns`. A split can also be a table in memory: a pandas `DataFrame`, a
    dictionary of lists, a Hugging Face `Dataset`, a list of dictionaries, or a list of tuples
    `(text, label)`; it needs `columns` unless its columns are called `text` and `label`. `train`
    can also be a `DatasetDict`, whose splits are then taken.

    In JSON and tables in memory a label may be a whole number; where a `Dataset` knows the names of
    its labels, these are taken. Blanks at the ends of a label are removed, with one warning.
    Neither a text nor a label may be empty or missing.

    Args:
        train: The training split.
        val: The validation split, if there is one. A number is the share of the training split
            that is drawn for validation and left out of training; of each label at least one
            example stays in training.
        test: The test split, if there is one.
        text: How texts are cut into tokens.
        columns: Text and label: names (a CSV or TSV then starts with a line of names), or numbers
            from 1.
        class_weights: How much an example of each class counts in the training loss: `"balanced"`,
            or a number for each label; see `Classes`.
        label_separator: Cuts labels before this sign: with `":"` the label `LOC:city` is `LOC`.
        encoding: Of the files; a mark at the start of UTF-8 is left out.
        batch_tokens: Budget of a batch, see `SequenceDataModule`.
        seed: Decides the order of training, and which share is drawn.
        num_workers: Processes that slice batches.

    Raises:
        TypeError: If a split is neither a path nor a table.
        ValueError: If an argument makes no sense. Bad data is found when the data is prepared, and
            named by file and line: a `ValueError`, or a `FileNotFoundError` for a missing file.

    Example::

        LabelledText("train.txt", 0.1, "test.txt", label_separator=":", encoding="latin-1")
    """

    def __init__(
        self,
        train: Labelled,
        val: float | Labelled | None = None,
        test: Labelled | None = None,
        text: Text = _WORDS,
        *,
        columns: tuple[int, int] | tuple[str, str] | None = None,
        class_weights: Literal["balanced"] | dict[str, float] | None = None,
        label_separator: str | None = None,
        encoding: str = "utf-8",
        batch_tokens: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            text,
            Classes(class_weights),
            batch_tokens=batch_tokens,
            seed=seed,
            num_workers=num_workers,
        )
        if label_separator == "":
            raise ValueError(
                "expected label_separator to be a sign such as ':', got an empty string"
            )
        self.label_separator = label_separator
        self.encoding = normalize_encoding(encoding)
        self.columns = column_pair(columns, "(text, label)")
        self.val_fraction = fraction_of(val)
        self._holdout = None if self.val_fraction is None else Holdout(self.val_fraction, seed)
        self._readers: dict[Split, _Reader] = {
            split: self._reader(split, given)
            for split, given in split_tables(train, val, test).items()
        }
        self._stripped = False

    def examples(self, split: Split) -> Iterator[tuple[str, str]]:
        """The texts and labels of a split."""
        return ((text, label) for _, text, label in self._rows(split))

    def fingerprint(self) -> str:
        """The digests of the files, and how they are read; of a table, its texts and labels."""
        drawn = self._holdout and (self.val_fraction, self.seed)
        how = (self.encoding, self.columns, self.label_separator, drawn)
        digest = hashlib.sha256(repr(how).encode())
        for split, reader in self._readers.items():
            digest.update(f"\n{split} {reader.digest()}".encode())
        return digest.hexdigest()

    def describe_location(self, split: Split, row: int) -> str:
        """File and line, or the row of a table."""
        return next(itertools.islice(self._rows(split), row, None))[0]

    def _rows(self, split: Split) -> Iterator[tuple[str, str, str]]:
        """Place, text and label of each example."""
        if self._holdout is not None and split != "test":
            train = self._readers["train"]
            return self._holdout.part(split, lambda: self._read(train), label=lambda row: row[2])
        return self._read(self._readers[split]) if split in self._readers else iter(())

    def _read(self, reader: _Reader) -> Iterator[tuple[str, str, str]]:
        """Place, text and label of each row of a file or table."""
        names = reader.label_names(reader.columns[1]) if isinstance(reader, MemoryTable) else None
        for number, (text, given) in reader.rows():
            place, label = reader.place(number), given
            if isinstance(text, str):
                check_not_empty(text, place, "fill it in, or take the example out")
            if names is not None and isinstance(label, int):
                if not 0 <= label < len(names):
                    raise ValueError(
                        f"{place}: expected a label from 0 to {len(names) - 1}, got "
                        f"{label}; filter out what has no label"
                    )
                label = names[label]
            yield place, text, self._label(label, place)

    def _label(self, label: Any, place: str) -> Any:
        """The label as it counts; what can be none is left to `Classes.check`."""
        if isinstance(label, int) and not isinstance(label, bool):
            label = str(label)
        if not isinstance(label, str):
            return label
        if self.label_separator is not None:
            whole = label
            label, found, _ = whole.partition(self.label_separator)
            if not found:
                raise ValueError(
                    f"{place}: expected a label with {self.label_separator!r} in it, as "
                    f"label_separator says, got {whole!r}; correct it, or leave out label_separator"
                )
        if not label.strip():
            raise ValueError(
                f"{place}: expected a label, got an empty one; fill it in, or take the example out"
            )
        if label != label.strip() and not self._stripped:
            self._stripped = True
            rank_zero_warn(
                f"{place}: the label {label!r} has blanks at its ends; they are removed, here and "
                "from all labels, so that labels do not differ by blanks alone"
            )
        return label.strip()

    def _reader(self, split: Split, given: object) -> _Reader:
        if isinstance(given, str | os.PathLike):
            path = Path(given)
            suffix, columns = table_suffix(path), self.columns
            if suffix and columns is None:
                raise ValueError(
                    f"{split}: {path} needs columns=(text, label), two names or numbers"
                )
            if suffix:
                return FileTable(split, path, columns, _USUAL, self.encoding)
            if columns is not None:
                raise ValueError(
                    f"{split}: columns={columns} are for files that end in {', '.join(SUFFIXES)}, "
                    f"but {path} is read as lines that start with a label; rename it, or leave out "
                    "columns"
                )
            return _LabelledLines(split, path, self.encoding)
        if not is_table(given):
            raise TypeError(
                f"{split}: expected a file or a table ({KINDS}), got {type(given).__name__}"
            )
        return MemoryTable(split, given, self.columns, _USUAL, any_two=False)


class _LabelledLines:
    """Lines that start with a label."""

    def __init__(self, split: Split, path: Path, encoding: str) -> None:
        self._split, self._path, self._encoding = split, path, encoding
        self._header = HeaderWarning()

    def digest(self) -> str:
        return f"lines {digest_file(self._split, self._path)}"

    def place(self, line: int) -> str:
        return f"{self._path}, line {line}"

    def rows(self) -> Iterator[tuple[int, tuple[str, str]]]:
        """The number of each line, its text, and its label."""
        lines = read_lines(self._split, self._path, self._encoding)
        for number, line in enumerate(lines, start=1):
            parts = line.split(maxsplit=1)
            if len(parts) < 2 or line[0].isspace():
                raise ValueError(
                    f"{self.place(number)}: expected a label, a blank and a text, "
                    f"got {line[:60]!r}; correct or remove the line"
                )
            if number == 1:
                self._header.check([parts[0], parts[1]], self.place(1), "remove the line")
            yield number, (parts[1], parts[0])


_Reader = FileTable | MemoryTable | _LabelledLines
