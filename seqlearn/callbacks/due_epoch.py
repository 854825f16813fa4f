"""After which epochs a callback that measures at validation is due."""

from __future__ import annotations

import lightning as L


def is_due_epoch(trainer: L.Trainer, every_n_epochs: int) -> bool:
    """Whether the validations of this epoch are those of every n-th one, or of the first.

    Epochs are counted as Lightning counts them for `ModelCheckpoint(every_n_epochs=…)` and
    `check_val_every_n_epoch`, after n, 2n, 3n, … epochs, so that what is measured is what is saved.
    The first validation is always due: what a callback monitors must have a value by then.
    """
    epochs = trainer.current_epoch + 1
    first = trainer.check_val_every_n_epoch or 1
    return epochs <= first or epochs % every_n_epochs == 0
