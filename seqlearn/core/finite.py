"""Training stops before NaN or infinity reaches the weights.

A loss that is not finite makes the whole gradient NaN, and the gradient is summed over all ranks.
So one norm of the reduced gradient decides, equally on all ranks: no further communication, and
one number read from the device for each optimizer step.
"""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor

SCALE_FLOOR = 1e-4
"""The lowest loss scale of `16-mixed`: below it not the scale is at fault, but the gradient."""


class FiniteSteps(L.LightningModule):
    """The part of a module that checks the losses and the gradient of each optimizer step."""

    def __init__(self) -> None:
        super().__init__()
        self._losses_since_step: list[Tensor] = []

    def on_train_start(self) -> None:
        """Forget the losses of a run that was interrupted."""
        self._losses_since_step = []

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients; of a loss that is not finite they are NaN, on all ranks."""
        if not args and "gradient" not in kwargs and loss.ndim == 0:
            self._losses_since_step.append(loss.detach())
            kwargs["gradient"] = loss.detach() * 0 + 1
        super().backward(loss, *args, **kwargs)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Check the step that is about to be made, on all ranks, after their reduction.

        Under `16-mixed`, whose scaler provokes infinite gradients and skips such steps, an
        infinite gradient counts only with a loss that is not finite, or a scale at its floor.

        Raises:
            FloatingPointError: If a loss or a gradient is NaN or infinite, on all ranks alike; it
                names the step, the batch and the first parameter.
        """
        losses, self._losses_since_step = self._losses_since_step, []
        gradients = _gradients(optimizer)
        if not gradients or math.isfinite(_norm(gradients)):
            return
        trainer = self.trainer
        bad_loss = _micro_batches_since(losses, trainer)
        if bad_loss:
            raise FloatingPointError(_message(trainer, "the loss is NaN or infinite", bad_loss))
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None and scaler.get_scale() > SCALE_FLOOR:
            return
        if not (names := _bad_gradients(self)):
            return  # The norm alone overflowed.
        more = f" (and of {len(names) - 1} further parameters)" if len(names) > 1 else ""
        scale = "" if scaler is None else f", and the loss scale is down to {scaler.get_scale():g}"
        what = f"the gradient of {names[0]}{more} is NaN or infinite, the loss is not{scale}"
        raise FloatingPointError(_message(trainer, what, 1))


def _gradients(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The gradients of the parameters that the optimizer steps."""
    found = [p.grad for group in optimizer.param_groups for p in group["params"]]
    return [
        gradient.coalesce().values() if gradient.is_sparse else gradient
        for gradient in found
        if gradient is not None
    ]


def _norm(gradients: list[Tensor]) -> float:
    """The norm of all gradients together; of sharded ones over all shards."""
    norm: Any = torch.nn.utils.get_total_norm(gradients)
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def _micro_batches_since(losses: list[Tensor], trainer: L.Trainer) -> int:
    """How many micro-batches ago (1 is the last) any rank first had a bad loss; 0 if none had."""
    bad = [number for number, loss in enumerate(losses) if not bool(loss.isfinite().all())]
    since = torch.tensor(
        float(len(losses) - bad[0] if bad else 0), device=trainer.strategy.root_device
    )
    return int(trainer.strategy.reduce(since, reduce_op="max"))


def _bad_gradients(module: L.LightningModule) -> list[str]:
    """The parameters whose gradient is not finite."""
    return [
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is not None and not math.isfinite(_largest(parameter.grad))
    ]


def _largest(gradient: Tensor) -> float:
    """The largest absolute value; of a sharded gradient over all shards."""
    gradient = gradient.coalesce().values() if gradient.is_sparse else gradient
    if not gradient.numel():
        return 0.0
    largest: Any = gradient.abs().max()
    return float(largest.full_tensor() if hasattr(largest, "full_tensor") else largest)


def _message(trainer: L.Trainer, what: str, since: int) -> str:
    batch = trainer.fit_loop.batch_idx + 1 - since
    return (
        f"training stopped before optimizer step {trainer.global_step} (epoch "
        f"{trainer.current_epoch}, batch {batch}, all counted from 0): {what}; the weights are "
        "those of the step before. Check this batch for NaN or infinite numbers, lower lr or "
        "lengthen warmup_steps in the recipe, set gradient_clip_val of the Trainer, or use "
        "precision='bf16-mixed' or '32-true'"
    )
