"""Greedy decoding: the likeliest token at every step."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from seqlearn.batch import Memory
from seqlearn.decoding.decode_loop import one_by_one
from seqlearn.decoding.protocols import SUPPRESSED, NextToken
from seqlearn.instrumentation import end as announce_end


def greedy(
    next_token: NextToken,
    first: Int[Tensor, "batch time"],
    memory: Memory | None,
    *,
    max_length: int,
    suppress: Sequence[int] = SUPPRESSED,
) -> list[list[int]]:
    """Take the likeliest token at every step, until the end symbol or the limit.

    A sentence that has ended leaves the batch and costs nothing more.

    Args:
        next_token: The model's answer to more tokens.
        first: The tokens that every answer begins with (the start symbol), equally many a row.
        memory: What the encoder read; `None` for a language model.
        max_length: Tokens to make at most, the end symbol counted.
        suppress: The ids that are never generated; see `suppressed_tokens`.

    Returns:
        For each row the ids it answered, without start and end.

    Raises:
        ValueError: If `max_length` is below one.
    """
    banned = list(suppress)

    def likeliest(
        logits: Float[Tensor, "rows vocab"], _outputs: Sequence[int]
    ) -> Int[Tensor, " rows"]:
        logits[:, banned] = float("-inf")
        return logits.argmax(-1)

    answers, ended_at = one_by_one(next_token, first, memory, likeliest, max_length=max_length)
    fed = [[*given, *answer] for given, answer in zip(first.tolist(), answers, strict=True)]
    announce_end([[at] for at in ended_at], fed)
    return answers
