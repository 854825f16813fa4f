"""Tokens as a text: what they are called, and how they are joined."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from seqlearn.batch import SPECIAL_TOKENS

_NO_SPACE_BEFORE = set(".,;:!?%)]}…'’”»")
_NO_SPACE_AFTER = set("([{“„«¿¡$€£")
_SPACE_MARKERS = "▁Ġ "


def guessed_pieces(tokens: Sequence[str]) -> list[str]:
    """The text of each token with the space before it, guessed from its name.

    Single characters are joined as they are. Of other tokens "##" and "@@" mark those that belong
    to one word, "▁" and "Ġ" those that begin a word; without marks, every token is a word, and
    punctuation belongs to the word beside it.

    Examples:
        >>> guessed_pieces(["the", "read", "##er", ",", "</s>"])
        ['the', ' read', 'er', ',', '']
    """
    if all(len(token) == 1 or token in SPECIAL_TOKENS for token in tokens):
        return ["" if token in SPECIAL_TOKENS else token for token in tokens]
    marked = any(token[:1] in ("▁", "Ġ") for token in tokens)
    pieces, attaches = [], True
    for token in tokens:
        if token in SPECIAL_TOKENS:
            pieces.append("")
            continue
        text, begins = token, not attaches and not marked and token not in _NO_SPACE_BEFORE
        if token.startswith("##") and len(token) > 2:
            text, begins = token[2:], False
        elif token[:1] and token[0] in _SPACE_MARKERS:
            text, begins = token[1:], not attaches
        attaches = token in _NO_SPACE_AFTER or token.endswith("@@")
        pieces.append((" " if begins else "") + text.removesuffix("@@"))
    return pieces


def unit_of(tokens: Sequence[str], pieces: Sequence[str]) -> str:
    """What one token is called: "character", "word", "step" (of a series) or "token".

    Examples:
        >>> unit_of(["r", "e", "d"], ["r", "e", "d"]), unit_of(["a", "red"], ["a", " red"])
        ('character', 'word')
        >>> unit_of(["read", "ing"], ["read", "ing"])
        'token'
    """
    own = [
        (token, piece)
        for token, piece in zip(tokens, pieces, strict=True)
        if token not in SPECIAL_TOKENS
    ]
    if [token for token, _ in own] == [str(number + 1) for number in range(len(own))]:
        return "step" if len(own) > 1 else "token"
    if all(len(token) == 1 for token, _ in own):
        return "character" if own else "token"
    texts = [piece for _, piece in own]
    joins = any(a[-1:].isalnum() and b[:1].isalnum() for a, b in pairwise(texts))
    return "token" if joins else "word"
