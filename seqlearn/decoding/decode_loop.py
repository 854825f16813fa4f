"""The loop of greedy search and sampling: pick a token for every row, drop finished rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqlearn.batch import END, Memory
from seqlearn.decoding.protocols import NextToken, check_max_new_tokens
from seqlearn.instrumentation import decoding_step
from seqlearn.nn.protocols import select

TokenSelector = Callable[[Float[Tensor, "rows vocab"], Sequence[int]], Int[Tensor, " rows"]]
"""Picks a token for each row from its logits and its number in the first step."""


@torch.no_grad()
def decode_loop(
    next_token: NextToken,
    prefix: Int[Tensor, "batch time"],
    memory: Memory | None,
    pick: TokenSelector,
    *,
    max_new_tokens: int,
) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Pick a token for every row at every step, until the end symbol or the limit.

    A finished row leaves the batch and costs nothing more.

    Args:
        next_token: Scores the next token.
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
    generated: list[list[int]] = [[] for _ in prefix]
    finish_step = [(0, row) for row in range(len(prefix))]
    active = torch.arange(len(prefix), device=prefix.device)
    tokens, state = prefix, None
    parents: Tensor | None = None
    for step in range(max_new_tokens):
        decoding_step(parents)
        logits, state = next_token.logits(tokens, memory, state)
        row_ids = active.tolist()
        picked = pick(logits, row_ids)
        unfinished = picked != END
        for row, (row_id, token) in enumerate(zip(row_ids, picked.tolist(), strict=True)):
            finish_step[row_id] = (step, row)
            if token != END:
                generated[row_id].append(token)
        if bool(unfinished.all()):
            parents = None
        else:
            parents = unfinished.nonzero().squeeze(-1)
            if parents.numel() == 0:
                break
            active, picked = active[parents], picked[parents]
            state, memory = select(state, parents), select(memory, parents)
        tokens = picked[:, None]
    return generated, finish_step
