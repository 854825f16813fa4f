"""A training step of a contender, and the operations in it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.measuring import Work, count_flops
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


class StepFlops:
    """Operations of a training step on a batch, padding included.

    The forward pass is counted once for each batch; the backward pass counts twice as much.

    Args:
        build: As in `training_step`; the baseline, whose operations stand for all contenders.
    """

    def __init__(self, build: Callable[[], Trainee]) -> None:
        self._build = build
        self._loss_of: Work | None = None
        self._known: dict[int, int] = {}

    def __call__(self, batch: SequenceBatch) -> int:
        """Operations of a step on this batch."""
        if id(batch) not in self._known:
            with torch.no_grad(), batch.target.device:
                self._loss_of = self._loss_of or self._build()[1]
                self._known[id(batch)] = 3 * count_flops(self._loss_of, batch)
        return self._known[id(batch)]
