"""The fast path is held to the textbook form, and the module to both."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqlearn.batch import causal_mask, length_mask
from seqlearn.nn import KeyValueCache, MultiHeadAttention, attend, attention_weights
from seqlearn.nn import attention as attention_file


def tensors(batch: int, query: int, key: int) -> tuple[torch.Tensor, ...]:
    return (
        torch.randn(batch, 2, query, 4),
        torch.randn(batch, 2, key, 4),
        torch.randn(batch, 2, key, 4),
    )


@pytest.mark.parametrize("explicit", [False, True], ids=["fused", "explicit"])
@given(
    seed=st.integers(0, 2**32 - 1),
    query=st.integers(1, 5),
    lengths=st.lists(st.integers(0, 7), min_size=1, max_size=4).filter(any),
)
def test_fast_path_equals_textbook(
    explicit: bool, seed: int, query: int, lengths: list[int]
) -> None:
    torch.manual_seed(seed)
    q, k, v = tensors(len(lengths), query, max(lengths))
    mask = length_mask(torch.tensor(lengths), max(lengths))[:, None, None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention_file, "_explicit_is_faster", lambda *_: explicit)
        fast = attend(q, k, v, mask)
    torch.testing.assert_close(fast, attention_weights(q, k, mask) @ v, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("explicit", [False, True], ids=["fused", "explicit"])
@pytest.mark.parametrize(("query", "key"), [(1, 1), (5, 5), (1, 6), (3, 6)])
def test_causal_queries_are_the_last_of_the_keys(
    explicit: bool, query: int, key: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_file, "_explicit_is_faster", lambda *_: explicit)
    q, k, v = tensors(2, query, key)
    textbook = attention_weights(q, k, causal_mask(query, key)[None, None]) @ v
    torch.testing.assert_close(attend(q, k, v, causal=True), textbook)


def test_weights_sum_to_one_over_visible_keys_and_are_zero_elsewhere() -> None:
    q, k, _ = tensors(3, 4, 5)
    mask = length_mask(torch.tensor([5, 2, 0]), 5)[:, None, None]
    weights = attention_weights(q, k, mask)
    assert (weights >= 0).all()
    assert (weights.masked_select(~mask) == 0).all()
    torch.testing.assert_close(weights.sum(-1)[:2], torch.ones(2, 2, 4))
    assert (weights[2] == 0).all()


@pytest.mark.parametrize("explicit", [False, True], ids=["fused", "explicit"])
def test_nothing_to_see_gives_zeros_and_finite_gradients(
    explicit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_file, "_explicit_is_faster", lambda *_: explicit)
    q, k, v = (tensor.requires_grad_() for tensor in tensors(2, 3, 4))
    output = attend(q, k, v, length_mask(torch.tensor([4, 0]), 4)[:, None, None])
    assert (output[1] == 0).all()
    output.square().sum().backward()
    assert all(tensor.grad.isfinite().all() for tensor in (q, k, v))


def test_mask_and_causal_together_are_refused() -> None:
    with pytest.raises(ValueError, match="got both"):
        attend(*tensors(1, 2, 2), torch.ones(1, 1, 1, 2, dtype=torch.bool), causal=True)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="divides d_model=10, got 3"):
        MultiHeadAttention(10, 3)


def test_cached_steps_equal_one_pass_for_any_cut() -> None:
    attention = MultiHeadAttention(8, 2).eval()
    x = torch.randn(2, 6, 8)
    whole, _ = attention.causal_self_attention(x, None)
    for cuts in itertools.combinations(range(1, 6), 2):
        cache, parts = None, []
        for part in x.tensor_split(cuts, dim=1):
            output, cache = attention.causal_self_attention(part, cache)
            parts.append(output)
        torch.testing.assert_close(torch.cat(parts, 1), whole)


def test_cache_select_keeps_rows_in_order_and_does_not_share() -> None:
    key = torch.arange(6.0).view(3, 1, 2, 1)
    cache = KeyValueCache(key.clone(), key.clone())
    twice = cache.select(torch.tensor([2, 2, 0]))
    grown, _, _ = twice.append(torch.full((3, 1, 1, 1), 9.0), torch.zeros(3, 1, 1, 1))
    assert grown[:, 0, :, 0].tolist() == [[4, 5, 9], [4, 5, 9], [0, 1, 9]]
    assert cache.length == 2
    assert (cache._key == key).all()


def test_dropout_of_weights_is_active_in_training_only() -> None:
    attention = MultiHeadAttention(8, 2, dropout=0.5)
    x, mask = torch.randn(1, 4, 8), torch.ones(1, 4, dtype=torch.bool)
    assert not torch.equal(attention(x, mask), attention(x, mask))
    attention.eval()
    assert torch.equal(attention(x, mask), attention(x, mask))
