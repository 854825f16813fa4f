"""The loop of greedy search and sampling: pick a token for every row, drop finished rows."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from seqlearn.batch import END, Memory
from seqlearn.decoding.protocols import check_max_new_tokens
from seqlearn.instrumentation import decoding_step
from seqlearn.nn.decoder_state import State, select

LEAVING_SHARE = 1 / 8
"""Finished texts leave the batch once they are at least this share of it: each time, the states of
the others are copied, which costs as much as decoding a few rows."""


@runtime_checkable
class TokenSelector(Protocol):
    """Picks the next token of each row."""

    def __call__(
        self,
        tokens: Int[Tensor, "rows time"],
        memory: Memory | None,
        state: State | None,
        row_ids: Int[Tensor, " rows"],
    ) -> tuple[Int[Tensor, " rows"], State]:
        """Read more tokens; return the next token of each row, and the new state.

        Args:
            tokens: The new tokens of each row.
            memory: The encoder's output.
            state: The state of `next_token`.
            row_ids: The number of each row in the first step.
        """
        ...


@torch.no_grad()
def decode_loop(
    prefix: Int[Tensor, "batch time"],
    memory: Memory | None,
    pick: TokenSelector,
    *,
    max_new_tokens: int,
) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Pick a token for every row at every step, until the end symbol or the limit.

    Finished rows leave the batch; see `LEAVING_SHARE`.

    Args:
        prefix: Start symbol and prompt, of one length in all rows.
        memory: The encoder's output; `None` for a language model.
        pick: Picks the next token of each row.
        max_new_tokens: Most tokens to generate, the end symbol counted.

    Returns:
        For each row the generated ids, without prefix and end symbol; and the step in which its
        last token was generated, with the row in that step.

    Raises:
        ValueError: If `max_new_tokens` is below one.
    """
    check_max_new_tokens(max_new_tokens)
    row_ids = torch.arange(len(prefix), device=prefix.device)
    unfinished = torch.ones_like(row_ids, dtype=torch.bool)
    picks: list[tuple[Tensor, Tensor]] = []
    last = prefix.new_zeros((2, len(prefix)))
    tokens, state = prefix, None
    parents: Tensor | None = None
    for step in range(max_new_tokens):
        decoding_step(parents)
        picked, state = pick(tokens, memory, state, row_ids)
        picks.append((row_ids, picked.masked_fill(~unfinished, END)))
        row = unfinished.nonzero()[:, 0]
        last[0, row_ids[row]], last[1, row_ids[row]] = step, row
        unfinished = unfinished & (picked != END)
        parents = rows_to_keep(unfinished)
        if parents is not None:
            if len(parents) == 0:
                break
            row_ids, picked, unfinished = row_ids[parents], picked[parents], unfinished[parents]
            state, memory = select(state, parents), select(memory, parents)
        tokens = picked[:, None]
    generated = torch.full((len(prefix), len(picks)), END)
    for step, (rows, picked) in enumerate(picks):
        generated[rows.cpu(), step] = picked.cpu()
    lengths = (generated != END).sum(1).tolist()
    texts = [row[:length] for row, length in zip(generated.tolist(), lengths, strict=True)]
    steps, rows_there = last.tolist()
    return texts, list(zip(steps, rows_there, strict=True))


def rows_to_keep(unfinished: Bool[Tensor, " rows"]) -> Int[Tensor, " kept"] | None:
    """The unfinished rows, if enough others are finished (`LEAVING_SHARE`), or all; else `None`.

    Examples:
        >>> rows_to_keep(torch.tensor([True, False, True]))
        tensor([0, 2])
        >>> rows_to_keep(torch.tensor([True] * 8 + [False]))
    """
    kept = unfinished.nonzero()[:, 0]
    finished = len(unfinished) - len(kept)
    if finished == 0 or (finished < LEAVING_SHARE * len(unfinished) and len(kept) > 0):
        return None
    return kept
