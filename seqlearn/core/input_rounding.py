"""A warning where the Trainer rounds the numbers of a batch before they are scaled."""

from __future__ import annotations

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn

from seqlearn.spec import SequenceSpec
from seqlearn.spec.scaling import Scaled

_ROUNDED = {"bf16-true": torch.bfloat16, "16-true": torch.float16}
_TOLERANCE = 0.05
"""The largest error of rounding, in standard deviations, that nothing is said of."""


def warn_of_rounding(trainer: L.Trainer, spec: SequenceSpec) -> None:
    """Warn if numbers lose what a model learns from when the Trainer converts a batch.

    In `precision="bf16-true"` and `"16-true"` the Trainer converts each batch before the model
    subtracts the mean. Temperatures around 293 K become multiples of 2.

    Args:
        trainer: The Trainer of the run.
        spec: The types of source and target.
    """
    dtype = _ROUNDED.get(str(trainer.precision))
    for name in ("source", "target"):
        side = getattr(spec, name)
        if dtype is None or not isinstance(side, Scaled) or side.mean is None or side.std is None:
            continue
        for mean, std in zip(side.mean, side.std, strict=True):
            info = torch.finfo(dtype)
            error = abs(mean) * info.eps / 2 / std
            if error > _TOLERANCE or abs(mean) + 4 * std > info.max:
                rank_zero_warn(
                    f"precision={trainer.precision!r} rounds the numbers of the {name} (mean "
                    f"{mean:g}, standard deviation {std:g}) before the mean is subtracted, by up "
                    f"to {min(error, 1e3):.2g} standard deviations; use 'bf16-mixed' or '32-true'"
                )
                break
