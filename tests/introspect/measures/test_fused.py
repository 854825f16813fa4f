"""Entropy from the fused path, against the entropy of the explicit weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from seqlearn.batch import causal_mask
from seqlearn.introspect import entropy, fused_entropy
from seqlearn.introspect.measures import fused
from seqlearn.nn.attention import attention_weights

SIZES = st.tuples(
    st.integers(0, 3), st.integers(1, 3), st.integers(0, 70), st.integers(0, 70), st.integers(1, 40)
)


@given(
    sizes=SIZES,
    spread=st.floats(0.01, 3.0),
    kind=st.sampled_from(["none", "keys", "causal", "any", "heads"]),
    seed=st.integers(0, 2**16),
)
def test_equals_the_entropy_of_the_weights(
    sizes: tuple[int, ...], spread: float, kind: str, seed: int
) -> None:
    torch.manual_seed(seed)
    batch, heads, queries, keys, width = sizes
    keys = max(keys, queries) if kind == "causal" else keys
    query = torch.randn(batch, queries, heads, width).transpose(1, 2) * spread
    key = torch.randn(batch, heads, width, keys).transpose(2, 3) * spread
    scores = (query @ key.mT).abs() / width**0.5
    if scores.numel():
        query = query * (99 / scores.amax()).clamp(max=1)
    shapes = {"keys": (batch, 1, 1, keys), "any": (batch, 1, queries, keys)}
    shapes["heads"] = (1, heads, queries, keys)
    mask = torch.rand(shapes[kind]) < 0.7 if kind in shapes else None
    given_mask, seen = mask, mask
    if kind == "causal":
        seen = causal_mask(queries, keys)
    found = fused_entropy(query, key, given_mask, causal=kind == "causal")
    expected = entropy(attention_weights(query, key, seen))
    assert found.shape == (batch, heads, queries)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_scores_near_a_hundred() -> None:
    query, key = torch.randn(2, 2, 50, 16), torch.randn(2, 2, 60, 16)
    query *= 99 / (query @ key.mT / 4).abs().amax()
    expected = entropy(attention_weights(query.double(), key.double()))
    assert (fused_entropy(query, key) - expected).abs().max() < 1e-4


def test_nothing_to_see_is_zero() -> None:
    mask = torch.ones(2, 1, 4, 5, dtype=torch.bool)
    mask[1, 0, 2] = False
    found = fused_entropy(torch.randn(2, 3, 4, 8), torch.randn(2, 3, 5, 8), mask)
    assert (found[1, :, 2] == 0).all()
    assert (found[0] > 0).all()


@pytest.mark.parametrize(
    ("dtype", "expected"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)]
)
def test_in_single_precision_or_wider(dtype: torch.dtype, expected: torch.dtype) -> None:
    query, key = torch.randn(1, 1, 3, 4).to(dtype), torch.randn(1, 1, 6, 4).to(dtype)
    found = fused_entropy(query, key)
    assert found.dtype == expected
    weights = attention_weights(query.to(expected), key.to(expected))
    torch.testing.assert_close(found, entropy(weights), atol=1e-5, rtol=0)


def test_it_carries_no_gradient() -> None:
    query = torch.randn(1, 1, 3, 4, requires_grad=True)
    assert not fused_entropy(query, query).requires_grad


class Largest(TorchFunctionMode):
    """The largest number of elements in a tensor that torch returned."""

    elements = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        answer = func(*args, **(kwargs or {}))
        for one in answer if isinstance(answer, (tuple, list)) else [answer]:
            if isinstance(one, torch.Tensor):
                self.elements = max(self.elements, one.numel())
        return answer


@pytest.mark.parametrize("earlier", [0, 100])
def test_there_is_no_matrix(earlier: int) -> None:
    query, key = torch.randn(1, 1, 300, 8), torch.randn(1, 1, 300 + earlier, 8)
    padding = torch.ones(1, 1, 1, 300 + earlier, dtype=torch.bool)
    with Largest() as largest:
        fused_entropy(query, key, causal=True)
        fused_entropy(query, key, padding)
    assert 0 < largest.elements <= key.numel()


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 2, 4)
    mask = torch.ones(1, 1, 3, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="got both"):
        fused_entropy(query, key, mask, causal=True)
    with pytest.raises(ValueError, match="3 queries and 2 keys"):
        fused_entropy(query, key, causal=True)
    monkeypatch.setitem(fused._OPERATORS, "cpu", "_no_such_operator")
    with pytest.raises(NotImplementedError, match="use entropy"):
        fused_entropy(query, key)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda() -> None:
    for width, keys, causal in ((8, 33, False), (7, 40, True), (16, 64, False)):
        query = torch.randn(2, 3, 20, width, device="cuda")
        key = torch.randn(2, 3, keys, width, device="cuda")
        mask = torch.rand(2, 1, 20, keys, device="cuda") < 0.5
        mask[0, 0, 3] = False
        seen = causal_mask(20, keys, query.device) if causal else mask
        found = fused_entropy(query, key, None if causal else mask, causal=causal)
        expected = entropy(attention_weights(query, key, seen))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
