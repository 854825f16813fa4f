"""Layers that are computed again give the same losses, in less memory."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import seqlearn as sl
from seqlearn.testing import TASKS, batch_of


def losses_and_memory(model: sl.SequenceModule) -> tuple[list[Tensor], int]:
    """The gradients of a training batch with dropout, and the bytes kept for the backward pass."""
    batch = batch_of(model.spec, [([4, 5, 6, 7] * 4, [4, 5, 6] * 4)] * 8)
    kept = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    model.train()
    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model.compute_loss(batch).loss
    loss.backward()
    gradients = [each.grad for each in model.parameters() if each.grad is not None]
    return [loss.detach(), *gradients], kept


MAKE: dict[str, Any] = {
    "Transformer": lambda spec, **base: sl.Transformer(
        spec, d_model=8, num_heads=2, num_layers=3, dropout=0.3, **base
    ),
    "LSTM": lambda spec, **base: sl.LSTM(spec, d_model=8, num_layers=2, dropout=0.3, **base),
}


@pytest.mark.parametrize("name", MAKE)
def test_recomputed_layers_are_exact(name: str) -> None:
    spec = TASKS["sequence-to-sequence"]
    found = []
    for again in (False, True):
        torch.manual_seed(0)
        recipe = replace(sl.Recipe(), activation_checkpointing=again)
        model = MAKE[name](spec, recipe=recipe)
        model.configure_model()
        model.configure_model()
        found.append(losses_and_memory(model))
    (plain, kept), (recomputed, kept_again) = found
    assert len(plain) == len(recomputed) > 5
    for one, other in zip(plain, recomputed, strict=True):
        assert torch.equal(one, other)
    if name == "Transformer":
        assert kept_again < kept / 2


def test_a_copy_computes_with_its_own_layers() -> None:
    """The layers of a copy must not call those of the original."""
    recipe = sl.Recipe(activation_checkpointing=True)
    side = sl.TextSpec(9, 4)
    model = sl.Transformer(sl.SequenceSpec(side, side), d_model=8, num_heads=2, recipe=recipe)
    model.configure_model()
    for other in (copy.deepcopy(model.eval()), pickle.loads(pickle.dumps(model))):
        before = other.score([[4, 5]], [[6]])
        with torch.no_grad():
            for weight in model.encoder.parameters():
                weight.add_(1.0)
        torch.testing.assert_close(other.score([[4, 5]], [[6]]), before)
        assert other.encoder.layers[0].forward.layer is other.encoder.layers[0]
