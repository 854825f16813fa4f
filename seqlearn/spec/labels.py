"""Labels: checks, differences and the loss that `ClassesSpec` and `TagsSpec` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seqlearn.nn import linear_cross_entropy
from seqlearn.plain_data import to_builtin
from seqlearn.spec.base import TargetLoss


def check_labels(labels: Any) -> tuple[str, ...]:
    """Check the labels of a spec.

    Raises:
        ValueError: If there are fewer than two labels, or one stands twice.
        TypeError: If it is one string, or a label is not text.
    """
    labels = to_builtin(labels)
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        raise TypeError(f"expected a list of labels that are texts, got {labels!r}")
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise ValueError(f"expected two or more distinct labels, got {list(labels)[:10]}")
    return tuple(labels)


def check_weights(weights: Sequence[float], labels: Sequence[str]) -> tuple[float, ...]:
    """Check the weights of labels.

    Raises:
        ValueError: If there is not one positive, finite weight for each label.
    """
    plain = tuple(float(weight) for weight in weights)
    if len(plain) != len(labels) or not all(0 < weight < float("inf") for weight in plain):
        raise ValueError(
            f"expected a positive weight for each of {len(labels)} labels, got {list(plain)[:10]}"
        )
    return plain


def labels_shown(labels: Sequence[str], weights: object) -> str:
    """The number of labels, the first of them, and whether they are weighted, for a `repr`."""
    shown = ", ".join(map(repr, labels[:5])) + (", …" if len(labels) > 5 else "")
    return f"{len(labels)} labels: {shown}{', weighted' if weights else ''}"


def differing_labels(mine: Sequence[str], theirs: Sequence[str]) -> str | None:
    """Two lists of labels, from the first that differs; `None` if they are equal."""
    if mine == theirs:
        return None
    same = next((at for at, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), None)
    at = min(len(mine), len(theirs)) if same is None else same
    shown = f"{list(mine[at : at + 5])} against {list(theirs[at : at + 5])}"
    return f"labels {shown} from number {at + 1}"


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
