"""Sharded checkpoints that are complete or absent.

`ModelParallelStrategy` writes the folder of a sharded checkpoint itself, without a `CheckpointIO`.
"""

from __future__ import annotations

import contextlib
from typing import Any

import lightning as L
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_info

from seqlearn.atomic_files import atomic_path

_hinted: list[bool] = []


def write_atomically(trainer: L.Trainer) -> None:
    """Let `ModelParallelStrategy` write sharded checkpoints beside their place, and rename them.

    With another strategy, and Lightning's own `CheckpointIO`, a hint names `AtomicCheckpointIO`,
    once in a process.

    Args:
        trainer: The trainer of a run that starts.
    """
    strategy: Any = trainer.strategy
    sharded = isinstance(strategy, ModelParallelStrategy) and strategy._save_distributed_checkpoint  # noqa: SLF001 -- there is no public way
    if sharded and "save_checkpoint" not in vars(strategy):
        strategy.save_checkpoint = _AtomicSave(strategy)
    plain = not sharded and type(strategy.checkpoint_io) is TorchCheckpointIO
    if plain and trainer.checkpoint_callbacks and not _hinted:
        _hinted.append(True)
        rank_zero_info(
            "A kill or a full disk can damage a checkpoint while it is saved; with "
            "L.Trainer(plugins=[sl.AtomicCheckpointIO()]) the previous one stays until then"
        )


class _AtomicSave:
    """Saves a sharded checkpoint beside its place; rank 0 renames it once all ranks have saved."""

    def __init__(self, strategy: ModelParallelStrategy) -> None:
        self.strategy = strategy
        self.write = strategy.save_checkpoint

    def __call__(self, checkpoint: dict[str, Any], filepath: Any, **options: Any) -> None:
        strategy = self.strategy
        with contextlib.ExitStack() as stack:
            part: Any = None
            if strategy.is_global_zero:
                option = "`dirpath` of ModelCheckpoint or `default_root_dir` of the Trainer"
                part = stack.enter_context(atomic_path(filepath, "the checkpoint", option))
            part = strategy.broadcast(part)
            try:
                self.write(checkpoint, part, **options)
            except BaseException:
                strategy.reduce_boolean_decision(decision=False, all=True)
                raise
            if not strategy.reduce_boolean_decision(decision=True, all=True):
                raise OSError("another rank could not save its part of the checkpoint")
