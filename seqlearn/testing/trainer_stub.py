"""Trainers that stand still: what a step of training asks of a Trainer, without a run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor

from seqlearn.batch import SequenceBatch
from seqlearn.core import SequenceModule
from seqlearn.testing.cases import counted_targets


@contextmanager
def silence_lightning() -> Iterator[None]:
    """Let Lightning say nothing of devices, loggers and workers, which are not what is tried."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def trainer(**options: Any) -> L.Trainer:
    """A Trainer on the CPU that writes and shows nothing."""
    with silence_lightning():
        return L.Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )


class FakeDistributedStrategy(SingleDeviceStrategy):
    """One process that takes itself for one of several.

    What it reduces over all processes is looked up in `totals`, in the order of the calls; what it
    has asked for is kept in `asked`.
    """

    def __init__(self, rank: int, ranks: int, totals: list[Tensor] | None) -> None:
        super().__init__("cpu")
        self.global_rank, self.world_size, self.totals = rank, ranks, totals
        self.asked: list[Tensor] = []

    def reduce(self, tensor: Any, *_args: Any, **_kwargs: Any) -> Any:
        """The sum over all processes, where it is known already; or the tensor itself."""
        self.asked.append(torch.as_tensor(tensor))
        return tensor if self.totals is None else self.totals[len(self.asked) - 1]


def _one_rank(
    module: SequenceModule, batches: list[SequenceBatch], strategy: FakeDistributedStrategy
) -> list[Tensor | None]:
    """The gradients of one process before the step, as Lightning makes them."""
    count = len(batches)
    held = trainer(strategy=strategy, accumulate_grad_batches=count)

    def ignore(*_args: Any, **_kwargs: Any) -> None:
        """What is logged is not looked at."""

    for name in ("log", "log_dict"):
        object.__setattr__(module, name, ignore)
    module.trainer = held
    module.setup("fit")
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.0)
    for number, batch in enumerate(batches):
        loss = module.training_step(batch, number)
        torch.autograd.backward(loss / count)
    module.on_before_optimizer_step(optimizer)
    return [parameter.grad for parameter in module.parameters()]


def weighed(ranks: list[list[SequenceBatch]]) -> list[list[SequenceBatch]]:
    """The same micro-batches, each with its weight in the one step, as a data module gives it."""
    total = sum(counted_targets(batch) for batches in ranks for batch in batches)
    return [
        [
            batch._replace(
                loss_weight=counted_targets(batch) * len(ranks) * len(batches) / max(total, 1)
            )
            for batch in batches
        ]
        for batches in ranks
    ]


def step_gradients(make: Any, ranks: list[list[SequenceBatch]]) -> dict[str, Tensor]:
    """The gradient of one step of training, as several processes together make it.

    Args:
        make: Makes the module, the same at every call.
        ranks: For each process the micro-batches that it accumulates.

    Returns:
        By parameter the mean over the processes, as `DistributedDataParallel` makes it.
    """
    totals: list[Tensor] | None = None
    module: SequenceModule
    for _ in range(2):  # what is reduced over all must be known first
        strategies = [
            FakeDistributedStrategy(rank, len(ranks), totals) for rank in range(len(ranks))
        ]
        found = []
        for batches, strategy in zip(weighed(ranks), strategies, strict=True):
            module = make()
            found.append(_one_rank(module, batches, strategy))
        asked = zip(*(strategy.asked for strategy in strategies), strict=True)
        totals = [torch.stack(parts).sum(0) for parts in asked]
    gradients = {}
    for (name, _), parts in zip(module.named_parameters(), zip(*found, strict=True), strict=True):
        there = [part for part in parts if part is not None]
        if there:
            gradients[name] = torch.stack(there).sum(0) / len(ranks)
    return gradients
