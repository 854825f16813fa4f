"""`LabelsSpec`: what targets of labels have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqlearn.nn import linear_cross_entropy
from seqlearn.plain_data import to_builtin
from seqlearn.spec.base import TargetLoss, TargetSpec


@dataclass(frozen=True, repr=False)
class LabelsSpec(TargetSpec):
    """A target that consists of labels of a set: one, several, or one for each word.

    Attributes:
        labels: The labels, in the order of their ids.
        weights: How much each label counts in the training loss; `None` is 1 for all.

    Raises:
        ValueError: If there are fewer than two labels, or one stands twice; or if there is not one
            positive weight for each.
        TypeError: If it is one string, or a label is not text.
    """

    labels: tuple[str, ...]
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        labels = to_builtin(self.labels)
        if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
            raise TypeError(f"expected a list of labels that are texts, got {labels!r}")
        if len(labels) < 2 or len(set(labels)) != len(labels):
            raise ValueError(f"expected two or more distinct labels, got {list(labels)[:10]}")
        object.__setattr__(self, "labels", tuple(labels))
        if self.weights is not None:
            object.__setattr__(self, "weights", _checked_weights(self.weights, self.labels))

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.labels[:5])) + (", …" if len(self.labels) > 5 else "")
        weighted = ", weighted" if self.weights else ""
        return f"{type(self).__name__}({len(self.labels)} labels: {shown}{weighted})"

    def diff(self, other: Any) -> str | None:
        """The labels from the first that differs, if they differ."""
        mine, theirs = self.labels, other.labels
        if mine == theirs:
            return None
        pairs = enumerate(zip(mine, theirs, strict=False))
        at = next((at for at, (a, b) in pairs if a != b), min(len(mine), len(theirs)))
        shown = f"{list(mine[at : at + 5])} against {list(theirs[at : at + 5])}"
        return f"labels {shown} from number {at + 1}"

    @property
    def output_size(self) -> int:
        """One logit per label."""
        return len(self.labels)

    @property
    def is_readable_text(self) -> bool:
        """False."""
        return False


def _checked_weights(weights: Sequence[float], labels: Sequence[str]) -> tuple[float, ...]:
    plain = tuple(float(weight) for weight in weights)
    if len(plain) != len(labels) or not all(0 < weight < float("inf") for weight in plain):
        raise ValueError(
            f"expected a positive weight for each of {len(labels)} labels, got {list(plain)[:10]}"
        )
    return plain


def label_loss(
    hidden: Tensor,
    labels: Tensor,
    head: nn.Linear,
    smoothing: float,
    weights: Sequence[float] | None,
) -> TargetLoss:
    """The cross-entropy of label ids, weighted by `weights`; arguments as in `compute_loss`."""
    weight = None
    if weights is not None:
        weight = torch.tensor(weights, dtype=head.weight.dtype, device=head.weight.device)
    measured = linear_cross_entropy(hidden, head.weight, head.bias, labels, smoothing, weight)
    return TargetLoss(measured.loss, torch.tensor(len(labels)), *measured[1:])
