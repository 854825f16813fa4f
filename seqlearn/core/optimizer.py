"""The optimizer and the learning-rate schedule of a `Recipe`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from seqlearn.core.recipe import Recipe


def configure_optimizer(
    module: nn.Module,
    recipe: Recipe,
    total_steps: float,
    make_optimizer: Callable[[list[dict[str, Any]]], Optimizer],
) -> dict[str, Any]:
    """Make what `LightningModule.configure_optimizers` returns.

    Args:
        module: Whose parameters are trained.
        recipe: How they are trained.
        total_steps: Optimizer steps of the run; infinity if that is not known.
        make_optimizer: Makes the optimizer from `parameter_groups(module, recipe)`.

    Raises:
        ValueError: If the schedule is a cosine and the run has no last step.
        TypeError: If `make_optimizer` returns something else than an optimizer.
    """
    if recipe.schedule == "cosine" and total_steps == math.inf:
        raise ValueError(
            "schedule 'cosine' needs a run with a last step; set max_steps or max_epochs of "
            "the Trainer, or take schedule 'inverse_sqrt'"
        )
    optimizer = make_optimizer(parameter_groups(module, recipe))
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"expected make_optimizer to return a torch.optim.Optimizer, got {optimizer!r}; to "
            "return a scheduler of your own too, override configure_optimizers instead"
        )
    scheduler = RecipeLR(optimizer, recipe, total_steps)
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "lr"},
    }


def parameter_groups(module: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Split parameters into matrices, with weight decay, and the rest (also embeddings), without.

    Args:
        module: Whose parameters they are.
        recipe: Its `weight_decay` is that of the matrices.
    """
    embeddings = {
        id(p)
        for part in module.modules()
        if isinstance(part, nn.Embedding)
        for p in part.parameters()
    }
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for parameter in module.parameters():
        is_matrix = parameter.ndim > 1 and id(parameter) not in embeddings
        (decayed if is_matrix else kept).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def make_adamw(groups: list[dict[str, Any]], recipe: Recipe) -> Optimizer:
    """Make the AdamW of a recipe."""
    eps = max(_smallest_eps(p.dtype, recipe.beta2) for group in groups for p in group["params"])
    betas = (recipe.beta1, recipe.beta2)
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=betas, eps=max(1e-9, eps))


def _smallest_eps(dtype: torch.dtype, beta2: float) -> float:
    """The gradient whose squared share underflows in this type; AdamW divides by eps there.

    Far below 1e-9, but 2e-3 in float16, where 1e-9 is zero: the first step would be 0 / 0.
    """
    limits = torch.finfo(dtype)
    return math.sqrt(limits.smallest_normal * limits.eps / (1 - beta2))


class RecipeLR(LambdaLR):
    """The schedule of a recipe: multiplies each group's learning rate by `Recipe.factor`.

    The steps of warm-up are part of its state, so that a run which is resumed with another number
    of epochs keeps its warm-up, and its learning rate does not jump. An explicit
    `Recipe.warmup_steps` always applies.

    Args:
        optimizer: Whose learning rates are set.
        recipe: Gives the schedule.
        total_steps: Optimizer steps of the run; infinity if that is not known.

    Attributes:
        default_warmup_steps: The warm-up if the recipe gives none.
    """

    def __init__(self, optimizer: Optimizer, recipe: Recipe, total_steps: float) -> None:
        self.default_warmup_steps = replace(recipe, warmup_steps=None).warmup(total_steps)

        def factor(step: int) -> float:
            warmup = recipe.warmup_steps
            warmup = self.default_warmup_steps if warmup is None else warmup
            return replace(recipe, warmup_steps=warmup).factor(step, total_steps)

        super().__init__(optimizer, factor)


def total_steps(trainer: L.Trainer) -> float:
    """The optimizer steps of a run; infinity if that is not known. Sets up the training data."""
    steps = trainer.estimated_stepping_batches
    return steps if steps > 0 else math.inf  # Lightning answers -1 for data without a length


def warn_of_long_warmup(recipe: Recipe, total_steps: float) -> None:
    """Warn if the whole run is warm-up, so that the learning rate never reaches `recipe.lr`."""
    warmup = recipe.warmup(total_steps)
    if warmup > 1 and total_steps <= warmup:
        rank_zero_warn(
            f"the run has {total_steps:.0f} optimizer steps, all of them warm-up "
            f"(warmup_steps={warmup}): the learning rate ends at {total_steps / warmup:.0%} of "
            f"lr={recipe.lr:g}; train longer, set warmup_steps below {total_steps:.0f}, or leave "
            "it out (None is a tenth of the run)"
        )
