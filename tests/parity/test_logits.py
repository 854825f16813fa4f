"""Logits processors equal Hugging Face's; `test_beam_search.py` compares whole texts."""

from __future__ import annotations

import pytest
import torch

from seqlearn.batch import END
from seqlearn.decoding import MinNewTokens, NoRepeatNGram, RepetitionPenalty

transformers = pytest.importorskip("transformers")

VOCAB, ROWS = 11, 40


def history(length: int) -> torch.Tensor:
    """Few different tokens, so that n-grams repeat."""
    return torch.randint(3, 7, (ROWS, length), generator=torch.Generator().manual_seed(length))


def logits() -> torch.Tensor:
    drawn = torch.randn(ROWS, VOCAB, generator=torch.Generator().manual_seed(0)) * 3
    drawn[:, 0] = 0.0
    drawn[::3, 5] = -torch.inf
    return drawn


@pytest.mark.parametrize("log_p", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("value", [1, 2, 3, 4])
def test_each_processor(value: int, length: int, log_p: bool) -> None:
    ids, scores = history(length), logits()
    scores = scores.log_softmax(-1) if log_p else scores
    given = scores.clone()
    pairs = [
        (RepetitionPenalty(value / 2), transformers.RepetitionPenaltyLogitsProcessor(value / 2)),
        (NoRepeatNGram(value), transformers.NoRepeatNGramLogitsProcessor(value)),
        (
            MinNewTokens(value, 2),
            transformers.MinNewTokensLengthLogitsProcessor(2, value, torch.tensor([END])),
        ),
    ]
    for mine, theirs in pairs:
        expected = theirs(ids, scores.clone())
        torch.testing.assert_close(mine(ids, scores), expected, atol=0, rtol=0)
        assert torch.equal(scores, given)
