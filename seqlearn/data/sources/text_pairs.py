"""Pairs of texts: two parallel files, a table in a file, or a table in memory."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from seqlearn.data.columns import HeaderWarning, column_pair, column_title
from seqlearn.data.fields import Text
from seqlearn.data.module import SequenceDataModule, Split
from seqlearn.data.sources.holdout import Holdout, fraction_of
from seqlearn.data.sources.table_files import FileTable
from seqlearn.data.sources.tables import KINDS, MemoryTable, Rows, is_table, split_tables
from seqlearn.data.sources.text_files import (
    check_not_empty,
    digest_file,
    normalize_encoding,
    read_lines,
)

# jsonargparse saves a value as the first of these that takes it, so the pair comes first.
Pairs = tuple[str | Path, str | Path] | str | Path | Rows
"""One split: two parallel files, a table in a file, or a table in memory."""

_BPE_SOURCE, _BPE_TARGET = Text("bpe"), Text("bpe")  # two instances: two vocabularies
_USUAL = ("source", "target")


class TextPairs(SequenceDataModule):
    """Texts and what they become, line by line.

    A split is one of these:

    - a pair of parallel files `(source, target)`;
    - a table in a file: `.csv`, `.jsonl`, or else columns with tabs between them;
    - a table in memory: a pandas `DataFrame`, a dictionary of lists, a Hugging Face `Dataset`, a
      list of dictionaries, or a list of tuples `(source, target)`. Columns may be nested, as in
      `{"translation": {"en": …, "de": …}}`. `train` can also be a `DatasetDict`, whose splits are
      then taken.

    Files may end in `.gz`. A line ends with LF or CR LF and nothing else; all lines of a table have
    equally many columns. Neither side may be empty or missing.

    Args:
        train: The training split.
        val: The validation split, if there is one. A number is the share of the training split
            that is drawn for validation and left out of training.
        test: The test split, if there is one.
        source: How source texts are cut into tokens.
        target: How target texts are cut into tokens. The same instance is one joint vocabulary.
        joint: One joint vocabulary as `source` says it, where no instance can be shared (YAML).
        columns: The columns of a table that are source and target: names (a CSV or TSV then starts
            with a line of names), or numbers from 1 (it then does not). Otherwise the first two of
            a CSV or TSV, the only two of a list of tuples; elsewhere `source` and `target`, or the
            only two.
        encoding: Of the files; a mark at the start of UTF-8 is left out.
        batch_tokens: Budget of a batch, see `SequenceDataModule`.
        seed: Decides the order of training, and which share is drawn.
        num_workers: Processes that slice batches.

    Raises:
        TypeError: If a split is none of these.
        ValueError: If an argument makes no sense. Bad data is found when the data is prepared, and
            named by file and line: a `ValueError`, or a `FileNotFoundError` for a missing file.
    """

    def __init__(
        self,
        train: Pairs,
        val: float | Pairs | None = None,
        test: Pairs | None = None,
        source: Text = _BPE_SOURCE,
        target: Text = _BPE_TARGET,
        *,
        joint: bool = False,
        columns: tuple[int, int] | tuple[str, str] | None = None,
        encoding: str = "utf-8",
        batch_tokens: int | None = None,
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
        self.encoding = normalize_encoding(encoding)
        self.columns = column_pair(columns, "(source, target)")
        self.val_fraction = fraction_of(val)
        self._holdout = None if self.val_fraction is None else Holdout(self.val_fraction, seed)
        self._splits: dict[Split, _Reader] = {
            split: self._reader(split, given)
            for split, given in split_tables(train, val, test).items()
        }

    def examples(self, split: Split) -> Iterator[tuple[str, str]]:
        """The pairs of texts of a split, without the ends of lines."""
        return (pair for _, pair in self._rows(split))

    def fingerprint(self) -> str:
        """The digests of the files, and how they are read; of a table, its texts."""
        drawn = self._holdout and (self.val_fraction, self.seed)
        digest = hashlib.sha256(repr((self.encoding, self.columns, drawn)).encode())
        for split, reader in self._splits.items():
            digest.update(f"\n{split} {reader.digest()}".encode())
        return digest.hexdigest()

    def describe_location(self, split: Split, row: int) -> str:
        """File (of a pair the target's) and line, or the row of a table."""
        return next(itertools.islice(self._rows(split), row, None))[0]

    def _rows(self, split: Split) -> Iterator[tuple[str, tuple[str, str]]]:
        """Place, source and target of each example."""
        if self._holdout is not None and split != "test":
            train = self._splits["train"]
            return self._holdout.part(split, lambda: _read(train))
        return _read(self._splits[split]) if split in self._splits else iter(())

    def _reader(self, split: Split, given: object) -> _Reader:
        if isinstance(given, str | os.PathLike):
            return FileTable(split, Path(given), self.columns, _USUAL, self.encoding)
        if (
            isinstance(given, Sequence)
            and len(given)
            and all(isinstance(one, str | os.PathLike) for one in given)
        ):
            if len(given) != 2:
                raise ValueError(
                    f"{split}: expected two parallel files (source, target) or one table, "
                    f"got {len(given)} files"
                )
            if self.columns is not None:
                raise ValueError(
                    f"{split}: columns={self.columns} are for a table, but {split} is a "
                    "pair of files; leave out columns"
                )
            source, target = (Path(path) for path in given)
            return _Files(split, source, target, self.encoding)
        if not is_table(given):
            raise TypeError(
                f"{split}: expected a pair of files, a file with a table, or a table ({KINDS}), "
                f"got {type(given).__name__}"
            )
        return MemoryTable(split, given, self.columns, _USUAL, any_two=True)


def _read(reader: _Reader) -> Iterator[tuple[str, tuple[str, str]]]:
    """Place, source and target of each row of a file or table."""
    for number, (source, target) in reader.rows():
        place = reader.place(number)
        if not isinstance(reader, _Files):
            for column, text in zip(reader.columns, (source, target), strict=True):
                if isinstance(text, str):
                    where = f"{place}, {column_title(column)}"
                    check_not_empty(text, where, "fill it in, or take the row out")
        yield place, (source, target)


class _Files:
    """Two files, line beside line."""

    def __init__(self, split: Split, source: Path, target: Path, encoding: str) -> None:
        self._split, self._paths, self._encoding = split, (source, target), encoding
        self._header = HeaderWarning()

    def digest(self) -> str:
        return " ".join(digest_file(self._split, path) for path in self._paths)

    def place(self, line: int) -> str:
        return f"{self._paths[1]}, line {line}"

    def rows(self) -> Iterator[tuple[int, tuple[str, str]]]:
        lines = [read_lines(self._split, path, self._encoding) for path in self._paths]
        for line, (source, target) in enumerate(itertools.zip_longest(*lines), start=1):
            if source is None or target is None:
                more = line + sum(1 for _ in itertools.chain(*lines))
                counts = (line - 1, more) if source is None else (more, line - 1)
                raise ValueError(
                    f"{self._paths[0]} has {counts[0]} lines and {self._paths[1]} has {counts[1]}; "
                    "line n of one must go with line n of the other"
                )
            for path, text in zip(self._paths, (source, target), strict=True):
                check_not_empty(text, f"{path}, line {line}", "remove this line from both files")
            if line == 1:
                remedy = "remove this line from both files"
                self._header.check([source, target], self.place(1), remedy)
            yield line, (source, target)


_Reader = FileTable | MemoryTable | _Files
