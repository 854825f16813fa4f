"""Greedy search: the most probable token at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from seqlearn.batch import Memory
from seqlearn.decoding.decode_loop import decode_loop
from seqlearn.decoding.protocols import NextToken
from seqlearn.instrumentation import end_decoding
from seqlearn.nn.decoder_state import State


@dataclass(frozen=True)
class GreedySearch:
    """Take the most probable token at every step, until the end symbol or the limit.

    Examples:
        >>> import torch
        >>> from seqlearn.decoding import NextToken
        >>> follows = torch.tensor([0, 0, 4, 0, 5, 6, 3])  # <s> 4 5 6 </s>
        >>> def model(tokens, memory, state):
        ...     return torch.eye(7)[follows[tokens[:, -1]]], state
        >>> GreedySearch()(NextToken(model), torch.tensor([[2]]), None, max_new_tokens=9)
        [[[4, 5, 6]]]
    """

    @property
    def rows_per_source(self) -> int:
        """One."""
        return 1

    @property
    def num_seeds(self) -> int:
        """None: nothing is drawn."""
        return 0

    def __call__(
        self,
        next_token: NextToken,
        prefix: Int[Tensor, "batch time"],
        memory: Memory | None,
        *,
        max_new_tokens: int,
        seeds: Sequence[Sequence[int]] = (),  # noqa: ARG002 -- of the protocol
    ) -> list[list[list[int]]]:
        """Generate one text for each row of `prefix`; see `DecodingStrategy`.

        Raises:
            ValueError: If `max_new_tokens` is below one.
        """

        def pick(
            tokens: Tensor,
            memory: Memory | None,
            state: State | None,
            row_ids: Tensor,  # noqa: ARG001
        ) -> tuple[Tensor, State]:
            return next_token.best(tokens, memory, state)

        generated, finish_step = decode_loop(prefix, memory, pick, max_new_tokens=max_new_tokens)
        whole = [[*start, *ids] for start, ids in zip(prefix.tolist(), generated, strict=True)]
        end_decoding([[last] for last in finish_step], whole)
        return [[ids] for ids in generated]
