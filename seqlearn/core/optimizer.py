"""Parameter groups, AdamW and the learning-rate schedule of a `Recipe`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from seqlearn.core.recipe import Recipe
from seqlearn.nn.positions import LearnedPositions


def configure_optimizer(
    module: nn.Module,
    recipe: Recipe,
    total_steps: float,
    make_optimizer: Callable[[list[dict[str, Any]]], Optimizer],
) -> dict[str, Any]:
    """Make the return value of `LightningModule.configure_optimizers`.

    Args:
        module: The module to be trained.
        recipe: The training options.
        total_steps: Optimizer steps of the run; infinity if unknown.
        make_optimizer: Makes the optimizer from `parameter_groups(module, recipe)`.

    Raises:
        ValueError: If the schedule is `"cosine"` and the number of steps is unknown.
        TypeError: If `make_optimizer` does not return an optimizer.
    """
    if recipe.schedule == "cosine" and total_steps == math.inf:
        raise ValueError(
            "schedule 'cosine' needs a run with a last step; set max_steps or max_epochs of "
            "the Trainer, or use schedule 'inverse_sqrt'"
        )
    optimizer = make_optimizer(parameter_groups(module, recipe))
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"expected make_optimizer to return a torch.optim.Optimizer, got {optimizer!r}; to "
            "return your own scheduler as well, override configure_optimizers instead"
        )
    scheduler = RecipeLR(optimizer, recipe, total_steps)
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "lr"},
    }


def parameter_groups(module: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Divide the parameters into matrices, with weight decay, and all others, without.

    Biases, norms and embeddings have no weight decay. Parameters that require no gradient (frozen
    ones) are left out; `BaseFinetuning.unfreeze_and_add_param_group` adds them later.

    Args:
        module: The module that has the parameters.
        recipe: Gives the `weight_decay` of the matrices.

    Returns:
        One or two parameter groups of torch; none of them is empty.

    Raises:
        ValueError: If all parameters are frozen.

    Examples:
        >>> groups = parameter_groups(nn.Linear(3, 2), Recipe(weight_decay=0.1))
        >>> [group["weight_decay"] for group in groups]
        [0.1, 0.0]
    """
    embeddings = {
        id(p)
        for part in module.modules()
        if isinstance(part, nn.Embedding | LearnedPositions)
        for p in part.parameters()
    }
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for parameter in module.parameters():
        if not parameter.requires_grad:
            continue
        is_matrix = parameter.ndim > 1 and id(parameter) not in embeddings
        (decayed if is_matrix else kept).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    if not decayed and not kept:
        raise ValueError(
            f"all parameters of {type(module).__name__} are frozen, so there is nothing to train; "
            "call requires_grad_(True) on the part to train, such as module.head"
        )
    return [group for group in groups if group["params"]]


def make_adamw(groups: list[dict[str, Any]], recipe: Recipe) -> Optimizer:
    """Make AdamW with the learning rate and betas of a recipe."""
    eps = max(_smallest_eps(p.dtype, recipe.beta2) for group in groups for p in group["params"])
    betas = (recipe.beta1, recipe.beta2)
    # That of groups that are added later, such as those of `BaseFinetuning`; by default 0.01.
    decay = recipe.weight_decay
    return torch.optim.AdamW(
        groups, lr=recipe.lr, betas=betas, eps=max(1e-9, eps), weight_decay=decay
    )


def _smallest_eps(dtype: torch.dtype, beta2: float) -> float:
    """The gradient below which `(1 - beta2) * gradient**2` underflows in this dtype.

    AdamW then divides by eps alone. The value is far below 1e-9 in float32, and 2e-3 in float16,
    where 1e-9 rounds to zero and the first step would be 0 / 0.
    """
    limits = torch.finfo(dtype)
    return math.sqrt(limits.smallest_normal * limits.eps / (1 - beta2))


class RecipeLR(LambdaLR):
    """Learning-rate scheduler that multiplies the rate of each group by `Recipe.factor`.

    A group that is added to the optimizer later starts at its own rate and follows the schedule
    from there.

    The number of warm-up steps is part of its state. A run that is resumed with another number of
    epochs keeps its warm-up, so that the learning rate does not jump. An explicit
    `Recipe.warmup_steps` takes precedence.

    Args:
        optimizer: The optimizer.
        recipe: The training options.
        total_steps: Optimizer steps of the run; infinity if unknown.

    Attributes:
        default_warmup_steps: The warm-up steps used if the recipe gives none.
    """

    def __init__(self, optimizer: Optimizer, recipe: Recipe, total_steps: float) -> None:
        self.default_warmup_steps = replace(recipe, warmup_steps=None).warmup(total_steps)

        def factor(step: int) -> float:
            warmup = recipe.warmup_steps
            warmup = self.default_warmup_steps if warmup is None else warmup
            return replace(recipe, warmup_steps=warmup).factor(step, total_steps)

        super().__init__(optimizer, factor)

    def get_lr(self) -> list[Any]:
        """The rate of each group, also of those that were added since."""
        factor = self.lr_lambdas[0]
        for group in self.optimizer.param_groups:
            if "initial_lr" not in group:  # at the rate that it has had until now
                group["initial_lr"] = group["lr"] / (factor(self.last_epoch - 1) or 1.0)
        return [
            group["initial_lr"] * factor(self.last_epoch) for group in self.optimizer.param_groups
        ]


def total_steps(trainer: L.Trainer) -> float:
    """The optimizer steps of a run; infinity if unknown. It sets up the training data.

    Lightning's estimate takes the accumulation of the first epoch for all of them, or 1 where
    `GradientAccumulationScheduler` sets it.
    """
    steps = trainer.estimated_stepping_batches
    if steps <= 0:
        return math.inf  # -1 for data without a length
    batches, epochs = trainer.num_training_batches, trainer.max_epochs
    if epochs is None or epochs == -1 or batches == math.inf:
        return steps  # the number that `max_steps` gives
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, GradientAccumulationScheduler):
            groups = (callback.get_accumulate_grad_batches(epoch) for epoch in range(epochs))
            steps = sum(math.ceil(batches / group) for group in groups)
            return steps if trainer.max_steps == -1 else min(steps, trainer.max_steps)
    return steps


def warn_of_long_warmup(recipe: Recipe, total_steps: float) -> None:
    """Warn if all steps of the run are warm-up, so that `recipe.lr` is never reached."""
    warmup = recipe.warmup(total_steps)
    if warmup > 1 and total_steps <= warmup:
        rank_zero_warn(
            f"the run has {total_steps:.0f} optimizer steps, all of them warm-up "
            f"(warmup_steps={warmup}): the learning rate ends at {total_steps / warmup:.0%} of "
            f"lr={recipe.lr:g}; train longer, set warmup_steps below {total_steps:.0f}, or leave "
            "it out (None is a tenth of the run)"
        )


def unfreeze_again(module: nn.Module, names: frozenset[str], trainer: L.Trainer) -> None:
    """Let parameters that were unfrozen before a checkpoint require a gradient again.

    Args:
        module: The module.
        names: Their names; those that no callback has put into an optimizer stay frozen.
        trainer: The Trainer of the run.
    """
    trained = _optimized(trainer)
    for name, parameter in module.named_parameters():
        if name in names and id(parameter) in trained:
            parameter.requires_grad_()


def check_unfrozen(module: nn.Module, frozen: frozenset[str], trainer: L.Trainer) -> None:
    """Check that parameters that were unfrozen during a run are trained.

    Args:
        module: The module.
        frozen: The names of the parameters that were frozen when the optimizer was made.
        trainer: The Trainer of the run.

    Raises:
        RuntimeError: If one is in no parameter group, or DDP does not reduce its gradient; the
            message names it.
    """
    unfrozen = {n: p for n, p in module.named_parameters() if n in frozen and p.requires_grad}
    if not unfrozen:
        return
    trained = _optimized(trainer)
    name = next((n for n, p in unfrozen.items() if id(p) not in trained), None)
    if name is not None:
        raise RuntimeError(
            f"{name} was frozen when the optimizer was made, and requires a gradient now, but is "
            "in no parameter group, so it would not be trained; unfreeze it with "
            "BaseFinetuning.unfreeze_and_add_param_group(part, optimizer)"
        )
    if isinstance(trainer.strategy.model, DistributedDataParallel):
        raise RuntimeError(  # noqa: TRY004 -- the type is not what is wrong
            f"{next(iter(unfrozen))} was frozen when the run started; DDP does not reduce its "
            "gradient, so processes would train different weights; unfreeze it before a new run: "
            "load the checkpoint, and call fit"
        )


def _optimized(trainer: L.Trainer) -> set[int]:
    """The `id` of each parameter that an optimizer of the run changes."""
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    return {id(parameter) for group in groups for parameter in group["params"]}
