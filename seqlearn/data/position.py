"""The position of a training run in its data, computed from the Trainer's counters.

A run starts at an anchor: an epoch, a batch in it, and the number of batches that were trained on
before. The position is a function of the anchor and the Trainer's counters, so that loaders can be
created and iterated at any time without side effects.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import lightning as L
from lightning.pytorch.trainer.states import TrainerStatus

from seqlearn.data.batching import BatchSampler


class Anchor(NamedTuple):
    """The start of a run.

    Attributes:
        epoch: The epoch.
        batch: Index of the first batch in the epoch, on this rank.
        total: Number of batches trained on before, in interrupted runs.
    """

    epoch: int
    batch: int
    total: int


class TrainingPosition:
    """The epoch and index of the next training batch.

    Attributes:
        anchor: The start of the run; `None` before the first run.
    """

    def __init__(self) -> None:
        self.anchor: Anchor | None = None

    def start(self, trainer: L.Trainer) -> None:
        """Start a run without a checkpoint; its first epoch follows the Trainer's earlier ones."""
        epochs: Any = trainer.fit_loop.epoch_progress.current
        self.anchor = Anchor(epochs.processed, 0, _total(trainer))

    def resume(self, epoch: int, batch: int, total: int) -> None:
        """Start a run at the position of a checkpoint, with the values of `state`."""
        self.anchor = Anchor(epoch, batch, total)

    def now(self, trainer: L.Trainer, length: float) -> tuple[int, int]:
        """Epoch and index of the next batch.

        Args:
            trainer: The Trainer with the counters.
            length: Number of batches of an epoch on this rank.
        """
        assert self.anchor is not None
        # The loops' counters are restored after the data module's state.
        done = max(0, _total(trainer) - self.anchor.total)
        return self._after(done, length)

    def state(self, trainer: L.Trainer, undone: int = 0) -> dict[str, int]:
        """The state to resume from here; empty before the first run.

        Args:
            trainer: The Trainer with the counters.
            undone: Number of batches since the last optimizer step, which will be repeated.
        """
        if self.anchor is None:
            return {}
        total = max(self.anchor.total, _total(trainer)) - undone
        epoch, batch = self._after(total - self.anchor.total, _epoch_length(trainer))
        return {"epoch": epoch, "batch": batch, "total": total}

    def _after(self, done: int, length: float) -> tuple[int, int]:
        assert self.anchor is not None
        epochs, batch = divmod(self.anchor.batch + done, length)
        return self.anchor.epoch + int(epochs), int(batch)


def rewind_to_last_step(trainer: L.Trainer, checkpoint: dict[str, Any]) -> int | None:
    """Make a checkpoint that is saved within an accumulation group resume at the group's start.

    A checkpoint has no gradients. Therefore the counters of the loops and the position in the data
    are set back by the micro-batches since the last optimizer step, and the resumed run repeats
    them. Nothing changes if there are none, or if the data module is not one of this package.

    Args:
        trainer: The Trainer that saves.
        checkpoint: The checkpoint; modified in place.

    Returns:
        Total number of batches before the group; `None` if nothing was changed.
    """
    data: Any = getattr(trainer, "datamodule", None)
    position = getattr(data, "training_position", None)
    if trainer.state.fn != "fit" or not isinstance(position, TrainingPosition):
        return None
    progress = trainer.fit_loop.epoch_loop.batch_progress
    current: Any = progress.current
    ended = current.processed >= trainer.num_training_batches  # Lightning steps on the last batch
    undone = 0 if ended else current.processed % trainer.accumulate_grad_batches
    if not undone and current.ready == current.processed:
        return None
    total = _total(trainer) - undone
    saved = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    saved["current"] = dict.fromkeys(saved["current"], current.processed - undone)
    saved["total"] = dict.fromkeys(saved["total"], total)
    saved["is_last_batch"] = False
    checkpoint.setdefault(type(data).__qualname__, {}).update(position.state(trainer, undone))
    return total


def fitting_trainer(data: Any) -> L.Trainer | None:
    """The Trainer that currently fits a data module, if any."""
    trainer = data.trainer
    if trainer is None or trainer.state.fn != "fit" or trainer.datamodule is not data:
        return None
    return trainer if trainer.state.status == TrainerStatus.RUNNING else None


def training_loaders(trainer: L.Trainer) -> list[Any]:
    """The training loaders of a Trainer."""
    combined = trainer.fit_loop._combined_loader  # noqa: SLF001 -- no public name for the list
    return [] if combined is None else list(combined.flattened)


def _epoch_length(trainer: L.Trainer) -> float:
    """Number of batches of an epoch on this rank."""
    loaders = training_loaders(trainer)
    planned = [each for each in loaders if isinstance(getattr(each, "sampler", None), BatchSampler)]
    own = [len(each) for each in planned]
    return max(1, min([trainer.num_training_batches, *own]))


def _total(trainer: L.Trainer) -> int:
    """Number of training batches on this rank since training began, across interruptions."""
    total: Any = trainer.fit_loop.epoch_loop.batch_progress.total
    return int(total.processed)
