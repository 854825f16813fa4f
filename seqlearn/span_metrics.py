"""Precision, recall and F1 of spans, such as named entities, in labels of the scheme IOB2.

Source: Tjong Kim Sang and De Meulder 2003, section 2.3, for the figures; nervaluate counts.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric


class SpanStatistics(Metric):
    """Loss and accuracy of words, and precision, recall and F1 of the spans that they form.

    A span is `B-TYPE` and each `I-TYPE` that follows. It is right if its first word, last word and
    type are. A predicted `I-TYPE` that continues no span of its type begins one, as in the
    evaluation of CoNLL. The sums add up over batches and processes; a sentence is never divided.

    Args:
        labels: The labels, in the order of their ids: `O`, `B-TYPE` and `I-TYPE`.

    Attributes:
        confusion: How often each label (row) was predicted as each label (column), on this rank.

    Raises:
        ModuleNotFoundError: In `update`, if nervaluate is not installed (extra `tags`).

    Examples:
        >>> metric = SpanStatistics(("B-city", "I-city", "O"))
        >>> metric.types
        ('city',)
    """

    full_state_update = False
    nll: Tensor
    words: Tensor
    right_words: Tensor
    spans: Tensor
    confusion: Tensor

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__()
        self.labels = tuple(labels)
        self.types = tuple(sorted({label[2:] for label in labels if label != "O"}))
        self.add_state("nll", torch.zeros(()), dist_reduce_fx="sum")
        for name in ("words", "right_words"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        # Of each type: spans that are right, predicted, expected.
        counts = torch.zeros(3, len(self.types), dtype=torch.long)
        self.add_state("spans", counts, dist_reduce_fx="sum")
        square = torch.zeros(len(labels), len(labels), dtype=torch.long)
        self.add_state("confusion", square, dist_reduce_fx="sum")

    def update(
        self,
        nll: Float[Tensor, " words"],
        correct: Bool[Tensor, " words"],
        mask: Bool[Tensor, "batch time"],
        labels: Int[Tensor, " words"],
        predicted: Int[Tensor, " words"],
    ) -> None:
        """Add a batch.

        Args:
            nll: The loss in nats of each word that is True in `mask`.
            correct: Whether the label of each of these words is right.
            mask: True for counted words; a row is a sentence.
            labels: The ids of the labels.
            predicted: The ids of the predicted labels.
        """
        # Not in place: after `Trainer.validate` the sums are inference tensors.
        self.nll = self.nll + nll.float().sum()
        self.words = self.words + nll.numel()
        self.right_words = self.right_words + correct.sum()
        count = len(self.labels)
        pairs = torch.bincount(labels * count + predicted, minlength=count * count)
        self.confusion = self.confusion + pairs.view(count, count)
        sizes = mask.sum(-1).tolist()
        names = [self._sentences(ids, sizes) for ids in (labels, predicted)]
        self.spans = self.spans + torch.tensor(self._count(*names)).to(self.spans)

    def compute(self) -> dict[str, Tensor]:
        """Compute `loss` (nats per word), `accuracy`, `precision`, `recall` and `f1`.

        The last three are of spans, over all types; `f1/TYPE` is that of one type. All but the loss
        are from 0 to 1, and 0 where there is no span.
        """
        right, predicted, expected = self.spans
        by_type = 2 * right / (predicted + expected).clamp(min=1)
        total, all_predicted, all_expected = self.spans.sum(1)
        figures = {
            "loss": self.nll / self.words,
            "accuracy": self.right_words / self.words,
            "precision": total / all_predicted.clamp(min=1),
            "recall": total / all_expected.clamp(min=1),
            "f1": 2 * total / (all_predicted + all_expected).clamp(min=1),
        }
        return figures | {f"f1/{kind}": by_type[n] for n, kind in enumerate(self.types)}

    def _sentences(self, ids: Tensor, sizes: Sequence[int]) -> list[list[str]]:
        """The labels of each sentence."""
        names = [self.labels[number] for number in ids.tolist()]
        sentences, begin = [], 0
        for size in sizes:
            sentences.append(names[begin : begin + size])
            begin += size
        return sentences

    def _count(self, expected: list[list[str]], predicted: list[list[str]]) -> list[list[int]]:
        """How many spans of each type are right, predicted and expected."""
        evaluator = _nervaluate().Evaluator(expected, predicted, tags=self.types, loader="list")
        by_type = evaluator.evaluate()["entities"]
        found: list[Any] = [by_type.get(kind, {}).get("strict") for kind in self.types]
        return [
            [0 if one is None else int(getattr(one, name)) for one in found]
            for name in ("correct", "actual", "possible")
        ]


def _nervaluate() -> Any:
    """The package nervaluate.

    Raises:
        ModuleNotFoundError: If it is not installed.
    """
    try:
        return importlib.import_module("nervaluate")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "F1 of spans needs nervaluate, which is not installed; "
            "in a clone of seqlearn: pip install -c constraints.txt '.[tags]'",
            name="nervaluate",
        ) from error
