"""Measures of attention, against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from seqlearn.introspect import (
    entropy,
    hard_alignment,
    head_agreement,
    head_entropy,
    mean_attention_distance,
    rollout,
    soft_alignment,
)


def test_one_key_has_none_and_even_weights_have_the_logarithm_of_their_number() -> None:
    weights = torch.zeros(1, 1, 4, 8)
    weights[0, 0, 0, 3] = 1.0
    weights[0, 0, 1] = 1 / 8
    weights[0, 0, 2, :2] = torch.tensor([0.25, 0.75])
    expected = torch.tensor([0.0, math.log(8), -0.25 * math.log(0.25) - 0.75 * math.log(0.75), 0.0])
    assert torch.allclose(entropy(weights)[0, 0], expected)


def test_no_key_at_all_gives_zero() -> None:
    assert torch.equal(entropy(torch.zeros(1, 2, 3, 0)), torch.zeros(1, 2, 3))


def test_half_precision_is_summed_in_single() -> None:
    weights = torch.full((1, 1, 1, 1024), 1 / 1024, dtype=torch.bfloat16)
    assert entropy(weights).item() == pytest.approx(math.log(1024), rel=1e-6)
    assert entropy(weights.double()).dtype == torch.float64


def test_only_real_queries_count() -> None:
    weights = torch.zeros(2, 2, 2, 4)
    weights[:, 0, :, 0] = 1.0
    weights[:, 1] = 0.25
    weights[1, 0, 1] = 0.25
    queries = torch.tensor([[True, True], [True, False]])
    assert head_entropy(weights, queries).tolist() == pytest.approx([0.0, math.log(4)])
    assert head_entropy(weights, torch.zeros(2, 2, dtype=torch.bool)).tolist() == [0.0, 0.0]


def real(*shape: int) -> torch.Tensor:
    return torch.ones(*shape, dtype=torch.bool)


def test_a_head_that_looks_at_the_token_before_looks_one_token_far() -> None:
    before = torch.eye(5).roll(-1, 1)  # query 0 attends to key 4: four tokens
    even = torch.full((5, 5), 0.2)
    weights = torch.stack([torch.eye(5), before, even])[None]
    position = torch.arange(5.0)
    mean = (position[:, None] - position).abs().mean().item()
    found = mean_attention_distance(weights, real(1, 5))
    assert found.tolist() == pytest.approx([0.0, 8 / 5, mean])
    queries = torch.tensor([[False, True, True, True, True]])
    assert mean_attention_distance(weights, queries)[1].item() == pytest.approx(1.0)
    assert mean_attention_distance(weights, ~real(1, 5)).tolist() == [0.0, 0.0, 0.0]


def test_distance_and_rollout_need_self_attention() -> None:
    cross = torch.rand(1, 2, 3, 4)
    with pytest.raises(ValueError, match="3 queries and 4 keys"):
        mean_attention_distance(cross, real(1, 3))
    with pytest.raises(ValueError, match="3 queries and 4 keys"):
        rollout([cross])
    with pytest.raises(ValueError, match="at least one layer"):
        rollout([])
    with pytest.raises(ValueError, match=r"same number of tokens, got \[2, 3\]"):
        rollout([torch.rand(1, 2, 3, 3), torch.rand(1, 2, 2, 2)])


def test_rollout_multiplies_the_first_layer_first() -> None:
    first, second = torch.rand(2, 3, 4, 4).softmax(-1), torch.rand(2, 2, 4, 4).softmax(-1)
    first[1, :, 3] = 0  # a padded token has no visible key: the identity remains
    one = 0.5 * first.mean(1) + 0.5 * torch.eye(4)
    one[1, 3] = torch.eye(4)[3]
    two = 0.5 * second.mean(1) + 0.5 * torch.eye(4)
    torch.testing.assert_close(rollout([first, second]), two @ one)
    assert torch.allclose(rollout([first, second, first]).sum(-1), torch.ones(2, 4))


def test_agreement_is_one_of_equal_heads_and_zero_of_heads_without_a_common_key() -> None:
    weights = torch.zeros(1, 4, 2, 4)
    weights[0, 0, :, 0] = 1
    weights[0, 1, :, 0] = 1
    weights[0, 2, :, 3] = 1
    weights[0, 3] = 0.25
    found = head_agreement(weights, real(1, 2))
    assert torch.allclose(found, found.T)
    assert torch.allclose(found.diagonal(), torch.ones(4))
    # By hand: one key against four even ones.
    half = torch.tensor([0.625, 0.125, 0.125, 0.125])
    divergence = (-(half * half.log()).sum() - math.log(4) / 2).item()
    assert found[0].tolist() == pytest.approx([1, 1, 0, 1 - divergence / math.log(2)], abs=1e-6)
    weights[0, 1, 1] = torch.tensor([0.0, 1, 0, 0])
    assert head_agreement(weights, real(1, 2))[0, 1].item() == pytest.approx(0.5)
    assert head_agreement(weights, torch.tensor([[True, False]]))[0, 1].item() == pytest.approx(1)
    assert not head_agreement(weights, ~real(1, 2)).any()


def test_agreement_is_between_zero_and_one() -> None:
    weights = (torch.randn(2, 5, 6, 7) * 4).softmax(-1)
    found = head_agreement(weights, real(2, 6))
    assert ((found >= 0) & (found <= 1)).all()


def test_alignment() -> None:
    weights = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])[None, None]
    assert hard_alignment(weights)[0, 0].tolist() == [2, 0, -1]
    assert soft_alignment(weights)[0, 0].tolist() == pytest.approx([1.6, 0.5, -1.0])
    nothing = torch.zeros(1, 1, 2, 0)
    assert hard_alignment(nothing).tolist() == soft_alignment(nothing).tolist() == [[[-1, -1]]]
    long = torch.zeros(1, 1, 1, 1001, dtype=torch.bfloat16)
    long[..., 999:] = 0.5
    assert soft_alignment(long).item() == 999.5
