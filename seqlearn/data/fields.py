"""What the two sides of an example are: `Text`, `Classes` or `Vector`.

A field is configuration only, plain and immutable, so that a YAML file can say it. The data
module turns it into a side of the `SequenceSpec` once it has seen the training split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np

from seqlearn.batch import SPECIAL_TOKENS
from seqlearn.plain_data import convert_fields
from seqlearn.spec.raw_inputs import check_surrogates

OVERFLOW = ("error", "drop", "truncate")
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
        max_length: Most tokens of a text in the training split, start and end not counted. `None`
            is no limit. Texts to validate and test on are never changed.
        overflow: What happens to a longer one: `"error"` names it; `"drop"` leaves the example out
            of training; `"truncate"` keeps its first `max_length` tokens. The last two warn of how
            many there were. Tokenizers and labels are made before.

    Raises:
        TypeError: If a value is not of its type, such as 8.5 for `vocab_size`.
        ValueError: If `vocab_size` leaves no room beside the four reserved ids, if `vocab_size` or
            `lowercase` is set for a tokenizer that is read from a file, if `max_length` is below 1,
            or if `overflow` is none of the three.
    """

    tokenizer: str = "char"
    vocab_size: int | None = None
    lowercase: bool = False
    max_length: int | None = None
    overflow: Literal["error", "drop", "truncate"] = "error"

    def __post_init__(self) -> None:
        convert_fields(self)
        if self.max_length is not None and self.max_length < 1:
            raise ValueError(f"expected a max_length of at least 1, got {self.max_length}")
        if self.overflow not in OVERFLOW:
            raise ValueError(
                f"expected overflow to be one of {', '.join(OVERFLOW)}, got {self.overflow!r}"
            )
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

    def __repr__(self) -> str:
        return _short(self)

    def check(self, value: object) -> None:
        """Refuse what is no text.

        Raises:
            ValueError: If `value` is no string, or holds half of a surrogate pair.
        """
        if not isinstance(value, str):
            raise ValueError(  # noqa: TRY004 (bad data)
                f"expected a string, got {_brief(value)}; convert it with str"
            )
        check_surrogates(value)


@dataclass(frozen=True)
class Classes:
    """A target that is one of a set of labels: the strings of the training split, sorted.

    Attributes:
        weights: How much an example of each class counts in the training loss: `None` (all the
            same), `"balanced"` (inversely to how often a class occurs), or a positive number for
            each label. They are scaled to a mean of 1 over the training examples. Figures of
            validation and test are not weighted.

    Raises:
        ValueError: If a weight is not positive and finite, or `weights` is another string.

    Example:
        >>> Classes(weights={"spam": 5.0, "ham": 1.0})
        Classes(weights={'spam': 5.0, 'ham': 1.0})
    """

    weights: Literal["balanced"] | dict[str, float] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        if isinstance(self.weights, Mapping):
            plain = {str(label): float(weight) for label, weight in self.weights.items()}
            for label, weight in plain.items():
                if not 0 < weight < float("inf"):
                    raise ValueError(
                        f"expected weights above 0 and finite, got {weight} for {label!r}"
                    )
            object.__setattr__(self, "weights", plain)
        elif self.weights not in (None, "balanced"):
            raise ValueError(
                "expected weights='balanced', a number for each label, or None, "
                f"got {self.weights!r}"
            )

    def __repr__(self) -> str:
        return _short(self)

    def check(self, value: object) -> None:
        """Refuse what is no label.

        Raises:
            ValueError: If `value` is no string, empty, or has blanks at its ends.
        """
        if not isinstance(value, str) or not value:
            advice = "fill it in" if isinstance(value, str) else "convert it with str"
            raise ValueError(
                f"expected a label (a string that is not empty), got {_brief(value)}; {advice}"
            )
        if value != value.strip():
            raise ValueError(
                f"expected a label without blanks at its ends, got {value[:40]!r}; strip it, so "
                "that labels do not differ by blanks alone"
            )


@dataclass(frozen=True)
class Vector:
    """A side that is a vector of numbers.

    Attributes:
        size: Numbers in each vector.

    Raises:
        TypeError: If `size` is no whole number.
        ValueError: If `size` is not positive.
    """

    size: int

    def __post_init__(self) -> None:
        convert_fields(self)
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


def _short(one: Any) -> str:
    """A field with what is not its default alone."""
    said = [
        f"{f.name}={getattr(one, f.name)!r}"
        for f in fields(one)
        if f.name == "tokenizer" or getattr(one, f.name) != f.default
    ]
    return f"{type(one).__name__}({', '.join(said)})".replace("(tokenizer=", "(")


def _brief(value: object) -> str:
    return f"{type(value).__name__} {str(value)[:40]!r}"
