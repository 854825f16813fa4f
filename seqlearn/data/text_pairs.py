"""Pairs of texts from files: two parallel ones, one table, or a Hugging Face dataset."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from seqlearn.data.fields import Text
from seqlearn.data.module import SPLITS, SequenceDataModule, Split
from seqlearn.data.text_files import (
    Rows,
    codec_name,
    column_names,
    column_pair,
    column_place,
    digest_file,
    read_lines,
    refuse_empty,
)

# jsonargparse saves a value as the first of these that takes it, so the pair comes first.
Pairs = tuple[str | Path, str | Path] | str | Path | Rows
"""One split: a TSV, two parallel files, or rows with named columns."""

_BPE_SOURCE, _BPE_TARGET = Text("bpe"), Text("bpe")  # two instances: two vocabularies


class TextPairs(SequenceDataModule):
    """Texts and what they become, line by line.

    A split is a pair of parallel files `(source, target)`; or one file with tab-separated columns;
    or a Hugging Face dataset (anything with a length whose items are mappings). Files may end in
    `.gz`. A line ends with LF or CR LF and nothing else. Neither side may be empty.

    Args:
        train: The training split.
        val: The validation split, if there is one.
        test: The test split, if there is one.
        source: How source texts are cut into tokens.
        target: How target texts are cut into tokens. The same instance is one joint vocabulary.
        joint: One joint vocabulary as `source` says it, where no instance can be shared (YAML).
        columns: The columns of a table or dataset that are source and target: names (a table then
            starts with a line of names), or numbers from 1. A table's first two otherwise.
        encoding: Of the files; a mark at the start of UTF-8 is left out.
        batch_tokens: Budget of a batch, see `SequenceDataModule`.
        seed: Decides the order of training.
        num_workers: Processes that slice batches.

    Raises:
        TypeError: If a split is none of the three.
        ValueError: If an argument makes no sense. Bad data is found when the data is prepared, and
            named by file and line: a `ValueError`, or a `FileNotFoundError` for a missing file.
    """

    def __init__(
        self,
        train: Pairs,
        val: Pairs | None = None,
        test: Pairs | None = None,
        source: Text = _BPE_SOURCE,
        target: Text = _BPE_TARGET,
        *,
        joint: bool = False,
        columns: tuple[int, int] | tuple[str, str] | None = None,
        encoding: str = "utf-8",
        batch_tokens: int = 4096,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        if joint and target not in (source, _BPE_TARGET):
            raise ValueError(
                f"joint=True makes one vocabulary, as source={source} says, but target={target} "
                "says another; leave out target"
            )
        super().__init__(
            source,
            source if joint else target,
            batch_tokens=batch_tokens,
            seed=seed,
            num_workers=num_workers,
        )
        self.encoding = codec_name(encoding)
        self.columns = column_pair(columns, "(source, target)")
        given = {"train": train, "val": val, "test": test}
        self._splits: dict[Split, _Files | _Table | _Dataset | None] = {
            split: None if given[split] is None else self._reader(split, given[split])
            for split in SPLITS
        }

    def examples(self, split: Split) -> Iterator[tuple[str, str]]:
        """The pairs of texts of a split, without the ends of lines."""
        reader = self._splits[split]
        return iter(()) if reader is None else reader.pairs()

    def fingerprint(self) -> str:
        """The digests of the files, and how they are read; of a dataset, its texts."""
        digest = hashlib.sha256(repr((self.encoding, self.columns)).encode())
        for split, reader in self._splits.items():
            digest.update(f"\n{split} {reader and reader.digest()}".encode())
        return digest.hexdigest()

    def locate(self, split: Split, row: int) -> str:
        """File (of a pair the target's) and line, or the row of a dataset."""
        reader = self._splits[split]
        return super().locate(split, row) if reader is None else reader.locate(row)

    def _reader(self, split: Split, given: object) -> _Files | _Table | _Dataset:
        if isinstance(given, str | os.PathLike):
            return _Table(split, Path(given), self.columns or (1, 2), self.encoding)
        if isinstance(given, Sequence) and all(isinstance(p, str | os.PathLike) for p in given):
            if len(given) != 2:
                raise ValueError(
                    f"{split}: expected two parallel files (source, target) or one TSV, "
                    f"got {len(given)} files"
                )
            if self.columns is not None:
                raise ValueError(
                    f"{split}: columns={self.columns} are for a TSV or a dataset, but {split} is a "
                    "pair of files; leave out columns"
                )
            source, target = (Path(path) for path in given)
            return _Files(split, source, target, self.encoding)
        if not isinstance(given, Rows):
            raise TypeError(
                f"{split}: expected a pair of files, a TSV, or a dataset with rows, "
                f"got {type(given).__name__}"
            )
        return _Dataset(split, given, self.columns)


class _Files:
    """Two files, line beside line."""

    def __init__(self, split: Split, source: Path, target: Path, encoding: str) -> None:
        self._split, self._paths, self._encoding = split, (source, target), encoding

    def digest(self) -> str:
        return " ".join(digest_file(self._split, path) for path in self._paths)

    def locate(self, row: int) -> str:
        return f"{self._paths[1]}, line {row + 1}"

    def pairs(self) -> Iterator[tuple[str, str]]:
        lines = [read_lines(self._split, path, self._encoding) for path in self._paths]
        for row, (source, target) in enumerate(itertools.zip_longest(*lines)):
            if source is None or target is None:
                more = row + 1 + sum(1 for _ in itertools.chain(*lines))
                counts = (row, more) if source is None else (more, row)
                raise ValueError(
                    f"{self._paths[0]} has {counts[0]} lines and {self._paths[1]} has {counts[1]}; "
                    "line n of one must go with line n of the other"
                )
            for path, text in zip(self._paths, (source, target), strict=True):
                refuse_empty(text, f"{path}, line {row + 1}", "remove this line from both files")
            yield source, target


class _Table:
    """One file with tab-separated columns."""

    def __init__(
        self, split: Split, path: Path, columns: tuple[int | str, int | str], encoding: str
    ) -> None:
        self._split, self._path, self._encoding = split, path, encoding
        self._columns = columns
        self._header = isinstance(columns[0], str)

    def digest(self) -> str:
        return digest_file(self._split, self._path)

    def locate(self, row: int) -> str:
        return f"{self._path}, line {row + 1 + self._header}"

    def pairs(self) -> Iterator[tuple[str, str]]:
        lines = read_lines(self._split, self._path, self._encoding)
        wanted = self._columns
        places = [column - 1 for column in wanted if isinstance(column, int)]
        if self._header:
            names = next(lines).split("\t")
            places = [column_place(str(column), names, str(self._path)) for column in wanted]
        for row, line in enumerate(lines):
            cells = line.split("\t")
            if len(cells) <= max(places):
                raise ValueError(
                    f"{self.locate(row)}: expected at least {max(places) + 1} columns with tabs "
                    f"between them, got {len(cells)}; correct or remove the line"
                )
            for place in places:
                where = f"{self.locate(row)}, column {place + 1}"
                refuse_empty(cells[place], where, "fill it in or remove the line")
            yield cells[places[0]], cells[places[1]]


class _Dataset:
    """A dataset in memory, or one of Hugging Face."""

    def __init__(
        self,
        split: Split,
        rows: Rows,
        columns: tuple[int | str, int | str] | None,
    ) -> None:
        if columns is None or isinstance(columns[0], int):
            raise ValueError(
                f"{split}: a dataset needs the names of its columns, columns=(source, target); "
                f"got {columns}, and it has {column_names(rows)}"
            )
        self._split, self._rows, self._columns = split, rows, columns

    def digest(self) -> str:
        digest = hashlib.sha256()
        for pair in self.pairs():
            digest.update(repr(pair).encode())
        return digest.hexdigest()

    def locate(self, row: int) -> str:
        return f"{self._split} dataset, row {row}"

    def pairs(self) -> Iterator[tuple[str, str]]:
        for number in range(len(self._rows)):
            row = self._rows[number]
            values = []
            for column in self._columns:
                if column not in row:
                    column_place(str(column), list(row), self.locate(number))
                values.append(row[cast("str", column)])
                if isinstance(values[-1], str):
                    where = f"{self.locate(number)}, column {column!r}"
                    refuse_empty(values[-1], where, "fill it in or filter it out")
            yield values[0], values[1]
