"""Entropy, against what is known by hand."""

from __future__ import annotations

import math

import pytest
import torch

from seqlearn.introspect import entropy, head_entropy


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
