"""Figures are those of sacreBLEU and torchmetrics, however the corpus is cut into batches."""

from __future__ import annotations

import pytest
import sacrebleu
import torch
from torchmetrics.text import Perplexity

from seqlearn.metrics import CorpusBLEU, TokenStatistics

HYPOTHESES = ["The cat sat on the mat .", "A dog runs in the park", "hello world", ""]
REFERENCES = ["the cat sat on the mat.", "A dog is running in the park", "Hello world!", "nothing"]


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_bleu_equals_sacrebleu_for_any_batches(lowercase: bool, size: int) -> None:
    metric = CorpusBLEU(lowercase=lowercase)
    for start in range(0, len(HYPOTHESES), size):
        metric.update(HYPOTHESES[start : start + size], REFERENCES[start : start + size])
    metric.update([], [])
    peer = sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES], lowercase=lowercase)
    assert metric.compute().item() == pytest.approx(peer.score, abs=1e-4)


def test_bleu_says_how_it_was_made() -> None:
    assert "case:lc" in CorpusBLEU(lowercase=True).signature
    assert "tok:13a" in CorpusBLEU().signature


def test_bleu_of_nothing_in_common_is_zero() -> None:
    metric = CorpusBLEU()
    metric.update(["a b c d e"], ["v w x y z"])
    assert metric.compute().item() == 0.0


def test_statistics_equal_torchmetrics_and_counting() -> None:
    logits = torch.randn(3, 4, 6)
    labels = torch.randint(6, (3, 4))
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]).bool()
    labels[0, :3] = logits[0, :3].argmax(-1)
    labels[1, 0] = logits[1, 0].argmin(-1)
    metric = TokenStatistics()
    for row in range(3):
        rows = slice(row, row + 1)
        flat, truth = logits[rows][mask[rows]], labels[rows][mask[rows]]
        nll = -flat.log_softmax(-1).gather(-1, truth[:, None]).squeeze(-1)
        metric.update(nll, flat.argmax(-1) == truth, mask[rows])
    peer = Perplexity(ignore_index=-1)
    peer.update(logits, labels.masked_fill(~mask, -1))
    figures = metric.compute()
    torch.testing.assert_close(figures["perplexity"], peer.compute())
    torch.testing.assert_close(figures["loss"], peer.compute().log())
    assert figures["token_accuracy"].item() == pytest.approx(3 / 4)
    assert figures["exact_match"].item() == pytest.approx(1 / 2)
