"""A target that is one of a set of labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seqlearn.plain_data import to_builtin


@dataclass(frozen=True)
class ClassesSpec:
    """A target that is one of a set of labels.

    Attributes:
        labels: The labels, in the order of their ids.
        weights: How much an example of each counts in the training loss; `None` is 1 for all. The
            data module scales them to a mean of 1 over the training examples.

    Raises:
        ValueError: If there are fewer than two labels, or one stands twice; or if there is not one
            positive weight for each.
        TypeError: If it is one string, or a label is not text.
    """

    kind: ClassVar[str] = "classes"

    labels: tuple[str, ...]
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        labels = to_builtin(self.labels)
        if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
            raise TypeError(f"expected a list of labels that are texts, got {labels!r}")
        object.__setattr__(self, "labels", tuple(labels))
        if self.weights is not None:
            weights = tuple(float(weight) for weight in self.weights)
            if len(weights) != len(self.labels) or not all(0 < w < float("inf") for w in weights):
                raise ValueError(
                    f"expected a positive weight for each of {len(self.labels)} labels, "
                    f"got {list(weights)[:10]}"
                )
            object.__setattr__(self, "weights", weights)
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise ValueError(f"expected two or more distinct labels, got {list(self.labels)[:10]}")

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.labels[:5])) + (", …" if len(self.labels) > 5 else "")
        weighted = ", weighted" if self.weights else ""
        return f"ClassesSpec({len(self.labels)} labels: {shown}{weighted})"
