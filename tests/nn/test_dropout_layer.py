"""Cheap masks drop the right share, rescale, repeat with the seed and have the right gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from seqlearn.nn import Dropout, FeedForwardBlock, dropout
from seqlearn.nn.dropout_layer import dropout_product


@pytest.mark.parametrize("probability", [0.1, 0.3, 0.5, 0.9])
def test_share_and_expectation(probability: float) -> None:
    kept = dropout(torch.ones(400_000), probability)
    share = (kept == 0).float().mean().item()
    assert share == pytest.approx(probability, abs=0.005)
    assert kept.mean().item() == pytest.approx(1.0, abs=0.02)
    assert kept.unique().numel() == 2


def test_every_one_of_the_four_draws_of_a_number_is_fair() -> None:
    kept = dropout(torch.ones(400_000), 0.3).view(-1, 4) == 0
    torch.testing.assert_close(kept.float().mean(0), torch.full((4,), 0.3), atol=0.01, rtol=0)
    together = torch.corrcoef(kept.float().t()) - torch.eye(4)
    assert together.abs().max() < 0.02


def test_gradient_is_the_mask() -> None:
    x = torch.randn(7, 5, requires_grad=True)
    y = dropout(x, 0.4)
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.where(y == 0, 0.0, (y / x).detach()))


def test_same_seed_same_mask() -> None:
    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return dropout(torch.ones(1000), 0.5)

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_identity_in_eval_and_at_zero() -> None:
    x = torch.randn(3)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


@pytest.mark.parametrize("probability", [-0.1, 1.0, 1.5])
def test_bad_probability(probability: float) -> None:
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        Dropout(probability)


def test_empty_input() -> None:
    assert dropout(torch.empty(0, 3), 0.5).shape == (0, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_product_of_dropped_weights_is_the_plain_one_to_the_bit(dtype: torch.dtype) -> None:
    weights = torch.rand(2, 3, 4, 5, dtype=dtype).requires_grad_()
    value = torch.rand(2, 5, 3, 6, dtype=dtype).transpose(1, 2).requires_grad_()
    results = []
    for product in (dropout_product, lambda w, v, p: dropout(w, p) @ v):
        torch.manual_seed(0)
        output = product(weights, value, 0.3)
        results.append((output, *torch.autograd.grad((output**2).sum(), (weights, value))))
    for found, expected in zip(*results, strict=True):
        assert torch.equal(found, expected)


def test_the_product_of_dropped_weights_under_autocast() -> None:
    weights = torch.rand(2, 4, 5).requires_grad_()
    value = torch.rand(2, 5, 6).bfloat16().requires_grad_()
    results = []
    for product in (dropout_product, lambda w, v, p: dropout(w, p) @ v):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):
            output = product(weights, value, 0.3)
        results.append((output, *torch.autograd.grad(output.float().sum(), (weights, value))))
    for found, expected in zip(*results, strict=True):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)


def kept_bytes(compute: Callable[[], Tensor]) -> int:
    """Bytes of the storages that autograd keeps."""
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = compute()
    assert output.requires_grad
    return sum(sizes.values())


def test_dropped_weights_are_not_kept() -> None:
    scores = torch.rand(2, 8, 32, 32, requires_grad=True)
    value = torch.rand(2, 8, 32, 4, requires_grad=True)
    plain = kept_bytes(lambda: dropout(scores.softmax(-1), 0.5) @ value)
    found = kept_bytes(lambda: dropout_product(scores.softmax(-1), value, 0.5))
    assert plain - found == scores.numel() * 4


def test_a_relu_block_keeps_its_inner_units_once() -> None:
    block = FeedForwardBlock(4, 256, dropout=0.1)
    inputs = torch.rand(2, 16, 4)
    inner = 2 * 16 * 256 * 4
    parameters = sum(each.numel() * 4 for each in block.parameters())
    assert kept_bytes(lambda: block(inputs)) < parameters + inputs.numel() * 4 + 1.5 * inner


def test_relu_and_dropout_commute_to_the_bit() -> None:
    block = FeedForwardBlock(4, 32, dropout=0.5)
    inputs = torch.rand(2, 16, 4)
    torch.manual_seed(0)
    found = block(inputs)
    torch.manual_seed(0)
    assert torch.equal(found, block.outer(dropout(block.inner(inputs).relu(), 0.5)))
