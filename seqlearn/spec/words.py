"""Words or characters of a text, and the first of the pieces into which a tokenizer splits each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from seqlearn.spec.raw_inputs import EncodedIds

Unit = Literal["word", "character"]
"""What has a target each: a word, or a character (a code point, white space too)."""

_SPACE = re.compile(r"[ \t\n\v\f\r]+")
_WORD = re.compile(r"[^ \t\n\v\f\r]+")


class EncodedWords(EncodedIds):
    """The ids of a sentence, with the position of the first piece of each word.

    Attributes:
        starts: The positions, one for each word (or character).

    Examples:
        >>> sentence = EncodedWords([4, 5, 6], starts=[0, 2])  # two words, of two pieces and one
        >>> sentence, sentence.starts
        ([4, 5, 6], [0, 2])
    """

    def __init__(self, ids: Iterable[int], starts: Iterable[int]) -> None:
        super().__init__(ids)
        self.starts = list(starts)


def split_words(sentence: str) -> list[str]:
    """Split a sentence at ASCII white space. A no-break space, as in `10 000`, splits no word.

    Examples:
        >>> split_words("the  cat ")
        ['the', 'cat']
    """
    return _WORD.findall(sentence)


def unit_spans(text: str, unit: Unit = "word") -> list[tuple[int, int]]:
    """Where each word or character of a text begins and ends.

    Examples:
        >>> unit_spans("the  cat"), unit_spans("a b", "character")
        ([(0, 3), (5, 8)], [(0, 1), (1, 2), (2, 3)])
    """
    if unit == "character":
        return [(place, place + 1) for place in range(len(text))]
    return [word.span() for word in _WORD.finditer(text)]


def join_units(units: Iterable[str], unit: Unit = "word") -> str:
    """The text of these words or characters.

    Examples:
        >>> join_units(["the", "cat"]), join_units(["a", " ", "b"], "character")
        ('the cat', 'a b')
    """
    return ("" if unit == "character" else " ").join(units)


def check_words(words: Sequence[Any], unit: Unit = "word") -> list[str]:
    """Check the words or characters of a sentence.

    Raises:
        ValueError: If one is no text or is empty; if a word contains ASCII white space; if one
            should be a character and is several.
    """
    for number, word in enumerate(words, 1):
        if not isinstance(word, str):
            raise ValueError(  # noqa: TRY004 -- bad data is a ValueError everywhere
                f"{unit} {number}: expected a text, got {type(word).__name__} {str(word)[:40]!r}; "
                "convert it with str"
            )
        if unit == "character" and len(word) != 1:
            raise ValueError(
                f"character {number}: expected one character, got {word[:40]!r}; split it into "
                "characters, or pass the whole text as one string"
            )
        if unit == "word" and (not word or _SPACE.search(word)):
            problem = f"white space in {word[:40]!r}" if word else "an empty text"
            raise ValueError(
                f"word {number}: expected one word, got {problem}; split it into words, or replace "
                "the white space, for example by a no-break space"
            )
    return [str(word) for word in words]


def words_of(sentence: Any, where: str, unit: Unit = "word") -> list[str] | None:
    """The words of a raw sentence: a text, or a list of texts; `None` if it is a list of ids.

    Args:
        sentence: What a user passed.
        where: How an error names it.
        unit: What counts as a word.

    Raises:
        ValueError: As `check_words`, or if only some items are texts.

    Examples:
        >>> words_of("the cat", "source 1"), words_of(["the", "cat"], "source 1")
        (['the', 'cat'], ['the', 'cat'])
    """
    if isinstance(sentence, str):
        return list(sentence) if unit == "character" else split_words(sentence)
    items = sentence.tolist() if hasattr(sentence, "tolist") else sentence
    if not isinstance(items, list | tuple) or not any(isinstance(item, str) for item in items):
        return None
    try:
        return check_words(items, unit)
    except ValueError as error:
        raise ValueError(f"{where}, {error}") from None


def first_pieces(spans: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]]) -> list[int]:
    """The position of the first piece of each word.

    It is the first piece that contains a character of the word. A word that the tokenizer leaves
    out gets the piece before it.

    Args:
        spans: Where each word begins and ends in the text, in order; see `unit_spans`.
        offsets: Where each piece begins and ends in the text, in order.

    Examples:
        >>> first_pieces([(0, 1), (2, 5)], [(0, 1), (1, 3), (3, 5)])  # the pieces "a", " c", "at"
        [0, 1]
    """
    starts = []
    piece = 0
    for begin, end in spans:
        while piece < len(offsets) and offsets[piece][1] <= begin:
            piece += 1
        found = piece < len(offsets) and offsets[piece][0] < end
        starts.append(piece if found else max(0, piece - 1))
    return starts
