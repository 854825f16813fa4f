"""The training options, together: one small dataclass that every module takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from seqlearn.plain_data import convert_fields

WARMUP_SHARE = 0.1
"""The default warm-up, as a share of the optimizer steps of the run."""

MAX_WARMUP_STEPS = 400
"""The longest default warm-up, and that of a run whose length is not known."""


@dataclass(frozen=True)
class Recipe:
    """How a module is trained.

    Attributes:
        lr: The highest learning rate, reached after the warm-up.
        warmup_steps: Optimizer steps in which the learning rate rises linearly from zero. `None` is
            a tenth of the run, at most 400 steps; and 400 if the run has no known last step. A
            resumed run keeps the warm-up that it was started with.
        schedule: What follows: `"inverse_sqrt"` falls with 1/√step (Vaswani et al. 2017, section
            5.3), `"cosine"` falls to zero at the last step (Loshchilov & Hutter 2017),
            `"constant"` stays.
        weight_decay: AdamW's, on matrices only (not on biases, norms and embeddings).
        beta1: AdamW's decay rate of the averaged gradient.
        beta2: AdamW's decay rate of the averaged squared gradient.
        label_smoothing: Share of the target's probability that is spread over the vocabulary.
        seed: From it, the rank and the number of the batch follow all random draws in training,
            so that a resumed run draws what the uninterrupted one would have drawn.

    Raises:
        TypeError: If a value is not of its type, such as a string for a number.
        ValueError: If a value is outside its range; the message gives both.
    """

    lr: float = 1e-3
    warmup_steps: int | None = None
    schedule: Literal["inverse_sqrt", "cosine", "constant"] = "inverse_sqrt"
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.98
    label_smoothing: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        convert_fields(self)
        if not 0 < self.lr < math.inf:
            raise ValueError(f"expected a learning rate above 0, got lr={self.lr}")
        if self.warmup_steps is not None and self.warmup_steps < 0:
            raise ValueError(
                f"expected warmup_steps of 0 or more, or None for a tenth of the run, "
                f"got {self.warmup_steps}"
            )
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(
                f"expected label_smoothing from 0 to below 1, got {self.label_smoothing}"
            )
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
        """The steps of warm-up in a run.

        Args:
            total_steps: Optimizer steps in the whole run; infinity if that is not known.

        Returns:
            `warmup_steps` if it is given; else a tenth of the run, at least 1 and at most 400.

        Example::

            >>> [Recipe().warmup(steps) for steps in (60, 1000, 100_000)]
            [6, 100, 400]
            >>> Recipe(warmup_steps=800).warmup(60)
            800
        """
        if self.warmup_steps is not None:
            return self.warmup_steps
        return max(1, int(min(MAX_WARMUP_STEPS, WARMUP_SHARE * total_steps)))

    def factor(self, step: int, total_steps: float) -> float:
        """The share of `lr` that optimizer step `step` (from 0) takes.

        Args:
            step: Steps done.
            total_steps: Steps in the whole run, for `"cosine"` and the default warm-up; infinity
                if that is not known.
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
