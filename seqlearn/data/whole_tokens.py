"""Tokens that are whole characters or words: counted, and looked up in a table.

The tokenizers `"char"` and `"word"` search for no parts of words. Their vocabularies are counted
here, and corpora encoded, more than ten times as fast as by the general pipeline of `tokenizers`,
with the same results. Models encode and decode their inputs with `tokenizers`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice, pairwise
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from seqlearn.batch import SPECIAL_TOKENS, UNKNOWN

_CODE_POINTS = 0x110000
_CHUNK = 4096  # texts that are counted at a time

# Without all characters that Unicode calls white space; Python's \s has four more.
_WORD = re.compile(r"[^\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


def count_characters(texts: Iterable[str]) -> Counter[str]:
    """How often each code point occurs.

    Examples:
        >>> count_characters(["abb"]) == {"a": 1, "b": 2}
        True
    """
    total = np.zeros(_CODE_POINTS, np.int64)
    iterator = iter(texts)
    while chunk := list(islice(iterator, _CHUNK)):
        codes = _codes("".join(chunk))
        if len(codes):
            counts = np.bincount(codes)
            total[: len(counts)] += counts
    return Counter({chr(code): int(total[code]) for code in np.flatnonzero(total)})


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs; words are separated by white space.

    Examples:
        >>> count_words(["one two", "one"]) == {"one": 2, "two": 1}
        True
    """
    counts: Counter[str] = Counter()
    iterator = iter(texts)
    while chunk := list(islice(iterator, _CHUNK)):
        counts.update(_WORD.findall("\n".join(chunk)))
    return counts


def make_vocabulary(counts: Counter[str], size: int | None) -> dict[str, int]:
    """The reserved tokens and the most frequent others; ties are ordered by code point.

    Args:
        counts: Frequencies of the tokens.
        size: Number of ids, at most; `None` for all tokens.

    Examples:
        >>> list(make_vocabulary(Counter("abb"), None))[4:]
        ['b', 'a']
    """
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    tokens = [*SPECIAL_TOKENS, *(token for token, _ in ordered)]
    return {token: number for number, token in enumerate(tokens[:size])}


class WholeTokenEncoder(ABC):
    """Encodes texts by looking up their tokens.

    Args:
        tokenizer: A tokenizer with a vocabulary of whole tokens.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._normalizer: Any = tokenizer.normalizer
        vocabulary = tokenizer.get_vocab(with_added_tokens=False)
        self._fill({token: id_ for token, id_ in vocabulary.items() if id_ >= len(SPECIAL_TOKENS)})

    @abstractmethod
    def _fill(self, ids: dict[str, int]) -> None:
        """Make the table."""

    @abstractmethod
    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode normalized texts."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text."""
        if self._normalizer is not None:
            texts = [self._normalizer.normalize_str(text) for text in texts]
        return self._encode(texts)


class CharacterEncoder(WholeTokenEncoder):
    """Looks up code points."""

    def _fill(self, ids: dict[str, int]) -> None:
        self._table = np.full(_CODE_POINTS, UNKNOWN, np.int32)
        for token, number in ids.items():
            self._table[ord(token)] = number

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        ids = self._table[_codes("".join(texts))].tolist()
        ends = np.cumsum([0, *map(len, texts)]).tolist()
        return [ids[start:end] for start, end in pairwise(ends)]


class WordEncoder(WholeTokenEncoder):
    """Looks up words; the vocabulary has them with a leading space."""

    def _fill(self, ids: dict[str, int]) -> None:
        self._ids = {token.removeprefix(" "): number for token, number in ids.items()}

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        find, known = _WORD.findall, self._ids.get
        return [[known(word, UNKNOWN) for word in find(text)] for text in texts]


def _codes(text: str) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """The code points of a text."""
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)
