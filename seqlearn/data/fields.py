"""What the two sides of an example are: `Text`, `Classes` or `Vector`.

A field is configuration only, plain and immutable, so that a YAML file can say it. The data
module turns it into a side of the `SequenceSpec` once it has seen the training split.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqlearn.spec import SPECIAL_TOKENS, refuse_surrogates

TRAINED = ("char", "word", "bpe")
"""The tokenizers that are trained on the training split; any other name is a path."""


@dataclass(frozen=True)
class Text:
    """A side that is text. One *instance* on both sides is one joint vocabulary.

    Attributes:
        tokenizer: `"char"` (one token per Unicode code point), `"word"` (split at whitespace),
            `"bpe"` (byte-level byte-pair encoding, Sennrich et al. 2016 and Radford et al. 2019,
            which covers every text), or the path of a pretrained `tokenizer.json` or of a
            SentencePiece `.model` (their ids move: 0 to 3 are padding, unknown, start and end).
        vocab_size: Number of ids, the four reserved ones included. `None` takes every token for
            `"char"` and `"word"`, and for `"bpe"` 8000, or fewer if the data supports no more.
        lowercase: Whether the tokenizer lower-cases its input. References stay as they are.

    Raises:
        ValueError: If `vocab_size` leaves no room beside the four reserved ids, or if `vocab_size`
            or `lowercase` is set for a tokenizer that is read from a file.
    """

    tokenizer: str = "char"
    vocab_size: int | None = None
    lowercase: bool = False

    def __post_init__(self) -> None:
        if self.vocab_size is not None and self.vocab_size <= len(SPECIAL_TOKENS):
            raise ValueError(
                f"expected a vocab_size above {len(SPECIAL_TOKENS)} (ids 0 to 3 are padding, "
                f"unknown, start, end), got {self.vocab_size}"
            )
        if self.tokenizer not in TRAINED and (self.vocab_size is not None or self.lowercase):
            raise ValueError(
                f"the tokenizer file {self.tokenizer!r} says itself what its vocabulary is and "
                "whether it lower-cases; leave out vocab_size and lowercase (or name one of "
                f"{', '.join(TRAINED)})"
            )

    def check(self, value: object) -> None:
        """Refuse what is no text.

        Raises:
            ValueError: If `value` is no string, or holds half of a surrogate pair.
        """
        if not isinstance(value, str):
            raise ValueError(f"expected a string, got {_brief(value)}")  # noqa: TRY004 (bad data)
        refuse_surrogates(value)


@dataclass(frozen=True)
class Classes:
    """A target that is one of a set of labels: the strings of the training split, sorted."""

    def check(self, value: object) -> None:
        """Refuse what is no label.

        Raises:
            ValueError: If `value` is no string, or empty.
        """
        if not isinstance(value, str) or not value:
            raise ValueError(f"expected a label (a string that is not empty), got {_brief(value)}")


@dataclass(frozen=True)
class Vector:
    """A side that is a vector of numbers.

    Attributes:
        size: Numbers in each vector.

    Raises:
        ValueError: If `size` is not positive.
    """

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"expected vectors of at least one number, got size={self.size}")

    def check(self, value: object) -> None:
        """Refuse what is no vector of this size.

        Raises:
            ValueError: If `value` is not `size` numbers, or one of them is not finite as float32.
        """
        try:
            with np.errstate(over="ignore"):
                vector = np.asarray(value, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(f"expected {self.size} numbers, got {_brief(value)}") from error
        if vector.shape != (self.size,):
            raise ValueError(
                f"expected a vector of {self.size} numbers, got one of shape {vector.shape}"
            )
        if not np.isfinite(vector).all():
            place = int(np.flatnonzero(~np.isfinite(vector))[0])
            raise ValueError(
                f"expected finite numbers, got {vector[place]} at position {place + 1}; "
                "remove or replace it"
            )


Field = Text | Classes | Vector


def _brief(value: object) -> str:
    return f"{type(value).__name__} {str(value)[:40]!r}"
