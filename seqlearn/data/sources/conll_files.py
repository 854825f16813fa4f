"""Files of one word per line with its columns, and an empty line after each sentence (CoNLL)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from seqlearn.data.columns import HeaderWarning
from seqlearn.data.preparation import Split
from seqlearn.data.sources.text_files import digest_file, read_lines
from seqlearn.spec.words import check_words

_DOCUMENT = "-DOCSTART-"
_SPACES = re.compile(r" +")  # a no-break space is part of a word

Sentence = tuple[list[str], list[str]]
"""Words and tags."""


class ConllFile:
    """The sentences of a file of columns.

    Columns are separated by tabs if the first line of a sentence has one, otherwise by spaces.
    Lines with `-DOCSTART-` as their word are left out, and so are comments, multiword tokens and
    empty nodes of a file that ends in `.conllu`.

    Args:
        split: The split of the file, for errors.
        path: The file.
        columns: The columns of word and tag, from 1; `None` for the first and the last, in
            `.conllu` for FORM (2) and UPOS (4).
        encoding: Encoding, as `normalize_encoding` returns it.
    """

    def __init__(
        self, split: Split, path: Path, columns: tuple[int, int] | None, encoding: str
    ) -> None:
        self._split, self._path, self._encoding = split, path, encoding
        self._header = HeaderWarning()
        bare = path.with_suffix("") if path.suffix == ".gz" else path
        self._universal = bare.suffix == ".conllu"
        self._columns = (2, 4) if columns is None and self._universal else columns

    def digest(self) -> str:
        """SHA-256 of the file, and its format."""
        kind = "conllu" if self._universal else "conll"
        return f"{kind} {self._columns} {digest_file(self._split, self._path)}"

    def location(self, line: int) -> str:
        """File and line."""
        return f"{self._path}, line {line}"

    def rows(self) -> Iterator[tuple[int, Sentence]]:
        """The number of each sentence's first line, its words and its tags.

        Raises:
            ValueError: If a line has too few columns, another number than the first line of the
                file, or no word; the message names it. If there is no sentence.
        """
        words: list[str] = []
        tags: list[str] = []
        first = width = count = 0
        for number, line in enumerate(read_lines(self._split, self._path, self._encoding), 1):
            if not line.strip() or line.startswith(_DOCUMENT):
                if words:
                    yield first, (words, tags)
                words, tags = [], []
                continue
            if self._universal and (line.startswith("#") or not line.split("\t")[0].isdigit()):
                continue
            cells = line.split("\t") if "\t" in line else _SPACES.split(line.strip(" "))
            width = width or len(cells)
            word, tag = self._pick(cells, width, number)
            first = first if words else number
            count += 1
            if count == 1 and not self._universal:
                remedy = "remove the line: such a file has no names of columns"
                self._header.check([word, tag], self.location(number), remedy)
            words.append(word)
            tags.append(tag)
        if words:
            yield first, (words, tags)
        if not count:
            raise ValueError(f"{self._path}: expected lines with a word and its tag, got none")

    def _pick(self, cells: list[str], width: int, number: int) -> tuple[str, str]:
        """Word and tag of a line."""
        if len(cells) != width:
            raise ValueError(
                f"{self.location(number)}: expected {width} columns, as on the first line with a "
                f"word, got {len(cells)}: {' '.join(cells)[:40]!r}; correct the line, and take out "
                "comments, which only .conllu files have"
            )
        last = max(self._columns or (2,))
        if len(cells) < last:
            raise ValueError(
                f"{self.location(number)}: expected at least {last} columns, with a word and its "
                f"tag, got {len(cells)}: {' '.join(cells)[:40]!r}; correct the line, or pass "
                "columns=(word, tag) as numbers from 1"
            )
        at, tag = self._columns or (1, len(cells))
        try:
            check_words([cells[at - 1]])
        except ValueError as error:
            reason = str(error).removeprefix("word 1: ")
            raise ValueError(f"{self.location(number)}: {reason}") from None
        return cells[at - 1], cells[tag - 1]
