"""What torchmetrics does not have: figures of a whole corpus from sums that add up over ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from sacrebleu.metrics.bleu import BLEU
from torch import Tensor
from torchmetrics import Metric


class TokenStatistics(Metric):
    """Loss, perplexity, token accuracy and exact match of targets that were predicted in parallel.

    A sentence is matched exactly when every one of its tokens is the likeliest given the true
    ones before it. Greedy decoding then makes just this sentence, so the exact match of greedy
    decoding is known without decoding.
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
            nll: Negative log-likelihood, in nats, of every token that is True in `mask`.
            correct: Whether each of these was the likeliest.
            mask: Which tokens of the batch count. Rows without any are left out.
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
        """`loss` (nats per token), `perplexity`, `token_accuracy` and `exact_match` (shares)."""
        loss = self.nll / self.tokens
        return {
            "loss": loss,
            "perplexity": loss.exp(),
            "token_accuracy": self.right_tokens / self.tokens,
            "exact_match": self.right_sentences / self.sentences,
        }


class ClassStatistics(Metric):
    """Loss and accuracy of predicted classes, one or several per example."""

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
        """Add a batch: the loss in nats of each item that counts, and whether it is right."""
        # Not in place: after `Trainer.validate` the sums are inference tensors.
        self.nll = self.nll + nll.float().sum()
        self.examples = self.examples + nll.numel()
        self.right_examples = self.right_examples + correct.sum()

    def compute(self) -> dict[str, Tensor]:
        """`loss` (nats per example) and `accuracy` (a share)."""
        return {
            "loss": self.nll / self.examples,
            "accuracy": self.right_examples / self.examples,
        }


class SquaredErrors(Metric):
    """The mean of squared errors over all numbers: their sum and their count, then the ratio."""

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
        """`loss`, the mean squared error."""
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
        """Add texts and their references, one each."""
        equal = sum(text == reference for text, reference in zip(texts, references, strict=True))
        # Not in place: after `Trainer.validate` the sums are inference tensors.
        self.equal, self.total = self.equal + equal, self.total + len(texts)

    def compute(self) -> Tensor:
        """The fraction, 0 to 1."""
        return self.equal / self.total


class CorpusBLEU(Metric):
    """BLEU of a corpus as sacreBLEU computes it, from sums that add up over batches and ranks.

    Args:
        lowercase: Whether case is ignored (sacreBLEU's `-lc`).
        tokenize: sacreBLEU's name for the tokeniser.

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
        """How the figure was made, in sacreBLEU's own words."""
        bleu = self._bleu()
        bleu.corpus_score(["a"], [["a"]])
        return str(bleu.get_signature())

    def update(self, hypotheses: Sequence[str], references: Sequence[str]) -> None:
        """Add sentences and their references, one each."""
        if not hypotheses:
            return
        score = self._bleu().corpus_score(list(hypotheses), [list(references)])
        device = self.counts.device
        self.counts = self.counts + torch.tensor(score.counts, device=device)
        self.totals = self.totals + torch.tensor(score.totals, device=device)
        self.lengths = self.lengths + torch.tensor([score.sys_len, score.ref_len], device=device)

    def compute(self) -> Tensor:
        """BLEU, from 0 to 100."""
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
