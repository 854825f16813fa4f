"""The loss in parts equals the textbook form and torch's own, with its gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

import seqlearn as sl
from seqlearn.nn import cross_entropy, linear_cross_entropy
from seqlearn.nn import loss as loss_file


@pytest.fixture(params=[16, 1 << 20], ids=["many parts", "one part"])
def _parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loss_file._LOGITS_AT_ONCE, "cpu", request.param)
    monkeypatch.setattr(loss_file, "_LEAST_ROWS", 16)


def test_parts_of_a_large_vocabulary_do_not_become_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of a few rows with all weights of GPT-2's output layer are slow."""
    sizes, softmax = [], torch.softmax

    def noted(logits: torch.Tensor, *others: Any, **more: Any) -> torch.Tensor:
        sizes.append(len(logits))
        return softmax(logits, *others, **more)

    monkeypatch.setattr(torch, "softmax", noted)
    weight, target = torch.ones(50_257, 1), torch.zeros(600, dtype=torch.long)
    linear_cross_entropy(torch.ones(600, 1), weight, None, target)
    assert sizes == [256, 256, 88]


@pytest.mark.usefixtures("_parts")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("with_bias", [True, False])
def test_equals_torch_and_the_textbook_form(smoothing: float, with_bias: bool) -> None:
    hidden = torch.randn(50, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 6, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(11, dtype=torch.float64, requires_grad=True) if with_bias else None
    target = torch.randint(11, (50,))
    measured = linear_cross_entropy(hidden, weight, bias, target, smoothing)
    logits = functional.linear(hidden, weight, bias)
    peer = functional.cross_entropy(logits, target, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(measured.loss, peer)
    torch.testing.assert_close(cross_entropy(logits, target, smoothing), peer)
    torch.testing.assert_close(
        measured.nll, functional.cross_entropy(logits, target, reduction="none")
    )
    assert torch.equal(measured.correct, logits.argmax(-1) == target)
    inputs = [hidden, weight] + ([bias] if bias is not None else [])
    for mine, theirs in zip(
        torch.autograd.grad(3 * measured.loss, inputs),
        torch.autograd.grad(3 * peer, inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_no_rows() -> None:
    hidden = torch.zeros(0, 4, requires_grad=True)
    measured = linear_cross_entropy(
        hidden, torch.randn(5, 4), None, torch.zeros(0, dtype=torch.long)
    )
    measured.loss.backward()
    assert measured.loss == 0


def test_large_logits_stay_finite() -> None:
    hidden = torch.full((2, 1), 1e4)
    weight = torch.tensor([[1.0], [-1.0]])
    measured = linear_cross_entropy(hidden, weight, None, torch.tensor([0, 1]))
    assert measured.nll.tolist() == [0.0, 2e4]


def test_bf16_autocast_is_close() -> None:
    hidden, weight = torch.randn(40, 16, requires_grad=True), torch.randn(9, 16, requires_grad=True)
    target = torch.randint(9, (40,))
    exact = linear_cross_entropy(hidden, weight, None, target).loss
    exact_gradient = torch.autograd.grad(exact, weight)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = linear_cross_entropy(hidden, weight, None, target).loss
    torch.testing.assert_close(rough, exact, rtol=0.02, atol=0.0)
    torch.testing.assert_close(
        torch.autograd.grad(rough, weight)[0], exact_gradient, rtol=0.1, atol=0.3
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_multiply_the_loss_of_a_row(smoothing: float) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(40, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    target = torch.randint(3, (40,))
    scale = torch.tensor([0.5, 2.0, 1.25], dtype=torch.float64)
    measured = linear_cross_entropy(hidden, weight, bias, target, smoothing, scale)
    logits = hidden @ weight.T + bias
    rows = torch.nn.functional.cross_entropy(
        logits, target, reduction="none", label_smoothing=smoothing
    )
    expected = (rows * scale[target]).sum()
    torch.testing.assert_close(measured.loss, expected)
    if not smoothing:
        theirs = torch.nn.CrossEntropyLoss(weight=scale, reduction="sum")(logits, target)
        torch.testing.assert_close(measured.loss, theirs)
        torch.testing.assert_close(measured.nll, rows)
    ours = torch.autograd.grad(measured.loss, (hidden, weight, bias))
    for mine, other in zip(
        ours, torch.autograd.grad(expected, (hidden, weight, bias)), strict=True
    ):
        torch.testing.assert_close(mine, other)


def test_a_module_weights_its_classes_in_training_alone() -> None:
    target = sl.ClassesSpec(("a", "b"), (0.5, 1.5))
    model = sl.RNN(sl.SequenceSpec(sl.TextSpec(9, 4), target), d_model=4).eval()
    source, lengths = torch.tensor([[4, 5], [6, 7], [8, 4]]), torch.tensor([2, 2, 2])
    batch = sl.SequenceBatch(source, lengths, torch.tensor([0, 1, 1]), None, torch.arange(3))
    with torch.no_grad():
        measured = model.compute_loss(batch)
    torch.testing.assert_close(measured.loss, (measured.nll * torch.tensor([0.5, 1.5, 1.5])).sum())
    assert int(measured.num_tokens) == 3


@pytest.mark.parametrize("learning", [False, True])
def test_a_token_that_is_impossible_leaves_the_loss_finite(learning: bool) -> None:
    hidden = torch.randn(4, 3, requires_grad=learning)
    weight, target = torch.randn(5, 3), torch.tensor([0, 1, 2, 0])
    bias = torch.tensor([0.0, 0.1, 0.2, 0.3, float("-inf")])
    wanted = functional.cross_entropy(
        functional.linear(hidden, weight, bias), target, reduction="sum"
    )
    found = linear_cross_entropy(hidden, weight, bias, target).loss
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(
        cross_entropy(functional.linear(hidden, weight, bias), target), wanted
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_parts_that_use_their_memory_again_are_those_of_the_textbook(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, autocast: bool
) -> None:
    """Three parts, the last one smaller, of a vocabulary that is cut into groups."""
    monkeypatch.setitem(loss_file._LOGITS_AT_ONCE, "cpu", 1)
    monkeypatch.setattr(loss_file, "_LEAST_ROWS", 16)
    hidden = torch.randn(40, 8, dtype=dtype, requires_grad=True)
    weight = torch.randn(300, 8, dtype=dtype, requires_grad=True)
    bias = torch.randn(300, dtype=dtype, requires_grad=True)
    target = torch.randint(300, (40,))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = linear_cross_entropy(hidden, weight, bias, target, 0.1)
        logits = functional.linear(hidden, weight, bias)
    expected = cross_entropy(logits.to(found.nll.dtype), target, 0.1)
    exact = dtype == torch.float64 or (dtype == torch.float32 and not autocast)
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if exact else {"rtol": 0.05, "atol": 0.2}
    torch.testing.assert_close(found.loss, expected, **tolerance)
    assert torch.equal(found.predicted, logits.argmax(-1))
    given = hidden, weight, bias
    gradients = torch.autograd.grad(found.loss, given)
    for mine, true in zip(gradients, torch.autograd.grad(expected, given), strict=True):
        torch.testing.assert_close(mine, true, **tolerance)


@pytest.mark.parametrize("vocab", [1, 127, 128, 255, 256, 257, 300, 1000, 1025])
@pytest.mark.parametrize("values", [2, 1000])
def test_the_likeliest_token_is_the_first_of_equal_ones(vocab: int, values: int) -> None:
    logits = torch.randint(values, (40, vocab)).float()
    logits[3, vocab // 2] = float("nan")
    logits[4] = -float("inf")
    found = loss_file._largest(logits)
    for mine, expected in zip(found, logits.max(-1, keepdim=True), strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=0, equal_nan=True)
