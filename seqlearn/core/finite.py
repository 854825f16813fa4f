"""`FiniteSteps`: stops training before NaN or infinity reaches the weights.

A loss that is not finite makes the whole gradient NaN, and gradients are summed over all ranks. The
norm of the reduced gradient therefore gives the same result on all ranks, without communication.
Each optimizer step copies one number from the device.
"""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch import Tensor

from seqlearn.core.meshes import step_one_by_one, total_norm

SCALE_FLOOR = 1e-4
"""Loss scale of `16-mixed` at or below which an infinite gradient is an error."""


class FiniteSteps(L.LightningModule):
    """The part of `SequenceModule` that checks losses and gradients at each optimizer step."""

    def __init__(self) -> None:
        super().__init__()
        self._losses_since_step: list[Tensor] = []

    def on_train_start(self) -> None:
        """Discard the losses of an interrupted run, and set the accumulation of its epoch.

        Optimizers whose parameters have several meshes step one by one.

        `GradientAccumulationScheduler` sets it at the start of an epoch, a hook that Lightning does
        not call for an epoch that is resumed.

        Raises:
            ValueError: If `eps` of an optimizer is zero in the dtype of its parameters.
        """
        self._losses_since_step = []
        for optimizer in self.trainer.optimizers:
            _check_eps(optimizer)
            step_one_by_one(optimizer)
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, GradientAccumulationScheduler):
                epoch = self.trainer.current_epoch
                self.trainer.accumulate_grad_batches = callback.get_accumulate_grad_batches(epoch)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients. A loss that is not finite makes them NaN."""
        if not args and "gradient" not in kwargs and loss.ndim == 0:
            self._losses_since_step.append(loss.detach())
            kwargs["gradient"] = loss.detach() * 0 + 1
        super().backward(loss, *args, **kwargs)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Check the reduced gradients before the optimizer step.

        Under `16-mixed` the gradient scaler skips steps with infinite gradients. They are an error
        only if a loss is not finite, or the loss scale is at most `SCALE_FLOOR`.

        Raises:
            FloatingPointError: On all ranks, if a loss or a gradient of any rank is NaN or
                infinite. The message names the step, the batch and the first parameter.
        """
        losses, self._losses_since_step = self._losses_since_step, []
        gradients = _gradients(optimizer)
        if not gradients or bool(total_norm(gradients).isfinite()):
            return
        trainer = self.trainer
        bad_loss = _micro_batches_since(losses, trainer)
        if bad_loss:
            raise FloatingPointError(_message(trainer, "the loss is NaN or infinite", bad_loss))
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None and scaler.get_scale() > SCALE_FLOOR:
            return
        if not (names := _bad_gradients(self)):
            return  # only the norm overflowed
        more = f" (and of {len(names) - 1} further parameters)" if len(names) > 1 else ""
        scale = "" if scaler is None else f", and the loss scale is down to {scaler.get_scale():g}"
        what = f"the gradient of {names[0]}{more} is NaN or infinite, the loss is not{scale}"
        raise FloatingPointError(_message(trainer, what, 1))


def _check_eps(optimizer: torch.optim.Optimizer) -> None:
    """Refuse an `eps` that rounds to zero: the first step would be 0 / 0 and all weights NaN.

    Fused kernels, and optimizers of other packages, may compute in float32.
    """
    if not type(optimizer).step.__module__.startswith("torch."):
        return
    for group in optimizer.param_groups:
        eps = group.get("eps")
        if not isinstance(eps, float) or eps <= 0:
            continue
        if group.get("fused"):
            continue
        for dtype in {parameter.dtype for parameter in group["params"]}:
            if dtype.is_floating_point and not torch.tensor(eps, dtype=dtype):
                name = str(dtype).removeprefix("torch.")
                raise ValueError(
                    f"expected eps of {type(optimizer).__name__} to be above zero in {name}, the "
                    f"dtype of its parameters, got {eps:g}, which rounds to zero: the first step "
                    "would make the weights NaN. Pass a larger one, such as eps=1e-3, or use "
                    "precision='16-mixed' or 'bf16-mixed'"
                )


def _gradients(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The gradients of the parameters in the optimizer."""
    found = [p.grad for group in optimizer.param_groups for p in group["params"]]
    return [
        gradient.coalesce().values() if gradient.is_sparse else gradient
        for gradient in found
        if gradient is not None
    ]


def _micro_batches_since(losses: list[Tensor], trainer: L.Trainer) -> int:
    """The first micro-batch with a bad loss on any rank, counted from the last (1); 0 if none."""
    bad = [number for number, loss in enumerate(losses) if not bool(loss.isfinite().all())]
    since = torch.tensor(
        float(len(losses) - bad[0] if bad else 0), device=trainer.strategy.root_device
    )
    return int(trainer.strategy.reduce(since, reduce_op="max"))


def _bad_gradients(module: L.LightningModule) -> list[str]:
    """The names of the parameters whose gradient is not finite."""
    return [
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is not None and not math.isfinite(_largest(parameter.grad))
    ]


def _largest(gradient: Tensor) -> float:
    """The largest absolute value, over all shards if the gradient is sharded."""
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
