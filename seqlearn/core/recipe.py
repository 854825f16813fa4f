"""`Recipe`: the training options of a module."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from seqlearn.plain_data import convert_fields

WARMUP_SHARE = 0.1
"""The default warm-up, as a fraction of the optimizer steps of the run."""

MAX_WARMUP_STEPS = 400
"""The longest default warm-up in steps; also the default of a run of unknown length."""


@dataclass(frozen=True)
class Recipe:
    """The training options: optimizer, schedule, label smoothing and seed.

    Attributes:
        lr: The highest learning rate, reached after the warm-up.
        warmup_steps: Optimizer steps in which the learning rate rises linearly from zero. `None` is
            a tenth of the run, at most 400 steps, and 400 if the length of the run is unknown. A
            resumed run keeps its warm-up.
        schedule: The learning rate after the warm-up: `"inverse_sqrt"` is proportional to 1/√step
            (Vaswani et al. 2017, section 5.3), `"cosine"` falls to zero at the last step
            (Loshchilov & Hutter 2017), `"constant"` does not change.
        weight_decay: Weight decay of AdamW for matrices (not biases, norms and embeddings).
        beta1: Decay rate of AdamW for the average of gradients.
        beta2: Decay rate of AdamW for the average of squared gradients.
        label_smoothing: Probability mass that is distributed over the vocabulary.
        seed: The seed of all random numbers in training, together with the rank and the batch
            number. A resumed run draws the same numbers as an uninterrupted one.
        activation_checkpointing: Whether `fit` computes each layer of `layers_to_shard()` again in
            the backward pass instead of keeping its activations: less memory, more time, and the
            same results.

    Raises:
        TypeError: If a value has the wrong type, such as a string instead of a number.
        ValueError: If a value is outside its range; the message gives both.

    Examples:
        >>> Recipe(lr=3e-4, schedule="cosine").beta2
        0.98
    """

    lr: float = 1e-3
    warmup_steps: int | None = None
    schedule: Literal["inverse_sqrt", "cosine", "constant"] = "inverse_sqrt"
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.98
    label_smoothing: float = 0.0
    seed: int = 0
    activation_checkpointing: bool = False

    def __post_init__(self) -> None:
        convert_fields(self)
        if not 0 < self.lr < math.inf:
            raise ValueError(f"expected a learning rate above 0, got lr={self.lr}")
        if self.warmup_steps is not None and self.warmup_steps < 0:
            raise ValueError(
                f"expected warmup_steps of 0 or more, or None for a tenth of the run, "
                f"got {self.warmup_steps}"
            )
        check_smoothing(self.label_smoothing, "label_smoothing")
        if not 0 <= self.weight_decay < math.inf or self.seed < 0:
            raise ValueError(
                "expected weight_decay and seed of 0 or more, "
                f"got {self.weight_decay} and {self.seed}"
            )
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise ValueError(
                f"expected beta1 and beta2 from 0 to below 1, got {self.beta1} and {self.beta2}"
            )
        if self.schedule not in ("inverse_sqrt", "cosine", "constant"):
            raise ValueError(
                f"expected schedule 'inverse_sqrt', 'cosine' or 'constant', got {self.schedule!r}"
            )

    def warmup(self, total_steps: float) -> int:
        """Compute the number of warm-up steps of a run.

        Args:
            total_steps: Optimizer steps of the run; infinity if unknown.

        Returns:
            `warmup_steps` if it is set; else a tenth of the run, at least 1 and at most 400.

        Examples:
            >>> [Recipe().warmup(steps) for steps in (60, 1000, 100_000)]
            [6, 100, 400]
            >>> Recipe(warmup_steps=800).warmup(60)
            800
        """
        if self.warmup_steps is not None:
            return self.warmup_steps
        return max(1, int(min(MAX_WARMUP_STEPS, WARMUP_SHARE * total_steps)))

    def factor(self, step: int, total_steps: float) -> float:
        """Compute the factor by which the schedule multiplies `lr`.

        Args:
            step: The optimizer step, from 0.
            total_steps: Optimizer steps of the run, for `"cosine"` and the default warm-up;
                infinity if unknown.

        Returns:
            A number from 0 to 1.

        Examples:
            >>> recipe = Recipe(warmup_steps=4)
            >>> [recipe.factor(step, 100) for step in (0, 3, 15)]
            [0.25, 1.0, 0.5]
        """
        warmup = self.warmup(total_steps)
        if step < warmup:
            return (step + 1) / warmup
        if self.schedule == "inverse_sqrt":
            return math.sqrt(max(1, warmup) / (step + 1))
        if self.schedule == "cosine":
            done = (step - warmup) / max(1.0, total_steps - warmup)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return 1.0


def check_smoothing(smoothing: object, name: str = "smoothing") -> None:
    """Check a share of label smoothing.

    Args:
        smoothing: The share.
        name: Name of the argument, for errors.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is below 0, or 1 or above.

    Examples:
        >>> check_smoothing(0.1)
    """
    if isinstance(smoothing, bool) or not isinstance(smoothing, int | float):
        raise TypeError(f"{name}: expected a number, such as 0.1, got {smoothing!r}")
    if not 0 <= smoothing < 1:
        raise ValueError(f"expected {name} from 0 to below 1, got {smoothing}")
