"""`LabelledText`: texts with class labels, from tables or from lines that start with labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from seqlearn.data.columns import HeaderWarning, column_pair, plain_cell
from seqlearn.data.fields import Classes, Text
from seqlearn.data.module import SequenceDataModule, Split
from seqlearn.data.multi_label_field import MultiLabel
from seqlearn.data.sources.holdout import SplitReaders, fraction_of
from seqlearn.data.sources.stream_tables import StreamTable
from seqlearn.data.sources.table_files import SUFFIXES, FileTable, first_names, table_suffix
from seqlearn.data.sources.tables import (
    KINDS,
    MemoryTable,
    Rows,
    Stream,
    is_table,
    split_tables,
)
from seqlearn.data.sources.text_files import (
    check_not_empty,
    digest_file,
    normalize_encoding,
    read_lines,
)

Labelled = str | Path | Rows | Stream
"""One split: a file, or a table in memory."""

_WORDS = Text("word")
_USUAL = ("text", "label")


class LabelledText(SequenceDataModule):
    """Texts with class labels.

    The suffix of a file (without `.gz`) determines its format:

    - `.csv`: comma-separated cells; a cell in double quotes may contain commas and line ends;
    - `.tsv`: tab-separated cells without quoting;
    - `.jsonl`: one JSON object on each line;
    - any other: each line is a label, whitespace and the text.

    The first three need `columns`. A split can also be a table in memory: a pandas `DataFrame`, a
    dictionary of lists, a Hugging Face `Dataset`, a list of dictionaries, or a list of tuples
    `(text, label)`; it needs `columns` unless its columns are named `text` and `label`. `train` can
    also be a `DatasetDict`, which then provides all splits.

    In JSON and tables in memory a label may be a whole number; if a `Dataset` has names for its
    labels, they are used. Whitespace at the ends of a label is removed, with one warning. Neither
    text nor label may be empty or missing.

    Args:
        train: The training split.
        val: The validation split, if there is one. A number is the fraction of the training split
            that is drawn for validation instead of training; at least one example of each label
            stays in training (with `label_delimiter` that is left to chance).
        test: The test split, if there is one.
        text: The tokenizer of the texts.
        columns: Text and label column: names (a CSV or TSV then has a header line), or numbers
            from 1.
        class_weights: Class weights of the training loss: `"balanced"`, or a number for each
            label; see `Classes`.
        label_separator: Labels are truncated before this string: with `":"`, `LOC:city` becomes
            `LOC`.
        label_delimiter: With it, an example has any number of labels (multi-label classification;
            the target is `MultiLabel`): a list in JSON and tables in memory, or a string with this
            delimiter between the labels; an empty one is no label.
        encoding: Encoding of the files; a UTF-8 byte order mark is skipped.
        batch_tokens: Budget of a batch, see `SequenceDataModule`.
        seed: Determines the order of training, and the fraction that is drawn.
        num_workers: Number of worker processes that slice batches.

    Raises:
        TypeError: If a split is neither a path nor a table.
        ValueError: If an argument is invalid. Invalid data raises when the data is prepared: a
            `ValueError` with file and line, or a `FileNotFoundError` for a missing file.

    Examples:
        >>> data = LabelledText([("how far", "NUM:dist"), ("who", "HUM:ind")], label_separator=":")
        >>> list(data.examples("train"))
        [('how far', 'NUM'), ('who', 'HUM')]
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
        label_delimiter: str | None = None,
        encoding: str = "utf-8",
        batch_tokens: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            text,
            Classes(class_weights) if label_delimiter is None else MultiLabel(class_weights),
            batch_tokens=batch_tokens,
            seed=seed,
            num_workers=num_workers,
        )
        if label_separator == "":
            raise ValueError("expected a label_separator such as ':', got an empty string")
        if label_delimiter is not None and not label_delimiter.strip():
            raise ValueError(f"expected a label_delimiter such as ',', got {label_delimiter!r}")
        self.label_separator, self.label_delimiter = label_separator, label_delimiter
        self.encoding = normalize_encoding(encoding)
        self.columns = column_pair(columns, "(text, label)")
        self.val_fraction = fraction_of(val)
        readers = split_tables(train, val, test).items()
        self._splits: SplitReaders[_Reader, tuple[str, str, Any]] = SplitReaders(
            {split: self._reader(split, given) for split, given in readers},
            self._read,
            self.val_fraction,
            seed,
            label=None if label_delimiter is not None else itemgetter(2),
        )
        self._stripped = False

    def examples(self, split: Split) -> Iterator[tuple[str, Any]]:
        """The texts and labels of a split; with `label_delimiter` lists of labels."""
        return ((text, label) for _, text, label in self._splits.rows(split))

    def fingerprint(self) -> str:
        """Digest of the files or tables, and of the arguments that affect reading."""
        return self._splits.digest(
            self.encoding, self.columns, self.label_separator, self.label_delimiter
        )

    def describe_location(self, split: Split, row: int) -> str:
        """File and line, or the row of a table."""
        return self._splits.row(split, row)[1][0]

    def _read(self, reader: _Reader) -> Iterator[tuple[str, str, Any]]:
        """Location, text and label of each row of a file or table."""
        names = reader.label_names(reader.columns[1]) if isinstance(reader, MemoryTable) else None
        for number, (text, given) in reader.rows():
            place, label = reader.location(number), given
            if isinstance(text, str):
                check_not_empty(text, place, "fill it in, or remove the example")
            if self.label_delimiter is not None:
                yield place, text, self._labels(label, names, place)
            else:
                yield place, text, self._label(_named(label, names, place), place)

    def _labels(self, given: Any, names: Sequence[str] | None, place: str) -> list[Any]:
        """The labels of an example that has any number of them."""
        if isinstance(given, str):
            parts = given.split(self.label_delimiter) if given.strip() else []
        elif isinstance(given, Sequence | np.ndarray):
            parts = [_named(plain_cell(part), names, place) for part in given]
        else:
            raise ValueError(  # noqa: TRY004 -- bad data is a ValueError, here as everywhere
                f"{place}: expected labels, as a list or with {self.label_delimiter!r} between "
                f"them, got {type(given).__name__} {str(given)[:40]!r}"
            )
        return [self._label(p.strip() if isinstance(p, str) else p, place) for p in parts]

    def _label(self, label: Any, place: str) -> Any:
        """Normalize a label; other types are left to `Classes.check`."""
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
                    f"label_separator requires, got {whole!r}; correct it, or remove "
                    "label_separator"
                )
        if not label.strip():
            raise ValueError(
                f"{place}: expected a label, got an empty one; fill it in, or remove the example"
            )
        if label != label.strip() and not self._stripped:
            self._stripped = True
            rank_zero_warn(
                f"{place}: the label {label!r} has whitespace at its ends; it is removed from all "
                "labels, so that no two labels differ only in whitespace"
            )
        return label.strip()

    def _reader(self, split: Split, given: object) -> _Reader:
        if isinstance(given, str | os.PathLike):
            path = Path(given)
            suffix, columns = table_suffix(path), self.columns
            if suffix and columns is None:
                names = first_names(split, path, self.encoding) if path.is_file() else None
                raise ValueError(
                    f"{split}: {path} needs columns=(text, label), two names or numbers"
                    + (f"; its first line has {names}" if names else "")
                )
            if suffix:
                return FileTable(split, path, columns, _USUAL, self.encoding)
            if columns is not None:
                raise ValueError(
                    f"{split}: columns={columns} are for files that end in {', '.join(SUFFIXES)}, "
                    f"but {path} is read as lines that start with a label; rename it, or remove "
                    "columns"
                )
            return _LabelledLines(split, path, self.encoding)
        if isinstance(given, Stream):
            return StreamTable(split, given, self.columns, _USUAL, any_two=False)
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

    def location(self, line: int) -> str:
        return f"{self._path}, line {line}"

    def rows(self) -> Iterator[tuple[int, tuple[str, str]]]:
        """The number of each line, its text, and its label."""
        lines = read_lines(self._split, self._path, self._encoding)
        for number, line in enumerate(lines, start=1):
            parts = line.split(maxsplit=1)
            if len(parts) < 2 or line[0].isspace():
                raise ValueError(
                    f"{self.location(number)}: expected a label, whitespace and a text, "
                    f"got {line[:60]!r}; correct or remove the line"
                )
            if number == 1:
                self._header.check([parts[0], parts[1]], self.location(1), "remove the line")
            yield number, (parts[1], parts[0])


_Reader = FileTable | MemoryTable | StreamTable | _LabelledLines


def _named(label: Any, names: Sequence[str] | None, place: str) -> Any:
    """The name of a label that a dataset stores as a number; other labels as they are."""
    if names is None or not isinstance(label, int):
        return label
    if not 0 <= label < len(names):
        raise ValueError(
            f"{place}: expected a label from 0 to {len(names) - 1}, got {label}; filter out "
            "examples without a label"
        )
    return names[label]
