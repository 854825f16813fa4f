"""Tags as target: a label for each word or character of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

from torch import Tensor, nn

from seqlearn.metrics import ClassStatistics
from seqlearn.span_metrics import SpanStatistics
from seqlearn.spec.aligned import AlignedSpec
from seqlearn.spec.base import TargetLoss
from seqlearn.spec.labels import LabelsSpec, label_loss
from seqlearn.spec.words import Unit


@dataclass(frozen=True, repr=False)
class TagsSpec(LabelsSpec, AlignedSpec):
    """A target that is a label for each word of the source: parts of speech, named entities.

    The encoder state of the first piece of a word predicts its label; with `Text("word")` a word
    has one piece. Labels `O`, `B-…` and `I-…` mark spans (IOB2); then precision, recall and F1 of
    spans are measured too.

    Attributes:
        labels: The labels, in the order of their ids.
        weights: How much a word with each label counts in the training loss; `None` is 1 for all.
            The data module scales them to a mean of 1 over the training words.

    Raises:
        ValueError: If there are fewer than two labels, or one stands twice; or if there is not one
            positive weight for each.
        TypeError: If it is one string, or a label is not text.

    Examples:
        >>> TagsSpec(("O", "B-city", "I-city")).span_types
        ('city',)
    """

    kind: ClassVar[str] = "tags"
    methods: ClassVar[tuple[str, ...]] = ("tag",)

    @property
    def span_types(self) -> tuple[str, ...]:
        """The types of spans, sorted; none if the labels are not those of IOB2.

        They are if each is `O`, `B-TYPE` or `I-TYPE`, and one begins with `B-`.
        """
        inside = [label for label in self.labels if label != "O"]
        parts = [label.partition("-") for label in inside]
        if any(prefix not in ("B", "I") or not kind for prefix, _, kind in parts):
            return ()
        if not any(prefix == "B" for prefix, _, _ in parts):
            return ()
        return tuple(sorted({kind for _, _, kind in parts}))

    def describe(self, value: Any) -> str:
        """The labels, separated by spaces."""
        return value if isinstance(value, str) else " ".join(map(str, value))

    def random_value(self, rng: Random, length: int) -> Any:
        """Random labels of the first `length` positions."""
        numbers = [rng.randint(1, len(self.labels)) for _ in range(length)]
        return self.place(range(length), numbers)

    def compute_loss(
        self, hidden: Tensor, labels: Tensor, head: nn.Linear, *, smoothing: float = 0.0
    ) -> TargetLoss:
        """The cross-entropy of each word, weighted by `weights`."""
        return label_loss(hidden, labels, head, smoothing, self.weights)

    def item_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy."""
        return nn.functional.cross_entropy(outputs, labels, reduction="none")

    def make_metrics(self) -> ClassStatistics | SpanStatistics:
        """Loss, accuracy and F1 of labels; of spans, if the labels are those of IOB2."""
        return SpanStatistics(self.labels) if self.span_types else ClassStatistics(self.labels)

    def decode_outputs(self, outputs: Tensor) -> list[Any]:
        """The label with the largest logit for each word, `… words labels`."""
        return self._names((outputs.argmax(-1) + 1).tolist())

    def decode_labels(self, target: Tensor) -> list[Any]:
        """The labels of each sentence, without padding."""
        return [
            self._names([number for number in row if number > 0]) for row in target[..., 1].tolist()
        ]

    def _names(self, numbers: Any) -> Any:
        if isinstance(numbers, list):
            return [self._names(number) for number in numbers]
        return self.labels[numbers - 1]


@dataclass(frozen=True, repr=False)
class CharacterTagsSpec(TagsSpec):
    """A target that is a label for each character of the source, white space too.

    A character is a code point. With `Text("char")` each has an encoder state of its own; the
    characters of a longer token share one, and so have one label. Labels are those of `TagsSpec`.

    Attributes:
        labels: The labels, in the order of their ids.
        weights: As in `TagsSpec`, for a character.

    Raises:
        ValueError: As `TagsSpec`.
        TypeError: As `TagsSpec`.

    Examples:
        >>> CharacterTagsSpec(("O", "B-day", "I-day")).unit
        'character'
    """

    kind: ClassVar[str] = "character-tags"
    unit: ClassVar[Unit] = "character"


def other_scheme(labels: Sequence[str]) -> str | None:
    """The scheme of labels that look like spans, if it is not IOB2: `"iob1"` or `"bioes"`.

    Examples:
        >>> other_scheme(["O", "S-city", "B-name", "E-name"]), other_scheme(["O", "I-city"])
        ('bioes', 'iob1')
        >>> other_scheme(["O", "B-city", "I-city"]), other_scheme(["noun", "verb"])
        (None, None)
    """
    parts = [label.partition("-") for label in labels if label != "O"]
    prefixes = {prefix for prefix, _, kind in parts if kind}
    if not parts or not all(kind for _, _, kind in parts) or not prefixes <= set("BIESUL"):
        return None
    if prefixes == {"I"}:
        return "iob1"
    return None if prefixes <= {"B", "I"} else "bioes"


def check_iob2(tags: Sequence[str], unit: Unit = "word") -> None:
    """Check that each `I-TYPE` follows `B-TYPE` or `I-TYPE`.

    Raises:
        ValueError: If one does not; the message names the word (or character).
    """
    before = "O"
    for number, tag in enumerate(tags, 1):
        if tag.startswith("I-") and before[2:] != tag[2:]:
            after = f"follows {before!r}" if number > 1 else "is the first tag"
            raise ValueError(
                f"{unit} {number}: {tag!r} {after}, and in IOB2 a span starts with B-{tag[2:]}; "
                "correct it, or pass scheme='iob1' to TaggedText if B- only separates spans"
            )
        before = tag
