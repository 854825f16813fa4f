"""Reading of pretrained word vectors: text (GloVe, fastText, word2vec) and word2vec's binary form.

A file is read once from the start, and only the wanted words are kept.
"""

from __future__ import annotations

import codecs
import gzip
import io
import os
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_LONGEST_WORD = 2**16
"""Most bytes of a word in a binary file."""


class WordVectors(NamedTuple):
    """The vectors of some words.

    Attributes:
        size: Numbers in each vector.
        vectors: The vector of each word that was found.
    """

    size: int
    vectors: dict[str, NDArray[np.float32]]


def read_word_vectors(path: str | os.PathLike[str], words: AbstractSet[str]) -> WordVectors:
    """Read the vectors of some words.

    Args:
        path: A text file: on each line a word and its numbers, separated by spaces or tabs; a first
            line with the number of words and the size (word2vec, fastText) is optional. A name that
            ends in `.bin` is word2vec's binary form. Both may be compressed (`.gz`).
        words: The words to keep. If a word occurs twice, its first vector counts.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not one of these forms, or has fewer words than its first line says;
            the message names the line or the word.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"expected a file of word vectors, got {file}, which is none")
    packed = file.suffix == ".gz"
    is_binary = (file.with_suffix("") if packed else file).suffix == ".bin"
    opened: io.BufferedIOBase = (
        io.BufferedReader(gzip.GzipFile(file, "rb")) if packed else file.open("rb")
    )
    found: dict[str, NDArray[np.float32]] = {}
    with opened as stream:
        try:
            rows = _binary_rows(stream, file) if is_binary else _text_rows(stream, file)
            size = next(rows)[1].size
            for word, vector in rows:
                if word in words and word not in found:
                    found[word] = vector.copy()
        except (EOFError, gzip.BadGzipFile) as error:
            raise ValueError(f"{file}: expected a complete gzip file, but {error}") from error
    for word, vector in found.items():
        if not np.isfinite(vector).all():
            raise ValueError(f"{file}: expected finite numbers, got {vector} for {word!r}")
    return WordVectors(size, found)


def _text_rows(stream: io.BufferedIOBase, file: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Words and vectors of a text file; the first row is a word that has no name, for the size."""
    size = number = 0
    wanted: int | None = None
    for number, row in enumerate(stream, 1):
        line = row.removeprefix(codecs.BOM_UTF8) if number == 1 else row
        cells = line.rstrip(b" \t\r\n").replace(b"\t", b" ").split(b" ")
        if number == 1:
            has_header = len(cells) == 2 and all(cell.isdigit() for cell in cells)
            size = int(cells[1]) if has_header else len(cells) - 1
            if size < 1:
                raise ValueError(
                    f"{file}, line 1: expected a word and its numbers, got {line[:60]!r}; a binary "
                    "file must have a name that ends in .bin"
                )
            yield "", np.zeros(size, np.float32)
            if has_header:
                wanted = int(cells[0])
                continue
        # Some words of GloVe contain spaces.
        word, cells = b" ".join(cells[:-size]), cells[-size:]
        try:
            if not word or len(cells) != size:
                raise ValueError(f"{len(cells)} cells")
            yield word.decode("utf-8", "replace"), np.array(cells, np.float32)
        except ValueError as error:
            raise ValueError(
                f"{file}, line {number}: expected a word and {size} numbers, got {line[:60]!r} "
                f"({error})"
            ) from error
    if not number:
        raise ValueError(f"{file}: expected a word and its numbers on each line, got an empty file")
    if wanted is not None and number - 1 < wanted:
        raise ValueError(f"{file}: expected {wanted} words, got {number - 1}; it is incomplete")


def _binary_rows(
    stream: io.BufferedIOBase, file: Path
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Words and vectors of word2vec's binary form; the first row is for the size."""
    header = stream.readline(100).split()
    if len(header) != 2 or not all(cell.isdigit() for cell in header):
        raise ValueError(
            f"{file}: expected a first line with the number of words and the size, as word2vec "
            f"writes it, got {b' '.join(header)[:40]!r}; a text file must not end in .bin"
        )
    count, size = map(int, header)
    yield "", np.zeros(size, np.float32)
    for number in range(count):
        word = bytearray()
        while (byte := stream.read(1)) != b" ":
            if not byte or len(word) > _LONGEST_WORD:
                raise ValueError(f"{file}: expected {count} words, got {number}; it is incomplete")
            if byte != b"\n":  # word2vec ends each vector with one; gensim does not
                word += byte
        numbers = stream.read(4 * size)
        if len(numbers) != 4 * size:
            raise ValueError(f"{file}: expected {count} words, got {number}; it is incomplete")
        yield word.decode("utf-8", "replace"), np.frombuffer(numbers, "<f4")
