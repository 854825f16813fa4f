"""Trainers that do not run: what a training step reads from its Trainer, for one step."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor

from seqlearn.batch import SequenceBatch
from seqlearn.core import SequenceModule
from seqlearn.spec import SequenceSpec
from seqlearn.testing.cases import counted_targets


@contextmanager
def silence_lightning() -> Iterator[None]:
    """Silence Lightning's messages about devices, loggers and workers."""
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
    """A Trainer on the CPU without logger, checkpoints, progress bar and summary."""
    with silence_lightning():
        return L.Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )


class SaveAfterFirstEpoch(L.Callback):
    """Saves one checkpoint at the end of the first epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: L.Trainer, _module: L.LightningModule) -> None:
        """Save it."""
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(self.path)


class FakeDistributedStrategy(SingleDeviceStrategy):
    """A single process that behaves as one rank of several.

    Args:
        rank: Its rank.
        ranks: The number of processes.
        totals: The results of its reductions, in the order of the calls; while they are not known,
            `None`, and a reduction returns its argument.

    Attributes:
        requested: The tensors passed to its reductions, in the order of the calls.
    """

    def __init__(self, rank: int, ranks: int, totals: list[Tensor] | None) -> None:
        super().__init__("cpu")
        self.global_rank, self.world_size, self.totals = rank, ranks, totals
        self.requested: list[Tensor] = []

    def reduce(self, tensor: Any, *_args: Any, **_kwargs: Any) -> Any:
        """The sum over all processes where it is known, else the tensor itself."""
        self.requested.append(torch.as_tensor(tensor))
        return tensor if self.totals is None else self.totals[len(self.requested) - 1]


def _one_rank(
    module: SequenceModule, batches: list[SequenceBatch], strategy: FakeDistributedStrategy
) -> list[Tensor | None]:
    """The gradients of one process before the optimizer step."""
    count = len(batches)
    held = trainer(strategy=strategy, accumulate_grad_batches=count)

    def ignore(*_args: Any, **_kwargs: Any) -> None:
        """Log nothing."""

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


def with_loss_weights(
    spec: SequenceSpec, ranks: list[list[SequenceBatch]]
) -> list[list[SequenceBatch]]:
    """The same micro-batches, each with the loss weight that a data module would give it."""
    total = sum(counted_targets(spec, batch) for batches in ranks for batch in batches)
    return [
        [
            batch._replace(
                loss_weight=counted_targets(spec, batch) * len(ranks) * len(batches) / max(total, 1)
            )
            for batch in batches
        ]
        for batches in ranks
    ]


def step_gradients(make: Any, ranks: list[list[SequenceBatch]]) -> dict[str, Tensor]:
    """The gradient of one training step of several processes.

    Args:
        make: Builds the module; every call builds the same one.
        ranks: For each process, the micro-batches that it accumulates.

    Returns:
        By parameter, the mean over the processes, as `DistributedDataParallel` computes it.
    """
    totals: list[Tensor] | None = None
    module: SequenceModule
    for _ in range(2):  # the first pass collects what is reduced, the second uses the sums
        strategies = [
            FakeDistributedStrategy(rank, len(ranks), totals) for rank in range(len(ranks))
        ]
        found = []
        for batches, strategy in zip(
            with_loss_weights(make().spec, ranks), strategies, strict=True
        ):
            module = make()
            found.append(_one_rank(module, batches, strategy))
        requested = zip(*(strategy.requested for strategy in strategies), strict=True)
        totals = [torch.stack(parts).sum(0) for parts in requested]
    gradients = {}
    for (name, _), parts in zip(module.named_parameters(), zip(*found, strict=True), strict=True):
        there = [part for part in parts if part is not None]
        if there:
            gradients[name] = torch.stack(there).sum(0) / len(ranks)
    return gradients
