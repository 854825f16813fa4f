"""Where a training run stands in its data, read from what the Trainer has counted.

A run starts at an anchor: an epoch, a batch in it, and how many batches had been trained on
before. Everything else is a function of the Trainer's own counters, so that loaders can be made
and iterated at any time, by anyone, without moving the run.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import lightning as L
from lightning.pytorch.trainer.states import TrainerStatus

from seqlearn.data.batching import BatchSampler


class Anchor(NamedTuple):
    """Where a run started.

    Attributes:
        epoch: Which order it follows.
        batch: The first batch of that order, counted on this rank.
        total: Batches that had been trained on before, interrupted runs included.
    """

    epoch: int
    batch: int
    total: int


class TrainingPosition:
    """The epoch and the batch that training takes next.

    Attributes:
        anchor: Where the run started; `None` before the first.
    """

    def __init__(self) -> None:
        self.anchor: Anchor | None = None

    def start(self, trainer: L.Trainer) -> None:
        """Begin a run that resumes nothing; its first epoch follows those that the Trainer did."""
        epochs: Any = trainer.fit_loop.epoch_progress.current
        self.anchor = Anchor(epochs.processed, 0, _total(trainer))

    def resume(self, epoch: int, batch: int, total: int) -> None:
        """Begin a run where a checkpoint stands; its values are those of `state`."""
        self.anchor = Anchor(epoch, batch, total)

    def now(self, trainer: L.Trainer, length: float) -> tuple[int, int]:
        """Epoch and batch that come next.

        Args:
            trainer: Whose counters are read.
            length: Batches of an epoch on this rank.
        """
        assert self.anchor is not None
        # The loops' counters are restored after the data module's state.
        done = max(0, _total(trainer) - self.anchor.total)
        return self._after(done, length)

    def state(self, trainer: L.Trainer, undone: int = 0) -> dict[str, int]:
        """What a checkpoint needs to go on from here; nothing before the first run.

        Args:
            trainer: Whose counters are read.
            undone: Batches done since the optimizer's last step, which are to be done again.
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
    """Let a checkpoint that is saved within an accumulation group resume at the group's start.

    A checkpoint holds no gradients. So the counters of the loops and the position of the data are
    set back by the micro-batches that were started since the optimizer's last step; the resumed run
    does these again. Nothing is changed where none were, or where no data module of this package
    could go back.

    Args:
        trainer: Who saves.
        checkpoint: What it has put together; changed in place.

    Returns:
        Batches trained on before the group, in all; `None` where nothing was changed.
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
    """The Trainer that fits a data module now; `None` while there is none."""
    trainer = data.trainer
    if trainer is None or trainer.state.fn != "fit" or trainer.datamodule is not data:
        return None
    return trainer if trainer.state.status == TrainerStatus.RUNNING else None


def training_loaders(trainer: L.Trainer) -> list[Any]:
    """The loaders that the Trainer trains from."""
    combined = trainer.fit_loop._combined_loader  # noqa: SLF001 -- the public name gives no list
    return [] if combined is None else list(combined.flattened)


def _epoch_length(trainer: L.Trainer) -> float:
    """Batches of an epoch on this rank."""
    loaders = training_loaders(trainer)
    planned = [each for each in loaders if isinstance(getattr(each, "sampler", None), BatchSampler)]
    own = [len(each) for each in planned]
    return max(1, min([trainer.num_training_batches, *own]))


def _total(trainer: L.Trainer) -> int:
    """Training batches done on this rank since training began, interruptions included."""
    total: Any = trainer.fit_loop.epoch_loop.batch_progress.total
    return int(total.processed)
