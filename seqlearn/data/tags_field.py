"""The field `Tags`, and how tags are placed on the words or characters of a source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from seqlearn.data.class_weights import class_weights
from seqlearn.data.column_encoders import (
    NOT_IN_TRAINING,
    ColumnEncoder,
    DescribeRow,
    FileEncoder,
)
from seqlearn.data.fields import LabelField, check_label
from seqlearn.spec import AlignedSpec, CharacterTagsSpec, TagsSpec, WordSource
from seqlearn.spec.tags import check_iob2, other_scheme
from seqlearn.spec.words import unit_spans


@dataclass(frozen=True, repr=False)
class Tags(LabelField):
    """A label for each word of the source, such as a part of speech or a named entity. As target.

    The labels are those of the training split, sorted, unless given. A raw value is a list of
    labels; the source is a text with as many words, separated by spaces. If the labels are `O`,
    `B-TYPE` and `I-TYPE` (IOB2), each `I-TYPE` must continue a span.

    Attributes:
        weights: Weights of the labels in the training loss, as in `Classes`: `None` (all equal),
            `"balanced"`, or a positive number for each label. They are scaled to a mean of 1 over
            the training words.
        labels: The labels in the order of their ids, of which the training split may lack some;
            `None` are those of the training split.

    Raises:
        ValueError: If a weight is not positive and finite, or `weights` is another string.

    Examples:
        >>> Tags(weights="balanced")
        Tags(weights='balanced')
    """

    spec_type: ClassVar[type[TagsSpec]] = TagsSpec

    def labels_in(self, value: Sequence[str]) -> Iterable[str]:
        """The labels themselves."""
        return value

    def check(self, value: Any) -> None:
        """Check that a value is a list of labels.

        Raises:
            ValueError: If it is not, or is empty, or a label is; the message names the word (or
                character).
        """
        unit = self.spec_type.unit
        if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
            raise ValueError(  # noqa: TRY004 -- bad data is a ValueError everywhere
                f"expected a list of tags, one for each {unit}, got {type(value).__name__} "
                f"{str(value)[:40]!r}"
            )
        if not value:
            raise ValueError(f"expected at least one {unit}, got an empty sentence; remove it")
        for number, tag in enumerate(value, 1):
            try:
                check_label(tag)
            except ValueError as error:
                raise ValueError(f"{unit} {number}: {error}") from None

    def make_column_encoder(
        self, spec: Any, describe_row: DescribeRow, *, is_target: bool
    ) -> ColumnEncoder:
        """An encoder of labels to their numbers."""
        if self.labels is None and (scheme := other_scheme(spec.labels)) is not None:
            rank_zero_warn(
                f"the tags look like spans in the scheme {scheme.upper()}, such as "
                f"{spec.labels[0]!r}; precision, recall and F1 of spans are those of IOB2; "
                f"pass scheme={scheme!r} to TaggedText, which converts them",
                stacklevel=2,
            )
        return TagsEncoder(spec, describe_row, self.weights, given=self.labels is not None)


@dataclass(frozen=True, repr=False)
class CharacterTags(Tags):
    """A label for each character (code point) of the source, white space too. As target only.

    A raw value is a list of labels; the source is a text with as many characters, which need not be
    words. Use it with `Text("char")`: then each character has an encoder state of its own.

    Attributes:
        weights: Weights of the labels in the training loss, as in `Tags`, for a character.
        labels: The labels in the order of their ids, as in `Tags`.

    Raises:
        ValueError: As `Tags`.

    Examples:
        >>> CharacterTags().check(["B-day", "I-day", "O", "B-month"])  # of "22.6"
    """

    spec_type: ClassVar[type[TagsSpec]] = CharacterTagsSpec


class TagsEncoder(FileEncoder):
    """Encodes the tags of a sentence as numbers from 1.

    `place_tags` adds the positions of the words before the rows are written.

    Args:
        side: The labels.
        describe_row: Describes a row in errors.
        weights: The weights of the field `Tags`.
        given: Whether the labels were given, so that training may lack some.

    Attributes:
        counts: Number of words with each label.
    """

    unknown: int | None = None

    def __init__(
        self,
        side: TagsSpec,
        describe_row: DescribeRow,
        weights: str | Mapping[str, float] | None = None,
        *,
        given: bool = False,
    ) -> None:
        super().__init__(side, is_target=True)
        self._weights, self._describe_row, self._given = weights, describe_row, given
        self._numbers = {label: number for number, label in enumerate(side.labels, 1)}
        self._checks_spans, self._unit = bool(side.span_types), side.unit
        self.counts: NDArray[np.int64] = np.zeros(len(side.labels), np.int64)

    def encode(self, values: Sequence[Sequence[str]], row: int) -> list[list[int]]:
        """Encode the tags of sentences as numbers.

        Args:
            values: The tags of each sentence.
            row: Row of the first sentence, for errors.

        Raises:
            ValueError: If a label is unknown, or an `I-TYPE` continues no span; the message names
                the word.
        """
        encoded = []
        for number, tags in enumerate(values, row):
            try:
                encoded.append([self._number(place, tag) for place, tag in enumerate(tags, 1)])
                if self._checks_spans:
                    check_iob2(tags, self._unit)
            except ValueError as error:
                raise ValueError(f"{self._describe_row(number)}, {error}") from None
        return encoded

    def _number(self, place: int, tag: str) -> int:
        if tag not in self._numbers:
            known = "is not one of" if self._given else NOT_IN_TRAINING
            advice = "" if self._given else ", or add training examples of it"
            raise ValueError(
                f"{self._unit} {place}: the tag {tag!r} {known} {list(self._numbers)[:10]}; "
                f"correct it{advice}"
            )
        return self._numbers[tag]

    def append(self, encoded: Sequence[NDArray[np.int32]]) -> None:
        """Append positions and numbers."""
        for placed in encoded:
            self.counts += np.bincount(placed[:, 1] - 1, minlength=len(self.counts))
        self._rows.append(encoded)

    def update_spec(self, spec: TagsSpec, split: str) -> TagsSpec:
        """With the weights of the labels.

        Raises:
            ValueError: If a label has lost all training words to a `max_length`, or has a weight
                and no training word.
        """
        if split != "train":
            return spec
        lost = [label for label, count in zip(spec.labels, self.counts, strict=True) if not count]
        if lost and self._given and self._weights is not None:
            raise ValueError(
                f"weights: the training split has no {self._unit} with the tag {lost[0]!r}; leave "
                "weights out, or add examples"
            )
        if lost and not self._given:
            raise ValueError(
                f"max_length: all training {self._unit}s with the tag {lost[0]!r} are in parts "
                "that are dropped or truncated; raise it, or take the tag out"
            )
        if self._weights is None:
            return spec
        return replace(spec, weights=class_weights(self._weights, spec.labels, self.counts))


def place_tags(
    source: WordSource,
    target: AlignedSpec,
    texts: Sequence[str],
    numbers: Sequence[Sequence[int]],
    describe_row: DescribeRow,
    row: int,
) -> list[NDArray[np.int32]]:
    """Place the numbers of each sentence on its words, or on its characters.

    Args:
        source: The type of the sources.
        target: The type of the targets.
        texts: The sources.
        numbers: Encoded items, one for each word.
        describe_row: Describes a row in errors.
        row: The first row.

    Raises:
        ValueError: If a sentence has not as many words as items.
    """
    unit = target.unit
    for place, (text, items) in enumerate(zip(texts, numbers, strict=True), row):
        if (count := len(unit_spans(text, unit))) != len(items):
            raise ValueError(
                f"{describe_row(place)}: expected one tag for each {unit}, got {count} {unit}s "
                f"and {len(items)} tags"
            )
    starts = source.word_starts(texts, unit)
    return [target.place(*pair) for pair in zip(starts, numbers, strict=True)]


def cut_tags(
    sources: Sequence[Sequence[int]], placed: Sequence[NDArray[np.int32]]
) -> list[NDArray[np.int32]]:
    """Leave out the tags of words that begin after the end of a truncated source."""
    return [row[row[:, 0] < len(ids)] for ids, row in zip(sources, placed, strict=True)]
