"""The most probable tokens of a vocabulary in groups equal those of the sorted vocabulary."""

from __future__ import annotations

import pytest
import torch

from seqlearn.decoding.top_tokens import GROUP_SIZE, MIN_VOCABULARY, TopTokens

SIZES = [5, MIN_VOCABULARY - 1, MIN_VOCABULARY, MIN_VOCABULARY + 1, 1500]
SUPPRESS = [[], [0, 1, 2], [0, 1, 64, 65, 1023]]


def drawn(vocab: int, rows: int, seed: int) -> torch.Tensor:
    """Logits without two equal ones in a row, some of them -∞."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.stack([torch.randperm(vocab, generator=generator) for _ in range(rows)])
    logits = logits / 8 + torch.arange(rows)[:, None] / (8 * rows + 8)
    logits[:, 4] = float("-inf")
    return logits


@pytest.mark.parametrize("vocab", SIZES)
@pytest.mark.parametrize("suppress", SUPPRESS, ids=len)
def test_the_best_token(vocab: int, suppress: list[int]) -> None:
    suppress = [each for each in suppress if each < vocab]
    logits = drawn(vocab, 20, seed=vocab)
    logits[:5, suppress] += 2 * vocab
    found, largest = TopTokens(vocab, suppress, logits.device).best(logits)
    assert torch.equal(largest, logits.amax(-1))
    logits[:, suppress] = float("-inf")
    assert found.tolist() == logits.argmax(-1).tolist()


@pytest.mark.parametrize("vocab", SIZES)
@pytest.mark.parametrize("suppress", SUPPRESS, ids=len)
@pytest.mark.parametrize(("beams", "size"), [(1, 2), (5, 10), (3, 100), (2, 4000)])
def test_the_best_continuations(vocab: int, suppress: list[int], beams: int, size: int) -> None:
    suppress = [each for each in suppress if each < vocab]
    logits = drawn(vocab, 4 * beams, seed=beams)
    logits[::2, suppress] += 2 * vocab
    shift = torch.randn(4, beams, generator=torch.Generator().manual_seed(size)).round()
    best, rows, tokens = TopTokens(vocab, suppress, logits.device).continuations(
        logits, shift, size
    )
    logits[:, suppress] = float("-inf")
    expected, at = (logits.view(4, beams, -1) + shift[..., None]).flatten(1).topk(best.shape[1])
    assert best.shape[1] == min(size, beams * vocab)
    assert torch.equal(best, expected)
    finite = expected > float("-inf")
    assert torch.equal(rows[finite], (at // vocab + torch.arange(4)[:, None] * beams)[finite])
    assert torch.equal(tokens[finite], (at % vocab)[finite])
    assert int(tokens.max()) < vocab  # a continuation that cannot be may be fed to the model


def test_equal_logits_give_different_tokens() -> None:
    logits = torch.zeros(2, 3 * MIN_VOCABULARY)
    top = TopTokens(logits.shape[1], [0, 1, 2], logits.device)
    best, rows, tokens = top.continuations(logits, torch.zeros(1, 2), 2 * GROUP_SIZE)
    assert not best.any()
    pairs = set(zip(rows[0].tolist(), tokens[0].tolist(), strict=True))
    assert len(pairs) == 2 * GROUP_SIZE
    assert min(token for _, token in pairs) > 2
