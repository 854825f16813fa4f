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
from seqlearn.spec.base import RowFormat, TargetLoss
from seqlearn.spec.labels import LabelsSpec, label_loss


@dataclass(frozen=True, repr=False)
class ClassesSpec(LabelsSpec):
    """A target that is one of a set of labels.

    Attributes:
        labels: The labels, in the order of their ids.
        weights: How much an example of each counts in the training loss; `None` is 1 for all. The
            data module scales them to a mean of 1 over the training examples.

    Raises:
        ValueError: If there are fewer than two labels, or one stands twice; or if there is not one
            positive weight for each.
        TypeError: If it is one string, or a label is not text.

    Examples:
        >>> spec = ClassesSpec(("no", "yes"))
        >>> spec.output_size, spec.decode_labels(torch.tensor([1, 0]))
        (2, ['yes', 'no'])
    """

    kind: ClassVar[str] = "classes"
    is_sequence: ClassVar[bool] = False
    needs_decoder: ClassVar[bool] = False
    methods: ClassVar[tuple[str, ...]] = ("classify",)

    @property
    def longest(self) -> int:
        """1."""
        return 1

    @property
    def row_format(self) -> RowFormat:
        """A class id."""
        return RowFormat("int32")

    def describe(self, value: Any) -> str:
        """The label."""
        return str(value)

    def random_value(self, rng: Random, length: int) -> Any:  # noqa: ARG002
        """A random class id."""
        return rng.randrange(len(self.labels))

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
        return label_loss(hidden, labels, head, smoothing, self.weights)

    def item_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy."""
        return nn.functional.cross_entropy(outputs, labels, reduction="none")

    def make_metrics(self) -> ClassStatistics:
        """Loss, accuracy, F1 and the confusion matrix."""
        return ClassStatistics(self.labels)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """The probability of each label, `… labels`, from as many logits; they add up to 1."""
        return outputs.softmax(-1)

    def decode_outputs(self, outputs: Tensor) -> list[Any]:
        """The label with the largest logit."""
        return self.decode_labels(outputs.argmax(-1))

    def decode_labels(self, target: Tensor) -> list[Any]:
        """The labels of class ids."""
        return [self.labels[number] for number in target.tolist()]
