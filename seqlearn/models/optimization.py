"""AdamW and the learning-rate schedule of a `Recipe`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from seqlearn.models.recipe import Recipe


def configure_optimizer(
    module: nn.Module, recipe: Recipe, steps_in_run: Callable[[], float]
) -> dict[str, Any]:
    """Make what `LightningModule.configure_optimizers` returns.

    Args:
        module: Whose parameters are trained.
        recipe: How.
        steps_in_run: Tells how many optimiser steps the run will take; asked for a cosine alone.

    Raises:
        ValueError: If a cosine is asked for and the run has no last step.
    """
    last_step = math.inf
    if recipe.schedule == "cosine":
        last_step = steps_in_run()
        if not 0 < last_step < math.inf:
            raise ValueError(
                "schedule 'cosine' needs a run with a last step; set max_steps or max_epochs of "
                "the Trainer, or take schedule 'inverse_sqrt'"
            )
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
    optimizer = torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=recipe.lr,
        betas=(recipe.beta1, recipe.beta2),
        eps=1e-9,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: recipe.factor(step, last_step)
    )
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "lr"},
    }
