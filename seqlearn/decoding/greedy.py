"""Greedy decoding: the likeliest token at every step."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from seqlearn.batch import Memory
from seqlearn.decoding.next_token import NextToken, check_limit
from seqlearn.nn.protocols import select
from seqlearn.probe import end as announce_end
from seqlearn.probe import step as announce_step
from seqlearn.spec import END, PAD, START


@torch.no_grad()
def greedy(
    next_token: NextToken,
    first: Int[Tensor, "batch time"],
    memory: Memory | None,
    *,
    max_length: int,
) -> list[list[int]]:
    """Take the likeliest token at every step, until the end symbol or the limit.

    A sentence that has ended leaves the batch and costs nothing more.

    Args:
        next_token: The model's answer to more tokens.
        first: The tokens that every answer begins with (the start symbol), equally many a row.
        memory: What the encoder read; `None` for a language model.
        max_length: Tokens to make at most, the end symbol counted.

    Returns:
        For each row the ids it answered, without start and end.

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
        logits[:, [PAD, START]] = float("-inf")
        best = logits.argmax(-1)
        goes_on = best != END
        for row, (output, token) in enumerate(zip(alive.tolist(), best.tolist(), strict=True)):
            ended_at[output] = (step, row)
            if token != END:
                answers[output].append(token)
        if bool(goes_on.all()):
            parents = None
        else:
            parents = goes_on.nonzero().squeeze(-1)
            if parents.numel() == 0:
                break
            alive, best = alive[parents], best[parents]
            state, memory = select(state, parents), select(memory, parents)
        tokens = best[:, None]
    fed = [[*given, *answer] for given, answer in zip(first.tolist(), answers, strict=True)]
    announce_end([[at] for at in ended_at], fed)
    return answers
