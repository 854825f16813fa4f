"""Each score is held to a plain loop over its paper's equation, in float64."""

from __future__ import annotations

import math

import jaxtyping
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import seqlearn as sl
from seqlearn.batch import length_mask
from seqlearn.nn import LuongAttention

SCORES = ("dot", "general", "additive", "scaled_dot")
WIDTH = 4
Numbers = list[float]


def times(matrix: list[Numbers], vector: Numbers) -> Numbers:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def score_by_hand(attention: LuongAttention, s: Numbers, h: Numbers) -> float:
    """How well the decoder state `s` fits the encoder state `h`."""
    weights = {name: value.tolist() for name, value in attention.state_dict().items()}
    if attention.score == "general":  # s · W h
        return sum(a * b for a, b in zip(s, times(weights["key.weight"], h), strict=True))
    if attention.score == "additive":  # v · tanh(W s + U h)
        both = zip(times(weights["query.weight"], s), times(weights["key.weight"], h), strict=True)
        return sum(v * math.tanh(a + b) for v, (a, b) in zip(weights["v"], both, strict=True))
    product = sum(a * b for a, b in zip(s, h, strict=True))
    return product / math.sqrt(len(s)) if attention.score == "scaled_dot" else product


def attend_by_hand(
    attention: LuongAttention, s: Numbers, states: list[Numbers]
) -> tuple[Numbers, Numbers]:
    """Weights over the states, and their weighted sum."""
    powers = [math.exp(score_by_hand(attention, s, h)) for h in states]
    weights = [power / sum(powers) for power in powers]
    context = [0.0] * len(s)
    for weight, h in zip(weights, states, strict=True):
        context = [c + weight * x for c, x in zip(context, h, strict=True)]
    return weights, context


@given(
    score=st.sampled_from(SCORES),
    seed=st.integers(0, 2**32 - 1),
    queries=st.integers(0, 3),
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    more=st.integers(0, 2),
)
def test_equals_a_loop_over_the_equation(
    score: str, seed: int, queries: int, lengths: list[int], more: int
) -> None:
    """Scores, weights and contexts of sources of any lengths, with garbage in the padding."""
    torch.manual_seed(seed)
    attention = LuongAttention(score, WIDTH).double()
    time = max(lengths) + more
    query = torch.randn(len(lengths), queries, WIDTH).double()
    states = torch.randn(len(lengths), time, WIDTH).double()
    mask = length_mask(torch.tensor(lengths), time)
    with torch.no_grad(), sl.record(attention) as recording:
        key = attention.project_keys(states)
        scores = attention.scores(query, key)
        contexts = attention(query, key, states, mask)
    weights = recording.attention[""]
    assert weights.shape == (len(lengths), 1, queries, time)
    assert (weights >= 0).all()
    for row, length in enumerate(lengths):
        real = states[row, :length].tolist()
        assert (weights[row, 0, :, length:] == 0).all()
        for number, s in enumerate(query[row].tolist()):
            by_hand = [score_by_hand(attention, s, h) for h in real]
            assert scores[row, number, :length].tolist() == pytest.approx(by_hand, abs=1e-10)
            expected, context = attend_by_hand(attention, s, real)
            assert weights[row, 0, number, :length].tolist() == pytest.approx(expected, abs=1e-10)
            assert contexts[row, number].tolist() == pytest.approx(context, abs=1e-10)
            assert float(weights[row, 0, number].sum()) == pytest.approx(float(length > 0))


@pytest.mark.parametrize("time", [0, 3])
@pytest.mark.parametrize("score", SCORES)
def test_an_empty_source_gives_zeros_and_finite_gradients(score: str, time: int) -> None:
    attention = LuongAttention(score, WIDTH)
    query = torch.randn(2, 3, WIDTH, requires_grad=True)
    states = torch.randn(2, time, WIDTH, requires_grad=True)
    mask = length_mask(torch.tensor([time, 0]), time)
    context = attention(query, attention.project_keys(states), states, mask)
    assert context.shape == (2, 3, WIDTH)
    assert (context[1] == 0).all()
    context.square().sum().backward()
    leaves = (query, states, *attention.parameters())
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)
    assert (query.grad[1] == 0).all()
    assert (states.grad[~mask] == 0).all()


@pytest.mark.parametrize("score", SCORES)
def test_recording_changes_no_bit(score: str) -> None:
    attention = LuongAttention(score, WIDTH)
    query, states = torch.randn(2, 3, WIDTH), torch.randn(2, 5, WIDTH)
    mask = length_mask(torch.tensor([5, 2]), 5)
    alone = attention(query, attention.project_keys(states), states, mask)
    with sl.record(attention):
        recorded = attention(query, attention.project_keys(states), states, mask)
    assert torch.equal(recorded, alone)


def test_weights_of_each_score() -> None:
    names = {score: set(dict(LuongAttention(score, WIDTH).named_parameters())) for score in SCORES}
    assert names == {
        "dot": set(),
        "scaled_dot": set(),
        "general": {"key.weight"},
        "additive": {"key.weight", "query.weight", "v"},
    }


def test_a_wrong_score_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is for users
    with pytest.raises(ValueError, match="'additive' or 'scaled_dot', got 'concat'"):
        LuongAttention("concat", WIDTH)
