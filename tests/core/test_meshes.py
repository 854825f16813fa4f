"""Norms, clipping and optimizers of parameters with several meshes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from seqlearn.core.meshes import clip_one_by_one, step_one_by_one, total_norm


def parameters(*meshes: str) -> list[Any]:
    """Parameters with gradients of norm 3, 4, 5, …, each of a mesh."""
    made: list[Any] = [nn.Parameter(torch.zeros(2)) for _ in meshes]
    for number, (each, mesh) in enumerate(zip(made, meshes, strict=True)):
        each.device_mesh = mesh
        each.grad = torch.tensor([3.0 + number, 0.0])
        each.grad.device_mesh = mesh
    return made


@pytest.mark.parametrize("meshes", [("a", "a"), ("a", "b")])
def test_total_norm(meshes: tuple[str, str]) -> None:
    assert float(total_norm(each.grad for each in parameters(*meshes))) == 5.0


@pytest.mark.parametrize(
    ("algorithm", "first", "second"), [("norm", 1.5, 2.0), ("value", 2.5, 2.5)]
)
def test_clip_one_by_one(algorithm: str, first: float, second: float) -> None:
    both = parameters("a", "b")
    clip_one_by_one(both, 2.5, algorithm)
    assert [float(each.grad[0]) for each in both] == pytest.approx([first, second])


def test_step_one_by_one() -> None:
    for meshes, expected in (("aa", True), ("ab", False)):
        optimizer = torch.optim.SGD(parameters(*meshes), lr=0.1, foreach=True)
        step_one_by_one(optimizer)
        assert optimizer.param_groups[0]["foreach"] is expected
    fused = torch.optim.AdamW(parameters("a", "b"), fused=True)
    with pytest.raises(ValueError, match=r"AdamW\(fused=True\) does not work with tensor par"):
        step_one_by_one(fused)
    step_one_by_one(torch.optim.AdamW(parameters("a", "a"), fused=True))
