"""Any number of labels as target: multi-label classification."""

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
from seqlearn.metrics import MultiLabelStatistics
from seqlearn.spec.base import RowFormat, TargetLoss
from seqlearn.spec.labels import LabelsSpec


@dataclass(frozen=True, repr=False)
class MultiLabelSpec(LabelsSpec):
    """A target that is any number of labels of a set, also none: one decision for each label.

    Attributes:
        labels: The labels, in the order of their ids.
        weights: How much the presence of each label counts in the training loss, relative to its
            absence; `None` is 1 for all.

    Raises:
        ValueError: If there are fewer than two labels, or one stands twice; or if there is not one
            positive weight for each.
        TypeError: If it is one string, or a label is not text.

    Examples:
        >>> spec = MultiLabelSpec(("cheap", "fast", "small"))
        >>> spec.decode_outputs(torch.tensor([[1.5, -2.0, 0.5]]))
        [['cheap', 'small']]
    """

    kind: ClassVar[str] = "multi-label"
    is_sequence: ClassVar[bool] = False
    needs_decoder: ClassVar[bool] = False
    methods: ClassVar[tuple[str, ...]] = ("classify",)

    @property
    def longest(self) -> int:
        """1."""
        return 1

    @property
    def row_format(self) -> RowFormat:
        """1 for each label that is present, and 0 for the others."""
        return RowFormat("float32", (len(self.labels),))

    def describe(self, value: Any) -> str:
        """The labels, separated by commas."""
        return ", ".join(value)

    def random_value(self, rng: Random, length: int) -> Any:  # noqa: ARG002
        """Each label with a probability of one half."""
        return [rng.randint(0, 1) for _ in self.labels]

    def make_target_embedding(self, d_model: int) -> nn.Module | None:  # noqa: ARG002
        """None: labels are predicted from the pooled vector."""
        return None

    def collate_targets(
        self, encoded: Sequence[Any], device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor | None]:
        """Stack the vectors of zeros and ones."""
        rows = [torch.as_tensor(np.asarray(each), dtype=dtype) for each in encoded]
        return torch.stack(rows).to(device), None

    def labels_of(self, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """One vector of zeros and ones per example."""
        return batch.target[:, None], ~batch.is_duplicate[:, None]

    def count_items(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """One per label and example."""
        return np.full_like(lengths, len(self.labels))

    def compute_loss(
        self, hidden: Tensor, labels: Tensor, head: nn.Linear, *, smoothing: float = 0.0
    ) -> TargetLoss:
        """The binary cross-entropy of each label, weighted by `weights` where it is present."""
        outputs = head(hidden)
        labels = labels.to(outputs)
        weights = None if self.weights is None else outputs.new_tensor(self.weights)
        smooth = labels * (1 - smoothing) + smoothing / 2
        loss = nn.functional.binary_cross_entropy_with_logits(
            outputs, smooth, pos_weight=weights, reduction="sum"
        )
        nll = nn.functional.binary_cross_entropy_with_logits(
            outputs.detach(), labels, reduction="none"
        )
        predicted = outputs.detach() > 0
        count = torch.tensor(labels.numel())
        return TargetLoss(loss, count, nll, predicted == (labels > 0), predicted)

    def item_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The summed binary cross-entropy."""
        return nn.functional.binary_cross_entropy_with_logits(
            outputs, labels.to(outputs), reduction="none"
        ).sum(-1)

    def make_metrics(self) -> MultiLabelStatistics:
        """Loss, accuracy, exact match and F1."""
        return MultiLabelStatistics(self.labels)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """The probability of each label, `… labels`, from as many logits, each independent."""
        return outputs.sigmoid()

    def decode_outputs(self, outputs: Tensor) -> list[Any]:
        """The labels with a probability above one half, in the order of their ids."""
        return self.decode_labels(outputs > 0)

    def decode_labels(self, target: Tensor) -> list[Any]:
        """The labels that are present."""
        return [
            [label for label, present in zip(self.labels, row, strict=True) if present > 0]
            for row in target.tolist()
        ]
