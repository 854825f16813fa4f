"""After which epochs a callback that measures is due, and who reads its figures in between."""

from __future__ import annotations

from collections.abc import Collection

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn


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


def warn_of_short_patience(trainer: L.Trainer, tags: Collection[str], every_n_epochs: int) -> None:
    """Warn of an `EarlyStopping` that would stop the run before the next measurement.

    It also counts the validations between two measurements, where it finds the last value again.

    Args:
        trainer: The Trainer.
        tags: The figures that are measured.
        every_n_epochs: The epochs from one measurement to the next.
    """
    validations = every_n_epochs // (trainer.check_val_every_n_epoch or 1)
    for stop in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(stop, EarlyStopping) and stop.monitor in tags and stop.patience < validations:
            rank_zero_warn(
                f"EarlyStopping(monitor={stop.monitor!r}, patience={stop.patience}) stops the run "
                f"before the figure is measured again, after {every_n_epochs} epochs: it counts "
                f"each validation; expected a patience of at least {validations}, such as "
                f"{stop.patience * validations} for {stop.patience} measurements"
            )
