"""A class label as target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqlearn.batch import SequenceBatch
from seqlearn.metrics import ClassStatistics
from seqlearn.nn import linear_cross_entropy
from seqlearn.plain_data import to_builtin
from seqlearn.spec.base import RowFormat, TargetLoss, TargetSpec


@dataclass(frozen=True)
class ClassesSpec(TargetSpec):
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
    is_sequence: ClassVar[bool] = False
    needs_decoder: ClassVar[bool] = False
    methods: ClassVar[tuple[str, ...]] = ("classify",)

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

    @property
    def longest(self) -> int:
        """1."""
        return 1

    @property
    def row_format(self) -> RowFormat:
        """A class id."""
        return RowFormat("int32")

    def diff(self, other: ClassesSpec) -> str | None:
        """The labels from the first that differs, if they differ."""
        if self.labels == other.labels:
            return None
        return f"labels {_unlike(self.labels, other.labels)}"

    def describe(self, value: Any) -> str:
        """The label."""
        return str(value)

    def random_value(self, rng: Random, length: int) -> Any:  # noqa: ARG002
        """A random class id."""
        return rng.randrange(len(self.labels))

    @property
    def output_size(self) -> int:
        """One logit per label."""
        return len(self.labels)

    @property
    def is_readable_text(self) -> bool:
        """False."""
        return False

    def make_target_embedding(self, d_model: int) -> nn.Module | None:  # noqa: ARG002
        """None: a class is predicted from the pooled vector."""
        return None

    def collate_targets(
        self,
        encoded: Sequence[Any],
        device: torch.device,
        dtype: torch.dtype,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor | None]:
        """The class ids."""
        return torch.tensor(encoded, dtype=torch.long, device=device), None

    def labels_of(self, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """One class id per example."""
        return batch.target[:, None], ~batch.is_duplicate[:, None]

    def count_items(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """One per example."""
        return np.ones_like(lengths)

    def compute_loss(
        self, hidden: Tensor, labels: Tensor, head: nn.Linear, *, smoothing: float = 0.0
    ) -> TargetLoss:
        """The cross-entropy, weighted by `weights`."""
        weights = None
        if self.weights is not None:
            weights = torch.tensor(self.weights, dtype=head.weight.dtype, device=head.weight.device)
        measured = linear_cross_entropy(hidden, head.weight, head.bias, labels, smoothing, weights)
        return TargetLoss(measured.loss, torch.tensor(len(labels)), *measured[1:])

    def item_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy."""
        return nn.functional.cross_entropy(outputs, labels, reduction="none")

    def make_metrics(self) -> ClassStatistics:
        """Loss, accuracy, F1 and the confusion matrix."""
        return ClassStatistics(self.labels)

    def decode_outputs(self, outputs: Tensor) -> list[Any]:
        """The label with the largest logit."""
        return self.decode_labels(outputs.argmax(-1))

    def decode_labels(self, target: Tensor) -> list[Any]:
        """The labels of class ids."""
        return [self.labels[number] for number in target.tolist()]


def _unlike(mine: Sequence[str], theirs: Sequence[str]) -> str:
    """Two lists of labels, from the first that differs."""
    same = next((at for at, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), None)
    at = min(len(mine), len(theirs)) if same is None else same
    return f"{list(mine[at : at + 5])} against {list(theirs[at : at + 5])} from number {at + 1}"
