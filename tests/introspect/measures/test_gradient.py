"""Gradient norms, against values by hand; their class, against curves of a known slope."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seqlearn.introspect import classify_gradient_flow, gradient_flow


def test_of_a_linear_recurrence_it_is_known_by_hand() -> None:
    # h_t = 0.5 h_(t-1) + x_t; loss = 3 h_T, so that ∂ loss / ∂ x_t = 3 · 0.5^(T - t).
    embedded = torch.randn(2, 4, 1, requires_grad=True)
    state = torch.zeros(2, 1)
    for step in embedded.unbind(1):
        state = 0.5 * state + step
    loss = state[:, 0] * torch.tensor([3.0, 6.0])
    norms = gradient_flow(loss, embedded)
    assert norms[0].tolist() == [0.375, 0.75, 1.5, 3.0]
    assert norms[1].tolist() == [0.75, 1.5, 3.0, 6.0]


def test_the_norm_is_over_the_width_and_in_single_precision() -> None:
    embedded = torch.ones(1, 2, 2, dtype=torch.bfloat16, requires_grad=True)
    loss = (embedded * torch.tensor([3.0, 4.0])).sum((1, 2))
    norms = gradient_flow(loss, embedded)
    assert norms.dtype == torch.float32
    assert norms.tolist() == [[5.0, 5.0]]


def test_it_writes_no_gradient_and_keeps_the_graph() -> None:
    layer = nn.Linear(3, 1)
    embedded = torch.randn(2, 5, 3, requires_grad=True)
    loss = layer(embedded).tanh().sum((1, 2))
    first = gradient_flow(loss, embedded)
    assert layer.weight.grad is None
    assert embedded.grad is None
    assert torch.equal(gradient_flow(loss, embedded), first)
    loss.sum().backward()


@pytest.mark.parametrize("embedded", [torch.randn(1, 2, 3), torch.randn(1, 2, 3).requires_grad_()])
def test_a_loss_of_something_else_is_refused(embedded: torch.Tensor) -> None:
    for loss in (torch.zeros(1), torch.ones(1, requires_grad=True) * 2):
        with pytest.raises(ValueError, match="does not depend on it"):
            gradient_flow(loss, embedded)


def curve(factor: float, steps: int) -> torch.Tensor:
    """Norms that change by a factor with each step back from the last."""
    return factor ** torch.arange(steps - 1, -1, -1).float()


@pytest.mark.parametrize(
    ("factor", "steps", "expected"),
    [
        (0.5, 20, "vanishing"),
        (0.5, 5, "vanishing"),
        (0.97, 100, "vanishing"),
        (0.99, 100, "stable"),
        (1.0, 50, "stable"),
        (1.01, 100, "stable"),
        (1.5, 20, "exploding"),
        (0.01, 2, "stable"),
        (0.5, 0, "stable"),
        (0.3, 300, "vanishing"),  # and too small for float32 along the way
    ],
)
def test_a_known_factor(factor: float, steps: int, expected: str) -> None:
    assert classify_gradient_flow(curve(factor, steps)[None]) == expected
    assert classify_gradient_flow(3e-5 * curve(factor, steps).expand(4, -1)) == expected


def test_noise_is_steady() -> None:
    assert all(classify_gradient_flow(torch.randn(1, n).exp()) == "stable" for n in range(10, 40))
    assert classify_gradient_flow(torch.tensor([[1.0, 0.003, 0.05]])) == "stable"


def test_levels_of_examples_do_not_count() -> None:
    # Long examples have larger gradients here; each gradient decreases backward.
    norms = torch.zeros(3, 30)
    lengths = torch.tensor([10, 20, 30])
    for row, length in enumerate(lengths.tolist()):
        norms[row, :length] = curve(0.7, length) * 1000.0**row
    assert classify_gradient_flow(norms, lengths) == "vanishing"


def test_padding_is_ignored() -> None:
    norms = torch.full((2, 12), float("nan"))
    norms[:, :8] = curve(0.5, 8)
    assert classify_gradient_flow(norms, torch.tensor([8, 8])) == "vanishing"
    assert classify_gradient_flow(norms, torch.tensor([0, 0])) == "stable"


def test_zeros() -> None:
    window = torch.ones(2, 20)
    window[:, :15] = 0  # depends on its last five tokens only
    assert classify_gradient_flow(window) == "vanishing"
    one = curve(0.5, 20)
    one[[10, 19]] = 0  # in the middle, and at the last step
    assert classify_gradient_flow(one[None]) == "vanishing"
    one = torch.ones(20)
    one[7] = 0
    assert classify_gradient_flow(one[None]) == "stable"
    assert classify_gradient_flow(torch.zeros(2, 20)) == "stable"


def test_what_is_not_finite_explodes() -> None:
    norms = torch.ones(2, 6)
    norms[1, 0] = float("inf")
    assert classify_gradient_flow(norms) == "exploding"
