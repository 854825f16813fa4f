"""Arguments of data modules as plain data, which caches and checkpoints can store."""

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
    """Base of data modules that converts arguments to plain data."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a numpy scalar, such as a seed, is converted to a Python number."""
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
            args: Names of arguments, as in Lightning.
            ignore: Arguments to exclude.
            frame: Frame of the constructor; by default the caller's.
            logger: Whether to send them to the Trainer's logger.

        Raises:
            TypeError: If an argument is not plain data; exclude it with `ignore`.
        """
        here = inspect.currentframe()
        frame = frame or (here and here.f_back)
        super().save_hyperparameters(*args, ignore=ignore, frame=frame, logger=logger)
        for name, value in self.hparams.items():
            self.hparams[name] = to_plain_data(value, f"hyper-parameter {name}")
        self._hparams_initial = copy.deepcopy(self.hparams)
