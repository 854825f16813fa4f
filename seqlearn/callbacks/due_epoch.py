"""After which epochs a callback that measures at validation is due."""

from __future__ import annotations

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn


def is_due_epoch(trainer: L.Trainer, every_n_epochs: int, *, measured: bool) -> bool:
    """Whether a callback measures at this validation.

    In `fit`, epochs are counted as Lightning counts them for `check_val_every_n_epoch` and
    `ModelCheckpoint(every_n_epochs=…)`, after n, 2n, 3n, … epochs, so that what is measured is what
    is saved. The first validation of a run, also of a resumed one, is always due: what other
    callbacks monitor must have a value by then. Outside of `fit`, all validations are due.

    Args:
        trainer: The Trainer.
        every_n_epochs: The number n.
        measured: Whether the callback has measured since `fit` began.
    """
    if trainer.sanity_checking:
        return False
    epochs = trainer.current_epoch + 1
    return trainer.state.fn != TrainerFn.FITTING or not measured or epochs % every_n_epochs == 0
