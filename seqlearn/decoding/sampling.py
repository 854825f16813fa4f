"""Sampling: draw every token from the model's distribution, or from its most probable part.

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
from seqlearn.decoding.protocols import NextToken
from seqlearn.instrumentation import end_decoding
from seqlearn.nn.decoder_state import State, select

DRAWN_AT_ONCE = 32
"""Random numbers that are drawn at once for each text."""


@dataclass(frozen=True)
class Sampling:
    """Sampling from any decoder.

    The logits are divided by `temperature`, then cut to the `top_k` most probable tokens, then to
    the fewest most probable ones that have `top_p` of the remaining probability.

    Attributes:
        temperature: Above 1 the distribution is flatter, below 1 sharper than the model's.
        top_k: Number of most probable tokens to draw from; all, if `None`.
        top_p: Least share of the probability to draw from, above 0 and at most 1; all, if `None`.
        num_return_sequences: Texts to draw for each source.

    Raises:
        ValueError: If an option is outside its range.

    Source: Fan et al. 2018, section 5.1, for top-k; Holtzman et al. 2020, section 3.1, for top-p.

    Examples:
        >>> import seqlearn as sl
        >>> spec = sl.SequenceSpec(sl.TextSpec(9, 4), sl.TextSpec(9, 4))
        >>> model, top_ten = sl.GRU(spec, d_model=8), Sampling(top_k=10, temperature=0.7)
        >>> len(model.generate([[4, 5], [6]], strategy=top_ten, max_new_tokens=4))
        2
        >>> Sampling(top_k=1).draw(torch.tensor([[0.0, 2.0, 1.0]]), uniform=torch.tensor([0.9]))
        tensor([1])
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    num_return_sequences: int = 1

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise ValueError(
                f"expected a temperature above 0, got {self.temperature}; for the most probable "
                "token at every step use strategy='greedy'"
            )
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"expected top_k of at least 1, or None, got {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"expected top_p above 0 and at most 1, or None, got {self.top_p}")
        if self.num_return_sequences < 1:
            raise ValueError(
                f"expected num_return_sequences of at least 1, got {self.num_return_sequences}"
            )

    @property
    def rows_per_source(self) -> int:
        """One row for each text."""
        return self.num_return_sequences

    @property
    def num_seeds(self) -> int:
        """One seed for each text."""
        return self.num_return_sequences

    def __call__(
        self,
        next_token: NextToken,
        prefix: Int[Tensor, "batch time"],
        memory: Memory | None,
        *,
        max_new_tokens: int,
        seeds: Sequence[Sequence[int]],
    ) -> list[list[list[int]]]:
        """Draw texts until the end symbol or the limit; see `DecodingStrategy`.

        Finished texts leave the batch, an eighth of it at a time. What is drawn for a text depends
        on its seed and the model's distributions alone, not on the rest of the batch; a higher
        limit only lets it go on.

        Raises:
            ValueError: If `max_new_tokens` is below one.
        """
        generated, ends = self.sample(
            next_token, prefix, memory, max_new_tokens=max_new_tokens, seeds=seeds
        )
        whole = [
            [*start, *texts[0]] for start, texts in zip(prefix.tolist(), generated, strict=True)
        ]
        end_decoding(ends, whole)
        return generated

    def sample(
        self,
        next_token: NextToken,
        prefix: Int[Tensor, "batch time"],
        memory: Memory | None,
        *,
        max_new_tokens: int,
        seeds: Sequence[Sequence[int]],
    ) -> tuple[list[list[list[int]]], list[list[tuple[int, int]]]]:
        """Draw texts without reporting them, for strategies that choose among samples.

        Arguments as in `DecodingStrategy`.

        Returns:
            For each row of `prefix` the ids of its texts; and for each text the last step and its
            row there, which `seqlearn.instrumentation.end_decoding` takes as `beam_paths`.

        Raises:
            ValueError: If `max_new_tokens` is below one.
        """
        draws = _RandomStreams([seed for row in seeds for seed in row])
        each = self.num_return_sequences
        rows = torch.arange(len(prefix) * each, device=prefix.device) // each

        def pick(
            tokens: Tensor, memory: Memory | None, state: State | None, row_ids: Tensor
        ) -> tuple[Tensor, State]:
            logits, state = next_token.logits(tokens, memory, state)
            return self.draw(logits, draws.next(row_ids)), state

        generated, finish_step = decode_loop(
            prefix[rows], select(memory, rows), pick, max_new_tokens=max_new_tokens
        )
        starts = range(0, len(generated), each)
        texts = [generated[at : at + each] for at in starts]
        return texts, [finish_step[at : at + each] for at in starts]

    def draw(
        self, logits: Float[Tensor, "rows vocab"], uniform: Float[Tensor, " rows"]
    ) -> Int[Tensor, " rows"]:
        """Draw a token for each row, by the inverse of its cumulative distribution.

        Args:
            logits: Logits, -∞ for what may not be drawn.
            uniform: A random number for each row, above 0 and at most 1.
        """
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
    """A stream of uniform numbers for each text, from a seed of its own.

    The numbers of several steps are drawn at once.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._streams = [np.random.default_rng(seed) for seed in seeds]
        # In half precision most numbers above 1/2 would not occur.
        dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)
        self._drawn = torch.zeros(len(seeds), DRAWN_AT_ONCE, dtype=dtype)
        self._step = 0

    def next(self, row_ids: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """The next number of each of these texts, above 0 and at most 1.

        A text that is left out once gets no numbers any more.
        """
        column = self._step % DRAWN_AT_ONCE
        self._step += 1
        if column == 0:
            for row_id in row_ids.tolist():
                numbers = 1.0 - self._streams[row_id].random(DRAWN_AT_ONCE)
                self._drawn[row_id] = torch.from_numpy(numbers)
        return self._drawn[:, column].to(row_ids.device)[row_ids]
