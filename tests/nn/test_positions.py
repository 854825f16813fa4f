"""Encodings of positions: each equals its equation, and rotary attention sees distances alone."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqlearn.nn import (
    LearnedPositions,
    MultiHeadAttention,
    SinusoidalPositions,
    apply_rotary,
    make_position_encoding,
    rotary,
    sinusoidal,
)


def rotation(position: int, d_head: int) -> torch.Tensor:
    """The matrix of Su et al. 2021, equation 15, number by number."""
    matrix = torch.zeros(d_head, d_head, dtype=torch.float64)
    for i in range(d_head // 2):
        angle = position * 10000 ** (-2 * i / d_head)
        matrix[2 * i, 2 * i] = matrix[2 * i + 1, 2 * i + 1] = math.cos(angle)
        matrix[2 * i, 2 * i + 1] = -math.sin(angle)
        matrix[2 * i + 1, 2 * i] = math.sin(angle)
    return matrix


def test_rotary_is_the_papers_matrix() -> None:
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    turned = rotary(x, 5)
    for step in range(4):
        expected = x[..., step, :] @ rotation(5 + step, 6).T
        torch.testing.assert_close(turned[..., step, :], expected, atol=1e-6, rtol=1e-6)


@given(
    seed=st.integers(0, 2**32 - 1),
    start=st.integers(0, 5000),
    time=st.integers(0, 6),
    pairs=st.integers(1, 4),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_fast_path_equals_textbook(
    seed: int, start: int, time: int, pairs: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(seed)
    # Cut from a wider tensor and permuted, as heads are cut from a projection.
    x = torch.randn(2, time, 3, 2 * pairs).to(dtype).transpose(1, 2)
    x.requires_grad_()
    fast, textbook = apply_rotary(x, start), rotary(x, start)
    assert fast.dtype == textbook.dtype == dtype
    torch.testing.assert_close(fast, textbook)
    direction = torch.randn(fast.shape).to(dtype)
    made, expected = (torch.autograd.grad(turned, x, direction)[0] for turned in (fast, textbook))
    # The textbook's many small steps round each gradient to the dtype.
    close = {"atol": 2e-2, "rtol": 2e-2} if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(made, expected, **close)


def test_a_compiler_sees_the_textbook_form() -> None:
    x = torch.randn(1, 2, 3, 4)

    def no_complex(*_: object) -> None:
        raise AssertionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        patch.setattr(torch, "view_as_complex", no_complex)
        torch.testing.assert_close(apply_rotary(x, 7), rotary(x, 7))


@given(st.integers(0, 2**32 - 1), st.integers(0, 500), st.integers(0, 500))
def test_rotary_products_depend_on_the_distance_alone(seed: int, at: int, later: int) -> None:
    torch.manual_seed(seed)
    query, key = torch.randn(2, 1, 8)
    here = apply_rotary(query, at + later) @ apply_rotary(key, at).T
    torch.testing.assert_close(
        here, apply_rotary(query, later) @ apply_rotary(key, 0).T, atol=1e-3, rtol=1e-3
    )
    torch.testing.assert_close(apply_rotary(query, at).norm(), query.norm())


def test_rotary_attention_turns_queries_and_keys_but_no_values_and_no_memory() -> None:
    plain, turning = MultiHeadAttention(8, 2), MultiHeadAttention(8, 2, rotary=True)
    turning.load_state_dict(plain.state_dict())
    x, mask = torch.randn(2, 5, 8), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    query, key, value = plain._split(plain.projection(x), 3)
    scores = rotary(query, 0) @ rotary(key, 0).transpose(-2, -1) / 2.0
    weights = scores.masked_fill(~mask[:, None, None], -torch.inf).softmax(-1)
    expected = plain.output((weights @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(turning(x, mask), expected)
    assert not torch.allclose(plain(x, mask), expected, atol=1e-3)
    memory = turning.project_memory(x)
    torch.testing.assert_close(
        turning.cross_attention(x, memory, mask),
        plain.cross_attention(x, plain.project_memory(x), mask),
    )


def test_keys_are_cached_as_turned() -> None:
    attention = MultiHeadAttention(8, 2, rotary=True).eval()
    x = torch.randn(2, 6, 8)
    whole, _ = attention.causal_self_attention(x, None)
    _, cache = attention.causal_self_attention(x[:, :4], None)
    kept = cache.select(torch.tensor([1, 0]))
    _, key, _ = attention._split(attention.projection(x), 3)
    torch.testing.assert_close(cache._key[:, :, :4], rotary(key[:, :, :4], 0))
    rest, _ = attention.causal_self_attention(x[[1, 0], 4:], kept)
    torch.testing.assert_close(rest, whole[[1, 0], 4:])


def test_heads_of_odd_width_cannot_turn() -> None:
    with pytest.raises(ValueError, match=r"even width, got d_model=6 / num_heads=2 = 3"):
        MultiHeadAttention(6, 2, rotary=True)


def test_sinusoids_equal_the_paper() -> None:
    table = sinusoidal(3, 4, 7).double()  # of an odd width the last cosine is left out
    assert table.shape == (4, 7)
    for row, position in enumerate(range(3, 7)):
        for i in range(4):
            angle = position / 10000 ** (2 * i / 7)
            assert table[row, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            if 2 * i + 1 < 7:
                assert table[row, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_each_layer_adds_what_it_says() -> None:
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(SinusoidalPositions()(x, 5), 2 * x + sinusoidal(5, 3, 4))
    learned = LearnedPositions(8, 4)
    torch.testing.assert_close(learned(x, 5), x + learned.weight[5:8])
    torch.testing.assert_close(make_position_encoding("rotary", 4, 8)(x, 5), 2 * x)


def test_learned_positions_end() -> None:
    learned = make_position_encoding("learned", 4, 8)
    assert learned(torch.zeros(1, 0, 4), 8).shape == (1, 0, 4)
    with pytest.raises(ValueError, match="expected at most 8 positions, got 9;"):
        learned(torch.zeros(1, 1, 4), 8)


def test_an_unknown_encoding_is_refused() -> None:
    # Unwrapped, for the run-time check of types would refuse it first.
    with pytest.raises(ValueError, match=r"'learned', 'rotary'.* got 'alibi'"):
        make_position_encoding.__wrapped__("alibi", 4, 8)
