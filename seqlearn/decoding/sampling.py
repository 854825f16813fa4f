"""Sampling: draw every token from the model's distribution, or from its likeliest part.

Source: Fan et al. 2018, section 5.1, for top-k; Holtzman et al. 2020, section 3.1, for top-p.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqlearn.batch import Memory
from seqlearn.decoding.decode_loop import decode_loop
from seqlearn.decoding.protocols import SUPPRESSED, NextToken
from seqlearn.instrumentation import end_decoding
from seqlearn.nn.protocols import select


@dataclass(frozen=True)
class Sampling:
    """Sampling from any decoder.

    The logits are divided by `temperature`, then cut to the `top_k` likeliest tokens, then to the
    fewest likeliest that have `top_p` of the probability left.

    Attributes:
        temperature: Above 1 the distribution is flatter, below 1 sharper than the model's.
        top_k: How many of the likeliest tokens may be drawn; all, if `None`.
        top_p: Share of the probability that the tokens that may be drawn have at least, from
            above 0 to 1; all, if `None`.

    Raises:
        ValueError: If an option is outside its range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise ValueError(
                f"expected a temperature above 0, got {self.temperature}; for the likeliest token "
                "at every step use strategy='greedy'"
            )
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"expected a top_k of at least 1 token, got {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"expected a top_p above 0 and at most 1, got {self.top_p}")

    def __call__(
        self,
        next_token: NextToken,
        first: Int[Tensor, "batch time"],
        memory: Memory | None,
        *,
        max_new_tokens: int,
        seeds: Sequence[Sequence[int]],
        suppress: Sequence[int] = SUPPRESSED,
    ) -> list[list[list[int]]]:
        """Draw answers until the end symbol or the limit.

        An answer that has ended leaves the batch and costs nothing more. What is drawn for an
        answer follows from its seed and the model's distributions alone, not from its company; a
        higher limit only lets it go on.

        Args:
            next_token: The model's answer to more tokens.
            first: The tokens that every answer begins with (the start symbol), equally many a row.
            memory: What the encoder read; `None` for a language model.
            max_new_tokens: Tokens to make at most, the end symbol counted.
            seeds: For each row of `first` a seed for each answer to it, equally many.
            suppress: The ids that are never generated; see `suppressed_tokens`.

        Returns:
            For each row of `first` the ids of its answers, without start and end.

        Raises:
            ValueError: If `max_new_tokens` is below one.
        """
        each = len(seeds[0])
        draws = _RandomStreams([seed for row in seeds for seed in row])
        rows = torch.arange(len(first) * each, device=first.device) // each
        answers, finish_step = decode_loop(
            next_token,
            first[rows],
            select(memory, rows),
            lambda logits, row_ids: self.choose(
                logits, draws.next(row_ids).to(logits.device), suppress
            ),
            max_new_tokens=max_new_tokens,
        )
        starts = range(0, len(answers), each)
        best = [answers[start] for start in starts]
        fed = [[*given, *answer] for given, answer in zip(first.tolist(), best, strict=True)]
        end_decoding([finish_step[start : start + each] for start in starts], fed)
        return [answers[start : start + each] for start in starts]

    def choose(
        self,
        logits: Float[Tensor, "rows vocab"],
        uniform: Float[Tensor, " rows"],
        suppress: Sequence[int] = SUPPRESSED,
    ) -> Int[Tensor, " rows"]:
        """Draw a token for each row, by the inverse of its cumulative distribution.

        Args:
            logits: The model's answers.
            uniform: A draw for each row, above 0 and at most 1.
            suppress: The ids that are never generated; see `suppressed_tokens`.
        """
        # In single precision at least, also where autocast makes bf16 logits.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32), copy=True)
        logits[:, list(suppress)] = float("-inf")
        # Below the largest, so that a low temperature makes no infinities.
        logits = (logits - logits.amax(-1, keepdim=True)) / self.temperature
        ids: Tensor | None = None
        if self.top_k is not None:
            logits, ids = logits.topk(min(self.top_k, logits.shape[1]))
        elif self.top_p is not None:
            logits, ids = logits.sort(descending=True)
        p = logits.softmax(-1)
        if self.top_p is not None and self.top_p < 1:
            p = p.masked_fill(p.cumsum(-1) - p >= self.top_p, 0.0)
        # Zeros at what may not be drawn, so that rounding cannot reach it.
        cumulative = p.cumsum(-1).masked_fill(p == 0, 0.0)
        reached = cumulative >= uniform[:, None] * cumulative.amax(-1, keepdim=True)
        at = reached.to(torch.uint8).argmax(-1, keepdim=True)
        return (at if ids is None else ids.gather(1, at)).squeeze(1)


class _RandomStreams:
    """A stream of uniform numbers for each answer, from a seed of its own."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._streams = [np.random.default_rng(seed) for seed in seeds]

    def next(self, row_ids: Sequence[int]) -> Float[Tensor, " row_ids"]:
        """The next number of each of these answers, above 0 and at most 1."""
        drawn = [1.0 - self._streams[row_id].random() for row_id in row_ids]
        return torch.tensor(drawn, dtype=torch.float32)
