"""Cheap masks drop the right share, rescale, repeat with the seed and have the right gradient."""

from __future__ import annotations

import pytest
import torch

from seqlearn.nn import Dropout, dropout


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
