"""Metrics that torchmetrics lacks, computed from sums over all batches and ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from sacrebleu.metrics.bleu import BLEU
from torch import Tensor
from torchmetrics import Metric


class TokenStatistics(Metric):
    """Loss, perplexity, token accuracy and exact match of targets predicted by teacher forcing.

    A sentence is an exact match if each of its tokens is the most probable one given the true
    tokens before it. Greedy decoding then generates exactly this sentence, so the exact match of
    greedy decoding is known without decoding.

    Examples:
        >>> metric = TokenStatistics()
        >>> correct = torch.tensor([True, True, False])
        >>> mask = torch.tensor([[True, True], [True, False]])
        >>> metric.update(torch.zeros(3), correct, mask)
        >>> metric.compute()["exact_match"]
        tensor(0.5000)
    """

    full_state_update = False
    nll: Tensor
    tokens: Tensor
    right_tokens: Tensor
    sentences: Tensor
    right_sentences: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("nll", torch.zeros(()), dist_reduce_fx="sum")
        for name in ("tokens", "right_tokens", "sentences", "right_sentences"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(
        self,
        nll: Float[Tensor, " tokens"],
        correct: Bool[Tensor, " tokens"],
        mask: Bool[Tensor, "batch time"],
        labels: Tensor | None = None,  # noqa: ARG002 -- as the other metrics have it
        predicted: Tensor | None = None,  # noqa: ARG002
    ) -> None:
        """Add a batch.

        Args:
            nll: Negative log-likelihood in nats of each token that is True in `mask`.
            correct: Whether each of these tokens was the most probable one.
            mask: True for counted tokens. Rows without counted tokens are not sentences.
            labels: Not used.
            predicted: Not used.
        """
        # Not in place: after `Trainer.validate` the sums are inference tensors.
        wrong = torch.zeros_like(mask)
        wrong[mask] = ~correct
        counts = mask.any(-1)
        self.nll = self.nll + nll.float().sum()
        self.tokens = self.tokens + mask.sum()
        self.right_tokens = self.right_tokens + correct.sum()
        self.sentences = self.sentences + counts.sum()
        self.right_sentences = self.right_sentences + (counts & ~wrong.any(-1)).sum()

    def compute(self) -> dict[str, Tensor]:
        """Compute `loss` (nats per token), `perplexity`, and two fractions from 0 to 1.

        The fractions are `token_accuracy` and `exact_match`.
        """
        loss = self.nll / self.tokens
        return {
            "loss": loss,
            "perplexity": loss.exp(),
            "token_accuracy": self.right_tokens / self.tokens,
            "exact_match": self.right_sentences / self.sentences,
        }


class ClassStatistics(Metric):
    """Loss, accuracy and F1 of predicted classes, one or several per example.

    Args:
        labels: The names of the classes, in the order of their ids; without them only loss and
            accuracy are computed.

    Attributes:
        confusion: How often each class (row) was predicted as each class (column), on this rank.

    Examples:
        >>> metric = ClassStatistics(("cat", "dog"))
        >>> labels, predicted = torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0])
        >>> mask = torch.ones(3, 1).bool()
        >>> metric.update(torch.zeros(3), labels == predicted, mask, labels, predicted)
        >>> {name: round(figure.item(), 3) for name, figure in metric.compute().items()}
        {'loss': 0.0, 'accuracy': 0.667, 'f1': 0.667, 'f1/cat': 0.667, 'f1/dog': 0.667}
    """

    full_state_update = False
    nll: Tensor
    examples: Tensor
    right_examples: Tensor
    confusion: Tensor

    def __init__(self, labels: Sequence[str] = ()) -> None:
        super().__init__()
        self.labels = tuple(labels)
        self.add_state("nll", torch.zeros(()), dist_reduce_fx="sum")
        for name in ("examples", "right_examples"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        square = torch.zeros(len(labels), len(labels), dtype=torch.long)
        self.add_state("confusion", square, dist_reduce_fx="sum")

    def update(
        self,
        nll: Float[Tensor, "*items"],
        correct: Bool[Tensor, "*items"],
        mask: Bool[Tensor, "batch time"],  # noqa: ARG002 -- as the other metrics have it
        labels: Tensor | None = None,
        predicted: Tensor | None = None,
    ) -> None:
        """Add a batch: for each counted item its loss in nats, and whether it is correct.

        Args:
            nll: The losses.
            correct: Whether each prediction is right.
            mask: Not used.
            labels: The class ids, `examples`; needed if the metric has labels.
            predicted: The predicted class ids, `examples`.
        """
        # Not in place: after `Trainer.validate` the sums are inference tensors.
        self.nll = self.nll + nll.float().sum()
        self.examples = self.examples + nll.numel()
        self.right_examples = self.right_examples + correct.sum()
        if self.labels and labels is not None and predicted is not None:
            count = len(self.labels)
            pairs = torch.bincount(labels * count + predicted, minlength=count * count)
            self.confusion = self.confusion + pairs.view(count, count)

    def compute(self) -> dict[str, Tensor]:
        """Compute `loss` (nats per item), `accuracy`, and with labels F1; all but loss 0 to 1.

        `f1` is the unweighted mean over the classes that occur as label or prediction;
        `f1/LABEL` is that of one class, 0 if it does not occur.
        """
        figures = {
            "loss": self.nll / self.examples,
            "accuracy": self.right_examples / self.examples,
        }
        if not self.labels:
            return figures
        right = self.confusion.diagonal()
        occurring = self.confusion.sum(0) + self.confusion.sum(1)
        f1 = 2 * right / occurring.clamp(min=1)
        figures["f1"] = f1.sum() / (occurring > 0).sum().clamp(min=1)
        return figures | {f"f1/{label}": f1[n] for n, label in enumerate(self.labels)}


class MultiLabelStatistics(Metric):
    """Loss, accuracy, exact match and F1 of predictions of any number of labels per example.

    Args:
        labels: The names of the labels.

    Examples:
        >>> metric = MultiLabelStatistics(("cheap", "fast"))
        >>> labels, predicted = torch.tensor([[1.0, 0.0]]), torch.tensor([[True, True]])
        >>> mask = torch.ones(1, 1).bool()
        >>> metric.update(torch.zeros(1, 2), labels == predicted, mask, labels, predicted)
        >>> {n: round(f.item(), 2) for n, f in metric.compute().items()}  # doctest: +ELLIPSIS
        {'loss': 0.0, 'accuracy': 0.5, 'exact_match': 0.0, 'f1': 0.5, 'f1/cheap': 1.0, ...}
    """

    full_state_update = False
    nll: Tensor
    counts: Tensor

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__()
        self.labels = tuple(labels)
        self.add_state("nll", torch.zeros(()), dist_reduce_fx="sum")
        # Examples, and those with all labels right; then of each label: present in both, present.
        counts = torch.zeros(2 + 2 * len(labels), dtype=torch.long)
        self.add_state("counts", counts, dist_reduce_fx="sum")

    def update(
        self,
        nll: Float[Tensor, "examples labels"],
        correct: Bool[Tensor, "examples labels"],
        mask: Tensor,  # noqa: ARG002
        labels: Float[Tensor, "examples labels"] | None = None,
        predicted: Bool[Tensor, "examples labels"] | None = None,
    ) -> None:
        """Add the losses in nats, and whether each label is present and predicted.

        The `mask`, of the same shape, is not used.
        """
        assert labels is not None
        assert predicted is not None
        there = labels > 0
        self.nll = self.nll + nll.float().sum()
        total = torch.tensor([len(correct)], device=correct.device)
        right = correct.all(1).sum()[None]
        both, either = (there & predicted).sum(0), there.sum(0) + predicted.sum(0)
        self.counts = self.counts + torch.cat([total, right, both, either])

    def compute(self) -> dict[str, Tensor]:
        """Compute `loss` (nats per label), `accuracy` of decisions, `exact_match`, and F1.

        `f1` is the mean over the labels that occur as label or prediction.
        """
        (total, right), (both, either) = self.counts[:2], self.counts[2:].view(2, -1)
        wrong = (either - 2 * both).sum()
        decisions = total * len(self.labels)
        f1 = 2 * both / either.clamp(min=1)
        return {
            "loss": self.nll / decisions,
            "accuracy": (decisions - wrong) / decisions,
            "exact_match": right / total,
            "f1": f1.sum() / (either > 0).sum().clamp(min=1),
        } | {f"f1/{label}": f1[n] for n, label in enumerate(self.labels)}


class VectorStatistics(Metric):
    """Loss, mean absolute error, root of the mean squared error, and R² of predicted vectors.

    Args:
        size: Numbers of a vector.
        std: Standard deviations by which labels and predictions were divided; the loss is of the
            divided numbers, the other figures are in the units of the data.

    Examples:
        >>> metric = VectorStatistics(1, std=(2.0,))
        >>> labels, predicted = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]])
        >>> error = (labels - predicted).square()
        >>> metric.update(error, error == 0, torch.ones(2, 1).bool(), labels, predicted)
        >>> {name: round(figure.item(), 3) for name, figure in metric.compute().items()}
        {'loss': 0.5, 'mae': 1.0, 'rmse': 1.414, 'r2': -1.0}
    """

    full_state_update = False
    total: Tensor
    count: Tensor
    vectors: Tensor
    sums: Tensor

    def __init__(self, size: int = 1, std: Sequence[float] | None = None) -> None:
        super().__init__()
        self.std = tuple(std or (1.0,) * size)
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        for name in ("count", "vectors"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        # Of each number: absolute error, squared error, label, squared label. Apple's GPUs lack
        # double precision.
        exact = torch.float if torch.backends.mps.is_available() else torch.double
        self.add_state("sums", torch.zeros(4, size, dtype=exact), dist_reduce_fx="sum")

    def update(
        self,
        nll: Float[Tensor, "*numbers"],
        correct: Tensor,  # noqa: ARG002
        mask: Tensor,  # noqa: ARG002
        labels: Float[Tensor, "vectors size"] | None = None,
        predicted: Float[Tensor, "vectors size"] | None = None,
    ) -> None:
        """Add a batch.

        Args:
            nll: The squared error of each counted number.
            correct: Not used.
            mask: Not used.
            labels: The vectors to predict.
            predicted: The predicted vectors.
        """
        # Not in place: after `Trainer.validate` the sums are inference tensors.
        self.total = self.total + nll.float().sum()
        self.count = self.count + nll.numel()
        if labels is None or predicted is None:
            return
        labels, error = labels.to(self.sums), predicted.to(self.sums) - labels.to(self.sums)
        parts = torch.stack([error.abs(), error.square(), labels, labels.square()])
        self.sums = self.sums + parts.sum(1)
        self.vectors = self.vectors + len(labels)

    def compute(self) -> dict[str, Tensor]:
        """Compute `loss` (the mean squared error as trained), `mae`, `rmse` and `r2`.

        `r2` is the mean over the numbers of a vector; a number that is the same in all labels is
        left out, and without any other it is 0.
        """
        figures = {"loss": self.total / self.count}
        if not self.vectors:
            return figures
        std = torch.tensor(self.std).to(self.sums)
        absolute, squared, label, squared_label = self.sums / self.vectors
        variance = squared_label - label.square()
        varies = variance > 1e-12 * squared_label
        r2 = (1 - squared / variance.clamp(min=1e-30))[varies].sum() / varies.sum().clamp(min=1)
        figures["mae"] = (absolute * std).mean().float()
        figures["rmse"] = (squared * std.square()).mean().sqrt().float()
        return figures | {"r2": r2.float()}


class TextExactMatch(Metric):
    """The fraction of texts that equal their reference, from counts that add up over ranks.

    Examples:
        >>> metric = TextExactMatch()
        >>> metric.update(["a b", "c"], ["a b", "d"])
        >>> metric.compute()
        tensor(0.5000)
    """

    full_state_update = False
    equal: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("equal", "total"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, texts: Sequence[str], references: Sequence[str]) -> None:
        """Add texts and their references, one per text."""
        equal = sum(text == reference for text, reference in zip(texts, references, strict=True))
        # Not in place: after `Trainer.validate` the sums are inference tensors.
        self.equal, self.total = self.equal + equal, self.total + len(texts)

    def compute(self) -> Tensor:
        """Compute the fraction, a scalar from 0 to 1."""
        return self.equal / self.total


class CorpusBLEU(Metric):
    """Corpus BLEU of sacreBLEU, computed from n-gram counts summed over batches and ranks.

    Args:
        lowercase: Whether to ignore case (`-lc` of sacreBLEU).
        tokenize: The name of the tokenizer in sacreBLEU.

    Examples:
        >>> metric = CorpusBLEU()
        >>> metric.update(["a cat sat on a mat"], ["a cat sat on a mat"])
        >>> round(metric.compute().item(), 2)
        100.0

    Source: Papineni et al. 2002; Post 2018 for the signature.
    """

    full_state_update = False
    counts: Tensor
    totals: Tensor
    lengths: Tensor

    def __init__(self, *, lowercase: bool = False, tokenize: str = "13a") -> None:
        super().__init__()
        self.lowercase, self.tokenize = lowercase, tokenize
        self.add_state("counts", torch.zeros(4, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("totals", torch.zeros(4, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("lengths", torch.zeros(2, dtype=torch.long), dist_reduce_fx="sum")

    @property
    def signature(self) -> str:
        """The signature of sacreBLEU, which states how BLEU was computed."""
        bleu = self._bleu()
        bleu.corpus_score(["a"], [["a"]])
        return str(bleu.get_signature())

    def update(self, hypotheses: Sequence[str], references: Sequence[str]) -> None:
        """Add sentences and their references, one per sentence."""
        if not hypotheses:
            return
        score = self._bleu().corpus_score(list(hypotheses), [list(references)])
        device = self.counts.device
        self.counts = self.counts + torch.tensor(score.counts, device=device)
        self.totals = self.totals + torch.tensor(score.totals, device=device)
        self.lengths = self.lengths + torch.tensor([score.sys_len, score.ref_len], device=device)

    def compute(self) -> Tensor:
        """Compute BLEU, a scalar from 0 to 100."""
        score = BLEU.compute_bleu(
            correct=self.counts.tolist(),
            total=self.totals.tolist(),
            sys_len=int(self.lengths[0]),
            ref_len=int(self.lengths[1]),
            smooth_method="exp",
        )
        return torch.tensor(0.0 if math.isnan(score.score) else score.score)

    def _bleu(self) -> BLEU:
        return BLEU(lowercase=self.lowercase, tokenize=self.tokenize)
