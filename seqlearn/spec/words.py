"""Words of a sentence, and the first of the pieces into which a tokenizer splits each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from seqlearn.spec.raw_inputs import EncodedIds

_SPACE = re.compile(r"[ \t\n\v\f\r]+")


class EncodedWords(EncodedIds):
    """The ids of a sentence, with the position of the first piece of each word.

    Attributes:
        starts: The positions, one for each word.

    Example:
        >>> sentence = EncodedWords([4, 5, 6], starts=[0, 2])  # two words, of two pieces and one
        >>> sentence, sentence.starts
        ([4, 5, 6], [0, 2])
    """

    def __init__(self, ids: Iterable[int], starts: Iterable[int]) -> None:
        super().__init__(ids)
        self.starts = list(starts)


def split_words(sentence: str) -> list[str]:
    """Split a sentence at ASCII white space. A no-break space, as in `10 000`, splits no word.

    Example:
        >>> split_words("the  cat ")
        ['the', 'cat']
    """
    return [word for word in _SPACE.split(sentence) if word]


def check_words(words: Sequence[Any]) -> list[str]:
    """Check the words of a sentence.

    Raises:
        ValueError: If one is no text, is empty, or contains ASCII white space.
    """
    for number, word in enumerate(words, 1):
        if not isinstance(word, str):
            raise ValueError(  # noqa: TRY004 -- bad data is a ValueError everywhere
                f"word {number}: expected a text, got {type(word).__name__} {str(word)[:40]!r}; "
                "convert it with str"
            )
        if not word or _SPACE.search(word):
            problem = f"white space in {word[:40]!r}" if word else "an empty text"
            raise ValueError(
                f"word {number}: expected one word, got {problem}; split it into words, or replace "
                "the white space, for example by a no-break space"
            )
    return [str(word) for word in words]


def words_of(sentence: Any, where: str) -> list[str] | None:
    """The words of a raw sentence: a text, or a list of texts; `None` if it is a list of ids.

    Args:
        sentence: What a user passed.
        where: How an error names it.

    Raises:
        ValueError: If a word is empty or contains ASCII white space, or only some items are texts.

    Example:
        >>> words_of("the cat", "source 1"), words_of(["the", "cat"], "source 1")
        (['the', 'cat'], ['the', 'cat'])
    """
    if isinstance(sentence, str):
        return split_words(sentence)
    items = sentence.tolist() if hasattr(sentence, "tolist") else sentence
    if not isinstance(items, list | tuple) or not any(isinstance(item, str) for item in items):
        return None
    try:
        return check_words(items)
    except ValueError as error:
        raise ValueError(f"{where}, {error}") from None


def first_pieces(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> list[int]:
    """The position of the first piece of each word.

    It is the first piece that contains a character of the word. A word that the tokenizer leaves
    out gets the piece before it.

    Args:
        words: The words of a text, which are separated by one space each.
        offsets: Where each piece starts and ends in the text, in order.

    Example:
        >>> first_pieces(["a", "cat"], [(0, 1), (1, 3), (3, 5)])  # the pieces "a", " c", "at"
        [0, 1]
    """
    starts = []
    piece = begin = 0
    for word in words:
        end = begin + len(word)
        while piece < len(offsets) and offsets[piece][1] <= begin:
            piece += 1
        found = piece < len(offsets) and offsets[piece][0] < end
        starts.append(piece if found else max(0, piece - 1))
        begin = end + 1
    return starts
