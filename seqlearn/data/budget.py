"""The default budget of a batch: small enough that an epoch of little data has many steps."""

from __future__ import annotations

STEPS_PER_EPOCH = 500
"""Optimizer steps that an epoch has by default, as far as the two limits allow it."""

MIN_BATCH_TOKENS = 128
MAX_BATCH_TOKENS = 4096

MIN_ROWS = 2
"""Of the longest examples, as many fit into a batch, as far as `MAX_BATCH_TOKENS` allows it."""


def default_batch_tokens(total: int, longest: int) -> int:
    """The budget of a batch where none is given.

    An epoch of the training split has about 500 steps; a batch has 128 tokens at least and 4,096
    at most, and room for two of the longest examples. It depends on the data alone, not on the
    machine or the number of processes.

    Args:
        total: Tokens in the training split, for each example those of its longer side.
        longest: Tokens of the longest example of any split.

    Example::

        >>> [default_batch_tokens(total, longest=30) for total in (6_000, 500_000, 50_000_000)]
        [128, 1000, 4096]
    """
    least = max(MIN_BATCH_TOKENS, MIN_ROWS * longest)
    return min(MAX_BATCH_TOKENS, max(least, total // STEPS_PER_EPOCH))
