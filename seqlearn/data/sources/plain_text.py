"""`PlainText`: text files for language modeling, with batches for TBPTT."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from seqlearn.data.batching import BatchPlan
from seqlearn.data.budget import MAX_BATCH_TOKENS
from seqlearn.data.columns import check_text
from seqlearn.data.fields import Text
from seqlearn.data.module import SequenceDataModule, Split
from seqlearn.data.preparation import SPLITS
from seqlearn.data.sources.holdout import fraction_of
from seqlearn.data.sources.tables import MemoryTable, Rows, split_tables
from seqlearn.data.sources.text_files import (
    check_not_empty,
    digest_file,
    normalize_encoding,
    read_text,
)
from seqlearn.data.streams import StreamDataset, plan_streams
from seqlearn.plain_data import check_whole_number
from seqlearn.spec import SequenceSpec, TextSpec

Files = str | Path | Sequence[str | Path]
"""One file, or several in this order."""

_CHARS = Text("char")


class PlainText(SequenceDataModule):
    """Text files for language models, in batches for truncated backpropagation through time.

    Each file (plain or `.gz`) is one document with its entire content. A split can also be a table
    in memory (a pandas `DataFrame`, a dictionary of lists, a Hugging Face `Dataset`, a list of
    dictionaries) in which each row is one document, not empty; `train` can be a `DatasetDict`,
    which then provides all splits.

    All documents of a split are concatenated, each as start … end, into one circular token stream,
    which is divided into `batch_tokens // window` streams on each process (fewer if the text is too
    short). Each batch has the next window of every stream, so a recurrent model carries its state
    from batch to batch (`SequenceBatch.continues_previous`). Every token is predicted once in an
    epoch; training starts at another position in each epoch. The number of streams depends on the
    number of processes, and so does, slightly, the validation loss.

    Args:
        train: The training split.
        val: The validation split, if there is one. A number is a fraction of `train`: the last
            `round(fraction · n)` of all n characters (code points of the concatenated documents)
            are used for validation instead of training. A document may be split in two.
        test: The test split, if there is one.
        text: The tokenizer of the texts.
        window: Number of tokens that each row of a batch predicts, over which gradients flow.
        column: Column of the text in tables: a name, or a number from 1. By default `text`, or the
            only column.
        encoding: Encoding of the files; a UTF-8 byte order mark is skipped.
        batch_tokens: Number of tokens that a batch predicts on each process; the default of
            `SequenceDataModule`, and at least two windows.
        seed: Determines, with the epoch, where the streams start.
        num_workers: Number of worker processes that slice batches.

    Raises:
        ValueError: If an argument is invalid. Invalid data raises when the data is prepared: a
            `ValueError` with file and line, or a `FileNotFoundError` for a missing file. A window
            longer than the text raises when batches are planned.

    Examples:
        >>> data = PlainText([{"text": "to be or not to be"}], val=0.5, window=4)
        >>> list(data.examples("train")), list(data.examples("val"))
        ([(None, 'to be or ')], [(None, 'not to be')])
        >>> data = PlainText("shakespeare.txt", val=0.1, batch_tokens=768)  # doctest: +SKIP
    """

    def __init__(
        self,
        train: Files | Rows,
        val: float | Files | Rows | None = None,
        test: Files | Rows | None = None,
        text: Text = _CHARS,
        *,
        window: int = 64,
        column: str | int | None = None,
        encoding: str = "utf-8",
        batch_tokens: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(None, text, batch_tokens=batch_tokens, seed=seed, num_workers=num_workers)
        most = MAX_BATCH_TOKENS if batch_tokens is None else batch_tokens
        self.window = check_whole_number(window, "window", 1)
        if window > most:
            raise ValueError(f"expected a window of at most batch_tokens={most}, got {window}")
        if text.max_length is not None:
            raise ValueError(
                f"PlainText reads texts in windows, here of {window} tokens, so max_length="
                f"{text.max_length} has no effect; remove it, or set window"
            )
        self.val_fraction = fraction_of(val)
        self.encoding = normalize_encoding(encoding)
        given = split_tables(train, val, test)
        columns = None if column is None else (column,)
        self._texts_of: dict[Split, _Files | _Table] = {
            split: _reader(split, given.get(split), columns, self.encoding) for split in SPLITS
        }

    def examples(self, split: Split) -> Iterator[tuple[None, str]]:
        """The documents of a split, one for each file or row."""
        return ((None, text) for _, text in self._texts(split))

    def fingerprint(self) -> str:
        """Digest of the files or tables, and of the arguments that affect reading."""
        digest = hashlib.sha256(repr((self.encoding, self.val_fraction)).encode())
        for split, texts in self._texts_of.items():
            digest.update(f"\n{split} {texts.digest()}".encode())
        return digest.hexdigest()

    def describe_location(self, split: Split, row: int) -> str:
        """The file, or the row of a table."""
        return next(islice(self._texts(split), row, None))[0]

    def adapt_spec(self, spec: SequenceSpec) -> SequenceSpec:
        """Set the maximum length to the window, the longest text that a model receives."""
        assert isinstance(spec.target, TextSpec)  # its target is always Text
        return replace(spec, target=replace(spec.target, max_length=self.window))

    def plan_batches(
        self, split: Split, *, world_size: int, shuffle: bool, sequential: bool
    ) -> BatchPlan:
        """Plan streams instead of buckets."""
        num_tokens = len(self.dataset(split).target_ids)
        try:
            return plan_streams(num_tokens, self.window, self.batch_tokens, world_size=world_size)
        except ValueError as error:
            raise ValueError(f"{split}: {error}") from error

    def batch_dataset(self, split: Split) -> StreamDataset:
        """Batches of the windows of streams."""
        return StreamDataset(self.dataset(split))

    def longest_row(self) -> int:
        """The window."""
        return self.window

    def order_key(self) -> dict[str, int]:
        """The window also determines the order."""
        return {"window": self.window}

    def _texts(self, split: Split) -> Iterator[tuple[str, str]]:
        """Location and text of each document of a split, or of its part in the split."""
        if self.val_fraction is None or split == "test":
            yield from self._texts_of[split].rows()
            return
        texts = list(self._texts_of["train"].rows())
        total = sum(len(text) for _, text in texts)
        kept = round(total * self.val_fraction)
        if texts and not 0 < kept < total:
            raise ValueError(
                f"val={self.val_fraction} of {total} characters in train is {kept}, and both "
                "splits need some; use another fraction, or pass a separate val split"
            )
        left = total - kept
        for place, text in texts:
            cut = min(left, len(text))
            left -= cut
            part = text[:cut] if split == "train" else text[cut:]
            if part:
                start = cut if split != "train" else 0
                yield f"{place}, from character {start + 1}" if start else place, part


class _Files:
    """One text in each file."""

    def __init__(self, split: Split, paths: list[Path], encoding: str) -> None:
        self._split, self._paths, self._encoding = split, paths, encoding

    def digest(self) -> str:
        return str([digest_file(self._split, path) for path in self._paths])

    def rows(self) -> Iterator[tuple[str, str]]:
        for path in self._paths:
            yield str(path), read_text(self._split, path, self._encoding)


class _Table:
    """One text in each row of a table."""

    def __init__(self, table: MemoryTable) -> None:
        self._table = table

    def digest(self) -> str:
        return self._table.digest()

    def rows(self) -> Iterator[tuple[str, str]]:
        for number, (text,) in self._table.rows():
            place = self._table.location(number)
            check_not_empty(check_text(text, place), place, "filter it out")
            yield place, text


def _reader(split: Split, given: Any, columns: Any, encoding: str) -> _Files | _Table:
    if given is None or isinstance(given, str | Path):
        return _Files(split, [] if given is None else [Path(given)], encoding)
    if isinstance(given, Sequence) and all(isinstance(one, str | Path) for one in given):
        return _Files(split, [Path(one) for one in given], encoding)
    return _Table(MemoryTable(split, given, columns, ("text",), any_two=True))
