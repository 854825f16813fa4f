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

    Example:
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
    ) -> None:
        """Add a batch.

        Args:
            nll: Negative log-likelihood in nats of each token that is True in `mask`.
            correct: Whether each of these tokens was the most probable one.
            mask: True for counted tokens. Rows without counted tokens are not sentences.
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
    """Loss and accuracy of predicted classes, one or several per example.

    Example:
        >>> metric = ClassStatistics()
        >>> metric.update(torch.zeros(2), torch.tensor([True, False]), torch.ones(2, 1).bool())
        >>> metric.compute()["accuracy"]
        tensor(0.5000)
    """

    full_state_update = False
    nll: Tensor
    examples: Tensor
    right_examples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("nll", torch.zeros(()), dist_reduce_fx="sum")
        for name in ("examples", "right_examples"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(
        self,
        nll: Float[Tensor, "*items"],
        correct: Bool[Tensor, "*items"],
        mask: Bool[Tensor, "batch 1"],  # noqa: ARG002 -- as the other metrics have it
    ) -> None:
        """Add a batch: the loss in nats of each counted item, and whether it is correct."""
        # Not in place: after `Trainer.validate` the sums are inference tensors.
        self.nll = self.nll + nll.float().sum()
        self.examples = self.examples + nll.numel()
        self.right_examples = self.right_examples + correct.sum()

    def compute(self) -> dict[str, Tensor]:
        """Compute `loss` (nats per item) and `accuracy` (0 to 1)."""
        return {
            "loss": self.nll / self.examples,
            "accuracy": self.right_examples / self.examples,
        }


class SquaredErrors(Metric):
    """The mean squared error over all elements of the vectors."""

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, nll: Float[Tensor, "*numbers"], correct: Tensor, mask: Tensor) -> None:  # noqa: ARG002
        """Add the squared errors of a batch (`nll`), one for each number that counts."""
        # Not in place: after `Trainer.validate` the sums are inference tensors.
        self.total = self.total + nll.float().sum()
        self.count = self.count + nll.numel()

    def compute(self) -> dict[str, Tensor]:
        """Compute `loss`, the mean squared error."""
        return {"loss": self.total / self.count}


class TextExactMatch(Metric):
    """The fraction of texts that equal their reference, from counts that add up over ranks.

    Example:
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
        """Compute the fraction, 0 to 1."""
        return self.equal / self.total


class CorpusBLEU(Metric):
    """Corpus BLEU of sacreBLEU, computed from n-gram counts summed over batches and ranks.

    Args:
        lowercase: Whether to ignore case (`-lc` of sacreBLEU).
        tokenize: The name of the tokenizer in sacreBLEU.

    Example:
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
        """Compute BLEU, 0 to 100."""
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
