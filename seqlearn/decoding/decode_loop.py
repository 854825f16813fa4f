"""The loop in which every row goes its own way: choose a token, drop who has ended, go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqlearn.batch import END, Memory
from seqlearn.decoding.protocols import NextToken, check_limit
from seqlearn.instrumentation import step as announce_step
from seqlearn.nn.protocols import select

Choose = Callable[[Float[Tensor, "rows vocab"], Sequence[int]], Int[Tensor, " rows"]]
"""From the logits of the rows that go on, and which rows of the start they are, to a token each."""


@torch.no_grad()
def one_by_one(
    next_token: NextToken,
    first: Int[Tensor, "batch time"],
    memory: Memory | None,
    choose: Choose,
    *,
    max_length: int,
) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Choose a token for every row at every step, until the end symbol or the limit.

    A row that has ended leaves the batch and costs nothing more.

    Args:
        next_token: The model's answer to more tokens.
        first: The tokens that every answer begins with (the start symbol), equally many a row.
        memory: What the encoder read; `None` for a language model.
        choose: Which token comes next.
        max_length: Tokens to make at most, the end symbol counted.

    Returns:
        For each row the ids it answered, without start and end; and in which step, and in which
        row of that step, its last one was made.

    Raises:
        ValueError: If `max_length` is below one.
    """
    check_limit(max_length)
    answers: list[list[int]] = [[] for _ in first]
    ended_at = [(0, row) for row in range(len(first))]
    alive = torch.arange(len(first), device=first.device)
    tokens, state = first, None
    parents: Tensor | None = None
    for step in range(max_length):
        announce_step(parents)
        logits, state = next_token(tokens, memory, state)
        outputs = alive.tolist()
        chosen = choose(logits, outputs)
        goes_on = chosen != END
        for row, (output, token) in enumerate(zip(outputs, chosen.tolist(), strict=True)):
            ended_at[output] = (step, row)
            if token != END:
                answers[output].append(token)
        if bool(goes_on.all()):
            parents = None
        else:
            parents = goes_on.nonzero().squeeze(-1)
            if parents.numel() == 0:
                break
            alive, chosen = alive[parents], chosen[parents]
            state, memory = select(state, parents), select(memory, parents)
        tokens = chosen[:, None]
    return answers, ended_at
