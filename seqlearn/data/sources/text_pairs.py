"""`TextPairs`: pairs of texts from parallel files, a table in a file, or a table in memory."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from seqlearn.data.columns import HeaderWarning, column_pair, column_title
from seqlearn.data.fields import Text
from seqlearn.data.module import SequenceDataModule, Split
from seqlearn.data.sources.holdout import SplitReaders, fraction_of
from seqlearn.data.sources.stream_tables import StreamTable
from seqlearn.data.sources.table_files import FileTable
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
from seqlearn.plain_data import check_flag

# jsonargparse saves a value as the first type that accepts it, so the pair comes first.
Pairs = tuple[str | Path, str | Path] | str | Path | Rows | Stream
"""One split: two parallel files, a table in a file, or a table in memory."""

_BPE_SOURCE, _BPE_TARGET = Text("bpe"), Text("bpe")  # two instances: two vocabularies
_USUAL = ("source", "target")


class TextPairs(SequenceDataModule):
    """Pairs of source and target texts.

    A split is one of these:

    - a pair of parallel files `(source, target)`, in which line n of one belongs to line n of the
      other;
    - a table in a file: `.csv`, `.jsonl`, or otherwise tab-separated columns;
    - a table in memory: a pandas `DataFrame`, a dictionary of lists, a Hugging Face `Dataset`, a
      list of dictionaries, or a list of tuples `(source, target)`. Columns may be nested, as in
      `{"translation": {"en": …, "de": …}}`. `train` can also be a `DatasetDict`, which then
      provides all splits.

    Files may be compressed (`.gz`). Lines end with LF or CR LF only; all lines of a table have the
    same number of columns. Neither side may be empty or missing.

    Args:
        train: The training split.
        val: The validation split, if there is one. A number is the fraction of the training split
            that is drawn for validation instead of training.
        test: The test split, if there is one.
        source: The tokenizer of source texts.
        target: The tokenizer of target texts. The same instance makes one joint vocabulary.
        joint: One joint vocabulary with the settings of `source`, for YAML files, which cannot
            share an instance.
        columns: Source and target column of a table: names (a CSV or TSV then has a header line),
            or numbers from 1 (without a header line). By default the first two columns of a CSV or
            TSV and the two of a list of tuples; otherwise `source` and `target`, or the only two.
        encoding: Encoding of the files; a UTF-8 byte order mark is skipped.
        batch_tokens: Budget of a batch, see `SequenceDataModule`.
        seed: Determines the order of training, and the fraction that is drawn.
        num_workers: Number of worker processes that slice batches.

    Raises:
        TypeError: If a split has another type, or `joint` is not true or false.
        ValueError: If an argument is invalid. Invalid data raises when the data is prepared: a
            `ValueError` with file and line, or a `FileNotFoundError` for a missing file.

    Examples:
        >>> data = TextPairs([("one", "eins"), ("two", "zwei")], source=Text(), target=Text())
        >>> list(data.examples("train"))
        [('one', 'eins'), ('two', 'zwei')]
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
        check_flag(joint, "joint")
        if joint and target not in (source, _BPE_TARGET):
            raise ValueError(
                f"joint=True makes one vocabulary with the settings of source={source}, but "
                f"target={target} has other settings; remove target"
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
        readers = split_tables(train, val, test).items()
        self._splits: SplitReaders[_Reader, tuple[int, tuple[str, str]]] = SplitReaders(
            {split: self._reader(split, given) for split, given in readers},
            _read,
            self.val_fraction,
            seed,
        )

    def fetch_files(self) -> None:
        """Make sure that the files exist; called before they are read.

        Hook: a subclass downloads them. The default does nothing.
        """

    def examples(self, split: Split) -> Iterator[tuple[str, str]]:
        """The pairs of texts of a split, without line ends."""
        self.fetch_files()
        return (pair for _, pair in self._splits.rows(split))

    def fingerprint(self) -> str:
        """Digest of the files or tables, and of the arguments that affect reading."""
        self.fetch_files()
        return self._splits.digest(self.encoding, self.columns)

    def describe_location(self, split: Split, row: int) -> str:
        """File (of a pair, the target file) and line, or the row of a table."""
        reader, (number, _) = self._splits.row(split, row)
        return reader.location(number)

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
                    "pair of files; remove columns"
                )
            source, target = (Path(path) for path in given)
            return _Files(split, source, target, self.encoding)
        if isinstance(given, Stream):
            return StreamTable(split, given, self.columns, _USUAL, any_two=True)
        if not is_table(given):
            raise TypeError(
                f"{split}: expected a pair of files, a file with a table, or a table ({KINDS}), "
                f"got {type(given).__name__}"
            )
        return MemoryTable(split, given, self.columns, _USUAL, any_two=True)


def _read(reader: _Reader) -> Iterator[tuple[int, tuple[str, str]]]:
    """The number of each row of a file or table, source and target."""
    if isinstance(reader, _Files):
        yield from reader.rows()
        return
    for number, (source, target) in reader.rows():
        for column, text in zip(reader.columns, (source, target), strict=True):
            if isinstance(text, str) and not text.strip():
                where = f"{reader.location(number)}, {column_title(column)}"
                check_not_empty(text, where, "fill it in, or remove the row")
        yield number, (source, target)


class _Files:
    """Two parallel files."""

    def __init__(self, split: Split, source: Path, target: Path, encoding: str) -> None:
        self._split, self._paths, self._encoding = split, (source, target), encoding
        self._header = HeaderWarning()

    def digest(self) -> str:
        return " ".join(digest_file(self._split, path) for path in self._paths)

    def location(self, line: int) -> str:
        source, target = self._paths
        other = target.name if source.parent == target.parent else target
        return f"{source} and {other}, line {line}"

    def rows(self) -> Iterator[tuple[int, tuple[str, str]]]:
        lines = [read_lines(self._split, path, self._encoding) for path in self._paths]
        for line, (source, target) in enumerate(itertools.zip_longest(*lines), start=1):
            if source is None or target is None:
                more = line + sum(1 for _ in itertools.chain(*lines))
                counts = (line - 1, more) if source is None else (more, line - 1)
                raise ValueError(
                    f"{self._paths[0]} has {counts[0]} lines and {self._paths[1]} has {counts[1]}; "
                    "line n of one must correspond to line n of the other"
                )
            if not source.strip() or not target.strip():
                for path, text in zip(self._paths, (source, target), strict=True):
                    advice = "remove this line from both files"
                    check_not_empty(text, f"{path}, line {line}", advice)
            if line == 1:
                remedy = "remove this line from both files"
                self._header.check([source, target], self.location(1), remedy)
            yield line, (source, target)


_Reader = FileTable | MemoryTable | StreamTable | _Files
