"""A data module whose arguments are plain data, which caches and checkpoints can hold."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from types import FrameType
from typing import Any

import lightning as L
import numpy as np

from seqlearn.plain_data import to_builtin, to_plain_data


class PlainArguments(L.LightningDataModule):
    """The part of a data module that keeps its arguments plain, in every source alike."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a numpy scalar, such as a seed or a size, becomes Python's own."""
        super().__setattr__(name, to_builtin(value) if isinstance(value, np.generic) else value)

    def save_hyperparameters(
        self,
        *args: Any,
        ignore: Sequence[str] | str | None = None,
        frame: FrameType | None = None,
        logger: bool = True,
    ) -> None:
        """Save arguments to `hparams` as Lightning does, but as plain data.

        Args:
            args: As Lightning's.
            ignore: Arguments that are left out.
            frame: The caller's, by default.
            logger: Whether the Trainer's logger gets them.

        Raises:
            TypeError: If an argument is not plain data; leave it out with `ignore`.
        """
        here = inspect.currentframe()
        frame = frame or (here and here.f_back)
        super().save_hyperparameters(*args, ignore=ignore, frame=frame, logger=logger)
        for name, value in self.hparams.items():
            self.hparams[name] = to_plain_data(value, f"hyper-parameter {name}")
        self._hparams_initial = copy.deepcopy(self.hparams)
