"""`TaggedText`: sentences with a tag for each word, from CoNLL files, JSON Lines or tables."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from seqlearn.data.columns import column_pair
from seqlearn.data.fields import Text
from seqlearn.data.module import SequenceDataModule, Split
from seqlearn.data.sources.conll_files import ConllFile
from seqlearn.data.sources.holdout import SplitReaders, fraction_of
from seqlearn.data.sources.stream_tables import StreamTable
from seqlearn.data.sources.table_files import FileTable, table_suffix
from seqlearn.data.sources.tables import (
    KINDS,
    MemoryTable,
    Rows,
    Stream,
    is_table,
    split_tables,
)
from seqlearn.data.sources.text_files import normalize_encoding
from seqlearn.data.tags_field import Tags
from seqlearn.spec.words import check_words, split_words

Tagged = str | Path | Rows | Stream
"""One split: a file, or a table in memory."""

_WORDS = Text("word")
_USUAL = ("words", "tags")


class TaggedText(SequenceDataModule):
    """Sentences with a tag for each word: parts of speech, named entities, parts of a date.

    The suffix of a file (without `.gz`) determines its format:

    - `.jsonl`: one JSON object on each line, with a list of words and a list of tags;
    - `.conllu`: Universal Dependencies; comments, multiword tokens and empty nodes are left out;
    - any other: a word and its columns on each line (CoNLL), separated by tabs or spaces, and an
      empty line after each sentence. Lines of `-DOCSTART-` are left out.

    A split can also be a table in memory: a pandas `DataFrame`, a dictionary of lists, a Hugging
    Face `Dataset`, a list of dictionaries, or a list of tuples `(words, tags)`. `train` can also be
    a `DatasetDict`, which then provides all splits. In tables and JSON, words and tags are lists,
    or texts that are split at white space; tags may be whole numbers, and if a `Dataset` has names
    for them, these are used.

    The tag of a word is predicted from its first token. The tokenizer sees the words joined by
    spaces. If all tags are `O`, `B-TYPE` and `I-TYPE`, they mark spans (IOB2): an `I-TYPE` that
    continues no span is an error, and validation measures precision, recall and F1 of spans. A
    warning says so if tags look like spans in another scheme.

    Args:
        train: The training split.
        val: The validation split, if there is one. A number is the fraction of the training split
            that is drawn for validation instead of training.
        test: The test split, if there is one.
        text: The tokenizer of the sentences. With its `max_length`, `overflow="truncate"` also
            leaves out the tags of the words that are cut off.
        columns: Columns of words and tags: names, or numbers from 1. By default `words` and `tags`;
            in a CoNLL file the first and the last, in `.conllu` FORM and UPOS.
        class_weights: Weights of the tags in the training loss: `"balanced"`, or a number for each;
            see `Tags`.
        scheme: The scheme of the files, from which tags are converted to IOB2: `"iob1"`, in which
            `B-TYPE` only separates adjacent spans, as in the files of CoNLL-2003; or `"bioes"`,
            with `S-TYPE` for a span of one word and `E-TYPE` for the last word (also BILOU, with
            `U-` and `L-`).
        encoding: Encoding of the files; a UTF-8 byte order mark is skipped.
        batch_tokens: Budget of a batch, see `SequenceDataModule`.
        seed: Determines the order of training, and the fraction that is drawn.
        num_workers: Number of worker processes that slice batches.

    Raises:
        TypeError: If a split is neither a path nor a table.
        ValueError: If an argument is invalid. Invalid data raises when the data is prepared: a
            `ValueError` with file and line, or a `FileNotFoundError` for a missing file.

    Examples:
        >>> data = TaggedText([("the cat sat", ["DET", "NOUN", "VERB"])])
        >>> list(data.examples("train"))
        [('the cat sat', ['DET', 'NOUN', 'VERB'])]
    """

    def __init__(
        self,
        train: Tagged,
        val: float | Tagged | None = None,
        test: Tagged | None = None,
        text: Text = _WORDS,
        *,
        columns: tuple[int, int] | tuple[str, str] | None = None,
        class_weights: Literal["balanced"] | dict[str, float] | None = None,
        scheme: Literal["iob2", "iob1", "bioes"] = "iob2",
        encoding: str = "utf-8",
        batch_tokens: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            text, Tags(class_weights), batch_tokens=batch_tokens, seed=seed, num_workers=num_workers
        )
        if scheme not in ("iob2", *_CONVERSIONS):
            raise ValueError(f"expected scheme 'iob2', 'iob1' or 'bioes', got {scheme!r}")
        self.scheme = scheme
        self.encoding = normalize_encoding(encoding)
        self.columns = column_pair(columns, "(words, tags)")
        self.val_fraction = fraction_of(val)
        readers = split_tables(train, val, test).items()
        self._splits: SplitReaders[_Reader, tuple[str, str, list[Any]]] = SplitReaders(
            {split: self._reader(split, given) for split, given in readers},
            self._read,
            self.val_fraction,
            seed,
        )

    def examples(self, split: Split) -> Iterator[tuple[str, list[Any]]]:
        """The sentences of a split, and the tags of each."""
        return ((text, tags) for _, text, tags in self._splits.rows(split))

    def fingerprint(self) -> str:
        """Digest of the files or tables, and of the arguments that affect reading."""
        return self._splits.digest(self.encoding, self.columns, self.scheme)

    def describe_location(self, split: Split, row: int) -> str:
        """File and first line of a sentence, or the row of a table."""
        return self._splits.row(split, row)[1][0]

    def _read(self, reader: _Reader) -> Iterator[tuple[str, str, list[Any]]]:
        """Location, text and tags of each sentence of a file or table."""
        names = reader.label_names(reader.columns[1]) if isinstance(reader, MemoryTable) else None
        convert = _CONVERSIONS.get(self.scheme)
        for number, (words, tags) in reader.rows():
            place = reader.location(number)
            try:
                text = " ".join(_words(words))
                listed = _tags(tags, names)
            except ValueError as error:
                raise ValueError(f"{place}, {error}") from None
            yield place, text, convert(listed) if convert else listed

    def _reader(self, split: Split, given: object) -> _Reader:
        columns: Any = self.columns
        if isinstance(given, str | os.PathLike):
            path = Path(given)
            suffix = table_suffix(path)
            if suffix == ".jsonl":
                return FileTable(split, path, columns or _USUAL, _USUAL, self.encoding)
            if suffix == ".csv":
                raise ValueError(
                    f"{split}: {path} is a CSV file, which has no lists; write the sentences as "
                    "JSON Lines, or as a word, a tab and its tag on each line"
                )
            if columns is not None and isinstance(columns[0], str):
                raise ValueError(
                    f"{split}: {path} has no names of columns; pass numbers from 1, "
                    f"got columns={columns}"
                )
            return ConllFile(split, path, columns, self.encoding)
        if isinstance(given, Stream):
            return StreamTable(split, given, columns, _USUAL, any_two=False)
        if not is_table(given):
            raise TypeError(
                f"{split}: expected a file or a table ({KINDS}), got {type(given).__name__}"
            )
        if _has_sentences_of_pairs(given):
            raise ValueError(
                f"{split}: expected rows (words, tags), got sentences of pairs (word, tag); pass "
                "[tuple(zip(*sentence)) for sentence in sentences]"
            )
        return MemoryTable(split, given, columns, _USUAL, any_two=False)


_Reader = FileTable | MemoryTable | StreamTable | ConllFile


def _has_sentences_of_pairs(given: Any) -> bool:
    """Whether a list has sentences of pairs, as NLTK has them; of two words, it cannot be told."""
    rows = given if isinstance(given, list | tuple) else []
    row = next((each for each in rows if isinstance(each, list | tuple) and len(each) != 2), [])
    return bool(row) and all(isinstance(cell, list | tuple) and len(cell) == 2 for cell in row)


def to_iob2(tags: Sequence[str]) -> list[str]:
    """Convert tags of the scheme IOB1, in which `B-` only separates adjacent spans, to IOB2.

    Examples:
        >>> to_iob2(["I-city", "I-city", "B-city", "O", "I-city"])
        ['B-city', 'I-city', 'B-city', 'O', 'B-city']
    """
    converted, before = [], "O"
    for tag in tags:
        begins = tag.startswith("I-") and before[2:] != tag[2:]
        converted.append(f"B-{tag[2:]}" if begins else tag)
        before = tag
    return converted


def bioes_to_iob2(tags: Sequence[str]) -> list[str]:
    """Convert tags of the schemes BIOES and BILOU to IOB2.

    Examples:
        >>> bioes_to_iob2(["S-city", "O", "B-city", "E-city", "U-name"])
        ['B-city', 'O', 'B-city', 'I-city', 'B-name']
    """
    prefixes = {"S-": "B-", "U-": "B-", "E-": "I-", "L-": "I-"}
    return [prefixes.get(tag[:2], tag[:2]) + tag[2:] for tag in tags]


_CONVERSIONS = {"iob1": to_iob2, "bioes": bioes_to_iob2}


def _words(cell: Any) -> list[str]:
    """The words of a cell: a text, or a list of words."""
    if isinstance(cell, str):
        return split_words(cell)
    return check_words(_items(cell, "words"))


def _tags(cell: Any, names: list[str] | None) -> list[Any]:
    """The tags of a cell, which `Tags` checks: a text, or a list of tags or of whole numbers."""
    if isinstance(cell, str):
        return list(split_words(cell))
    tags = []
    for number, tag in enumerate(_items(cell, "tags"), 1):
        if isinstance(tag, int) and not isinstance(tag, bool):
            if names is not None and not 0 <= tag < len(names):
                raise ValueError(
                    f"word {number}: expected a tag from 0 to {len(names) - 1}, got {tag}"
                )
            tag = str(tag) if names is None else names[tag]  # noqa: PLW2901
        tags.append(tag)
    return tags


def _items(cell: Any, what: str) -> list[Any]:
    """The items of a list or an array."""
    items = cell.tolist() if hasattr(cell, "tolist") else cell
    if isinstance(items, list | tuple):
        return list(items)
    raise ValueError(f"{what}: expected a list or a text, got {type(cell).__name__} {cell!r:.40}")
