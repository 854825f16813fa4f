"""The default token budget of a batch: an epoch of little data should still have many steps."""

from __future__ import annotations

STEPS_PER_EPOCH = 1_000
"""Optimizer steps of an epoch with the default budget, within the two limits."""

MIN_BATCH_TOKENS = 128
MAX_BATCH_TOKENS = 4096

MIN_ROWS = 2
"""Number of the longest examples that fit into a batch, within `MAX_BATCH_TOKENS`."""


def default_batch_tokens(total: int, longest: int) -> int:
    """Compute the default budget of a batch.

    An epoch of the training split has about 1,000 steps. The budget is between 128 and 4,096
    tokens, with room for two of the longest examples. It depends only on the data, not on the
    machine or the number of processes.

    Args:
        total: Number of tokens in the training split, counting the longer side of each example.
        longest: Number of tokens of the longest example of any split.

    Examples:
        >>> [default_batch_tokens(total, longest=30) for total in (6_000, 500_000, 50_000_000)]
        [128, 500, 4096]
    """
    least = max(MIN_BATCH_TOKENS, MIN_ROWS * longest)
    return min(MAX_BATCH_TOKENS, max(least, total // STEPS_PER_EPOCH))
