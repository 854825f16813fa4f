"""The exact entropy of fused attention, without the matrix of attention weights.

    H = -Σ p ln p = logsumexp(s) - Σ p s,   s = scale · q·K
      = logsumexp(s) - scale · q·(P K)

P K is attention with V = K, so one fused call gives both terms. torch's public function does not
return the log-sum-exp. It comes from private operators, which only this file calls.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_OPERATORS = {
    "cpu": "_scaled_dot_product_flash_attention_for_cpu",
    "cuda": "_scaled_dot_product_efficient_attention",
}
_ALIGNED = 8
"""The CUDA kernel needs widths, and rows of a mask, that are multiples of this."""


@torch.no_grad()
def fused_entropy(
    query: Float[Tensor, "batch heads query d_head"],
    key: Float[Tensor, "batch heads key d_head"],
    mask: Bool[Tensor, "#batch #heads #query key"] | None = None,
    *,
    causal: bool = False,
) -> Float[Tensor, "batch heads query"]:
    """Compute `entropy(attention_weights(query, key, mask))` in memory linear in the length.

    The memory is that of `query` and `key`; a mask adds its own size, in float32. The error grows
    with the scores: to 1e-4 nats in float32 where they are below 100. The result has no gradient.

    Args:
        query: The queries.
        key: The keys.
        mask: True where a key is visible to a query; all, if `None`.
        causal: Whether keys after a query are invisible to it; the queries are the last of the
            keys. Not together with `mask`.

    Returns:
        Nats for each query, in float32 or wider; zero where no key is visible.

    Raises:
        ValueError: If `mask` and `causal` are both given, the mask is not boolean, there are more
            causal queries than keys, or the shapes do not fit.
        NotImplementedError: If this torch has no fused operator for the device.

    Examples:
        >>> import torch
        >>> from seqlearn.introspect import fused_entropy
        >>> fused_entropy(torch.zeros(1, 1, 2, 8), torch.zeros(1, 1, 2, 8), causal=True)
        tensor([[[0.0000, 0.6931]]])
    """
    if causal and mask is not None:
        raise ValueError("expected a mask or causal=True, got both; put the causality in the mask")
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(
            f"expected a boolean mask, True where a key is visible, got {mask.dtype}; a mask of "
            "scores would change the entropy, and no fused operator returns their mean"
        )
    if query.shape[:2] != key.shape[:2] or query.shape[3] != key.shape[3]:
        raise ValueError(
            "expected query and key with the same batch, heads and d_head, got "
            f"{tuple(query.shape)} and {tuple(key.shape)}"
        )
    queries, keys = query.shape[2], key.shape[2]
    if causal and queries > keys:
        raise ValueError(
            f"expected the causal queries to be the last of the keys, got {queries} queries and "
            f"{keys} keys"
        )
    wide = torch.promote_types(query.dtype, torch.float32)
    # The operators ignore the stride of the last axis and would read wrong numbers.
    query, key = (
        side.to(wide) if side.stride(-1) == 1 else side.to(wide).contiguous()
        for side in (query, key)
    )
    if query.numel() == 0 or key.numel() == 0:
        return query.new_zeros(query.shape[:3])
    if not causal or queries == keys:
        total, mean = _attend(query, key, mask, causal=causal)
    else:
        # The operators count queries from the first key, so earlier keys are a separate part.
        before, before_mean = _attend(query, key[:, :, : keys - queries], None)
        since, since_mean = _attend(query, key[:, :, keys - queries :], None, causal=True)
        total = torch.logaddexp(before, since)
        share = (before - total).exp()[..., None]
        mean = share * before_mean + (1 - share) * since_mean
    nats = total - (query * mean).sum(-1) / math.sqrt(query.shape[-1])
    if mask is not None:
        nats = nats.where(mask.any(-1), 0.0)
    return nats.clamp(min=0)


def _attend(
    query: Tensor, key: Tensor, mask: Tensor | None, *, causal: bool = False
) -> tuple[Tensor, Tensor]:
    """The log-sum-exp of the scores, `batch heads query`, and the mean key, with its width last."""
    device, width = query.device.type, query.shape[-1]
    operator = getattr(torch.ops.aten, _OPERATORS.get(device, ""), None)
    if operator is None:
        raise NotImplementedError(
            f"torch {torch.__version__} has no fused attention with a log-sum-exp for {device!r} "
            "(known: cpu, cuda); use entropy(attention_weights(query, key, mask))"
        )
    scale = 1 / math.sqrt(width)
    bias = None
    if device == "cpu":
        if mask is not None:
            bias = query.new_zeros(mask.shape).masked_fill_(~mask, -torch.inf)
        mean, total = operator(query, key, key, 0.0, causal, attn_mask=bias, scale=scale)
        return total, mean
    query, key = (torch.nn.functional.pad(side, (0, -width % _ALIGNED)) for side in (query, key))
    if mask is not None:
        keys = mask.shape[-1]
        room = query.new_zeros((*mask.shape[:-1], keys + -keys % _ALIGNED))
        bias = room[..., :keys].masked_fill_(~mask, -torch.inf)
        bias = bias.expand(*query.shape[:3], keys)
    mean, total, *_ = operator(query, key, key, bias, True, 0.0, causal, scale=scale)
    return total[..., : query.shape[2]], mean[..., :width]
