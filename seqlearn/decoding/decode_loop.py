"""The loop in which every row goes its own way: choose a token, drop who has ended, go on."""

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
"""From the logits of the rows that go on, and which rows of the start they are, to a token each."""


@torch.no_grad()
def decode_loop(
    next_token: NextToken,
    first: Int[Tensor, "batch time"],
    memory: Memory | None,
    choose: TokenSelector,
    *,
    max_new_tokens: int,
) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Choose a token for every row at every step, until the end symbol or the limit.

    A row that has ended leaves the batch and costs nothing more.

    Args:
        next_token: The model's answer to more tokens.
        first: The tokens that every answer begins with (the start symbol), equally many a row.
        memory: What the encoder read; `None` for a language model.
        choose: Which token comes next.
        max_new_tokens: Tokens to make at most, the end symbol counted.

    Returns:
        For each row the ids it answered, without start and end; and in which step, and in which
        row of that step, its last one was made.

    Raises:
        ValueError: If `max_new_tokens` is below one.
    """
    check_max_new_tokens(max_new_tokens)
    answers: list[list[int]] = [[] for _ in first]
    finish_step = [(0, row) for row in range(len(first))]
    active = torch.arange(len(first), device=first.device)
    tokens, state = first, None
    parents: Tensor | None = None
    for step in range(max_new_tokens):
        decoding_step(parents)
        logits, state = next_token(tokens, memory, state)
        row_ids = active.tolist()
        chosen = choose(logits, row_ids)
        unfinished = chosen != END
        for row, (row_id, token) in enumerate(zip(row_ids, chosen.tolist(), strict=True)):
            finish_step[row_id] = (step, row)
            if token != END:
                answers[row_id].append(token)
        if bool(unfinished.all()):
            parents = None
        else:
            parents = unfinished.nonzero().squeeze(-1)
            if parents.numel() == 0:
                break
            active, chosen = active[parents], chosen[parents]
            state, memory = select(state, parents), select(memory, parents)
        tokens = chosen[:, None]
    return answers, finish_step
