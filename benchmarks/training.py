"""A training step of a contender, and the operations in it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.measuring import Flops, Work
from benchmarks.peers.transformers import Trainee
from seqlearn.batch import SequenceBatch


def training_step(build: Callable[[], Trainee], dtype: torch.dtype) -> Work:
    """Build a model, and return the function that makes one optimizer step on a batch.

    Args:
        build: Makes the module and the function from a batch to its loss.
        dtype: The type of matrix products; other than float32 under autocast.
    """
    model, loss_of = build()
    device = next(model.parameters()).device.type
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step(batch: SequenceBatch) -> None:
        with torch.autocast(device, dtype, enabled=dtype is not torch.float32):
            loss = loss_of(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def step_flops(build: Callable[[], Trainee], device: torch.device) -> Flops:
    """Operations of a training step: the backward pass has twice as many as the forward pass.

    Args:
        build: As in `training_step`; the baseline, whose operations stand for all contenders.
        device: Where it is built.
    """
    return Flops(lambda: build()[1], device, factor=3)
