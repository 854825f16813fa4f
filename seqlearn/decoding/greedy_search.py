"""Greedy decoding: the likeliest token at every step."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from seqlearn.batch import Memory
from seqlearn.decoding.decode_loop import decode_loop
from seqlearn.decoding.protocols import SUPPRESSED, NextToken
from seqlearn.instrumentation import end_decoding


def greedy(
    next_token: NextToken,
    first: Int[Tensor, "batch time"],
    memory: Memory | None,
    *,
    max_new_tokens: int,
    suppress: Sequence[int] = SUPPRESSED,
) -> list[list[int]]:
    """Take the likeliest token at every step, until the end symbol or the limit.

    A sentence that has ended leaves the batch and costs nothing more.

    Args:
        next_token: The model's answer to more tokens.
        first: The tokens that every answer begins with (the start symbol), equally many a row.
        memory: What the encoder read; `None` for a language model.
        max_new_tokens: Tokens to make at most, the end symbol counted.
        suppress: The ids that are never generated; see `suppressed_tokens`.

    Returns:
        For each row the ids it answered, without start and end.

    Raises:
        ValueError: If `max_new_tokens` is below one.
    """
    banned = list(suppress)

    def _argmax(
        logits: Float[Tensor, "rows vocab"], _row_ids: Sequence[int]
    ) -> Int[Tensor, " rows"]:
        logits[:, banned] = float("-inf")
        return logits.argmax(-1)

    answers, finish_step = decode_loop(
        next_token, first, memory, _argmax, max_new_tokens=max_new_tokens
    )
    fed = [[*given, *answer] for given, answer in zip(first.tolist(), answers, strict=True)]
    end_decoding([[at] for at in finish_step], fed)
    return answers
