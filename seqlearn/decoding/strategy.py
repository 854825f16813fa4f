"""The three ways to decode by name, each with the options that it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from jaxtyping import Int
from torch import Tensor

from seqlearn.batch import Memory
from seqlearn.decoding.beam import BeamSearch
from seqlearn.decoding.greedy_search import greedy
from seqlearn.decoding.protocols import SUPPRESSED, NextToken
from seqlearn.decoding.sampling import Sampling

StrategyName = Literal["greedy", "beam", "sample"]

OPTIONS: dict[str, tuple[str, ...]] = {
    "greedy": (),
    "beam": ("beam_size", "length_penalty", "early_stopping"),
    "sample": ("temperature", "top_k", "top_p", "generator"),
}
"""By strategy the options that it reads."""


class Strategy:
    """A way to decode.

    Args:
        name: `"greedy"`, `"beam"` (see `BeamSearch`) or `"sample"` (see `Sampling`).
        options: Options by name; what is `None` has its default. `generator` is a
            `torch.Generator` from which the seeds of all answers are drawn; torch's own by default.
        num_return_sequences: Answers to each source.

    Raises:
        ValueError: If there is no such strategy, it does not read an option, an option is outside
            its range, or it cannot give so many answers.
    """

    def __init__(
        self, name: StrategyName, options: Mapping[str, Any], num_return_sequences: int = 1
    ) -> None:
        if name not in OPTIONS:
            raise ValueError(
                f"expected strategy {', '.join(map(repr, get_args(StrategyName)))}, got {name!r}"
            )
        given = {option: value for option, value in options.items() if value is not None}
        for option in given:
            if option not in OPTIONS[name]:
                reader = next(other for other, read in OPTIONS.items() if option in read)
                raise ValueError(
                    f"strategy={name!r} does not use {option}; leave it out, or pass "
                    f"strategy={reader!r}"
                )
        if num_return_sequences < 1:
            raise ValueError(
                f"expected num_return_sequences of at least 1, got {num_return_sequences}"
            )
        self.num_return_sequences = num_return_sequences
        self._generator: torch.Generator | None = given.pop("generator", None)
        self._search: BeamSearch | Sampling | None = None
        if name == "beam":
            self._search = BeamSearch(**given)
            if num_return_sequences > self._search.beam_size:
                raise ValueError(
                    f"expected num_return_sequences of at most beam_size={self._search.beam_size}, "
                    f"got {num_return_sequences}; pass a larger beam_size"
                )
        elif name == "sample":
            self._search = Sampling(**given)
        elif num_return_sequences > 1:
            raise ValueError(
                "strategy='greedy' generates one text for each source, got num_return_sequences="
                f"{num_return_sequences}; pass strategy='beam' or strategy='sample'"
            )

    @property
    def rows(self) -> int:
        """Rows of a batch that one source takes up."""
        if isinstance(self._search, BeamSearch):
            return self._search.beam_size
        return self.num_return_sequences

    def seeds(self, sources: int) -> list[list[int]]:
        """For each source a seed for each of its answers, where something is drawn.

        They follow from the generator's state and the place of the source alone.
        """
        if not isinstance(self._search, Sampling):
            return [[] for _ in range(sources)]
        device = "cpu" if self._generator is None else self._generator.device
        size = (sources, self.num_return_sequences)
        drawn = torch.randint(2**63 - 1, size, generator=self._generator, device=device)
        return drawn.tolist()

    def answer(
        self,
        next_token: NextToken,
        first: Int[Tensor, "batch time"],
        memory: Memory | None,
        *,
        max_new_tokens: int,
        seeds: Sequence[Sequence[int]],
        suppress: Sequence[int] = SUPPRESSED,
    ) -> list[list[list[int]]]:
        """Make `num_return_sequences` answers to each row of `first`, the best first.

        Args:
            next_token: The model's answer to more tokens.
            first: The tokens that every answer begins with (the start symbol), equally many a row.
            memory: What the encoder read; `None` for a language model.
            max_new_tokens: Tokens to make at most, the end symbol counted.
            seeds: What `seeds` has drawn for these rows.
            suppress: The ids that are never generated; see `suppressed_tokens`.

        Returns:
            For each row the ids of its answers, without start and end. Beam search may find fewer
            where there are not so many.
        """
        if isinstance(self._search, BeamSearch):
            found = self._search(
                next_token, first, memory, max_new_tokens=max_new_tokens, suppress=suppress
            )
            return [[each.ids for each in best[: self.num_return_sequences]] for best in found]
        if isinstance(self._search, Sampling):
            return self._search(
                next_token,
                first,
                memory,
                max_new_tokens=max_new_tokens,
                seeds=seeds,
                suppress=suppress,
            )
        answers = greedy(
            next_token, first, memory, max_new_tokens=max_new_tokens, suppress=suppress
        )
        return [[ids] for ids in answers]
