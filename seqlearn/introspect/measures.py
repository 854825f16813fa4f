"""What can be measured on attention weights."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def entropy(
    weights: Float[Tensor, "batch heads query key"],
) -> Float[Tensor, "batch heads query"]:
    """How widely each query spreads its attention: H = -Σ w ln w, in nats, with 0 ln 0 = 0.

    Zero where all the weight lies on one key, ln n where n keys share it evenly.

    Args:
        weights: Attention weights; a row sums to one, or is zero where nothing may be seen.

    Returns:
        The entropy of each row in nats, in float32 or wider; zero for a row of zeros.

    Source: Shannon 1948, "A Mathematical Theory of Communication", section 6.
    """
    wide: Tensor = weights.to(torch.promote_types(weights.dtype, torch.float32))
    nats: Tensor = torch.special.entr(wide).sum(-1)
    return nats


def head_entropy(
    weights: Float[Tensor, "batch heads query key"], queries: Bool[Tensor, "batch query"]
) -> Float[Tensor, " heads"]:
    """The entropy of each head, averaged over real queries.

    Args:
        weights: Attention weights.
        queries: True where a query counts.

    Returns:
        Nats per head; zero if no query counts.
    """
    counted = entropy(weights) * queries[:, None]
    return counted.sum((0, 2)) / queries.sum().clamp(min=1)
