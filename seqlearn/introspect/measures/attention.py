"""Measures of attention weights.

All return float32 or wider. `queries` marks the real queries; padded ones do not count.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def entropy(
    weights: Float[Tensor, "batch heads query key"],
) -> Float[Tensor, "batch heads query"]:
    """The entropy of each query's attention: H = -Σ w ln w, in nats, with 0 ln 0 = 0.

    It is zero where one key has all the weight, and ln n where n keys have equal weights.

    Args:
        weights: Attention weights; a row sums to one, or is zero where no key is visible.

    Returns:
        The entropy of each row in nats, in float32 or wider; zero for a row of zeros.

    Source: Shannon 1948, "A Mathematical Theory of Communication", section 6.

    Examples:
        >>> import torch
        >>> from seqlearn.introspect import entropy
        >>> entropy(torch.tensor([[[[1.0, 0.0], [0.5, 0.5]]]]))
        tensor([[[0.0000, 0.6931]]])
    """
    nats: Tensor = torch.special.entr(_wide(weights)).sum(-1)
    return nats


def head_entropy(
    weights: Float[Tensor, "batch heads query key"], queries: Bool[Tensor, "batch query"]
) -> Float[Tensor, " heads"]:
    """The entropy of each head, averaged over the real queries.

    Args:
        weights: Attention weights.
        queries: True where a query is real.

    Returns:
        Nats per head; zero if no query is real.

    Examples:
        >>> import torch
        >>> from seqlearn.introspect import head_entropy
        >>> weights = torch.tensor([[[[1.0, 0.0]], [[0.5, 0.5]]]])  # two heads, one query
        >>> head_entropy(weights, torch.ones(1, 1, dtype=torch.bool))
        tensor([0.0000, 0.6931])
    """
    counted = entropy(weights) * queries[:, None]
    return counted.sum((0, 2)) / queries.sum().clamp(min=1)


def mean_attention_distance(
    weights: Float[Tensor, "batch heads query key"], queries: Bool[Tensor, "batch query"]
) -> Float[Tensor, " heads"]:
    """The mean attention distance of each head: |query - key| in tokens, averaged by weight.

    Args:
        weights: Self-attention weights: queries and keys are the same tokens.
        queries: True where a query is real.

    Returns:
        Tokens per head; zero if no query is real.

    Raises:
        ValueError: If the numbers of queries and keys differ.

    Source: Vig & Belinkov 2019, "Analyzing the Structure of Attention in a Transformer Language
    Model", the mean distance of a head.

    Examples:
        >>> import torch
        >>> from seqlearn.introspect import mean_attention_distance
        >>> previous = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
        >>> mean_attention_distance(previous, torch.ones(1, 2, dtype=torch.bool))
        tensor([0.5000])
    """
    tokens = _tokens(weights)
    position = torch.arange(tokens, device=weights.device)
    distance = (position[:, None] - position).abs()
    counted = _wide(weights) * queries[:, None, :, None]
    total = counted.sum((0, 2, 3))
    return (counted * distance).sum((0, 2, 3)) / total.where(total > 0, 1.0)


def rollout(
    layers: Sequence[Float[Tensor, "batch _heads _query _key"]],
) -> Float[Tensor, "batch token token"]:
    """Attention rollout: the share of each input token in each output of stacked self-attention.

    Each layer is the mean of its heads, mixed with the identity for the residual connection:
    A = (mean of heads + I) / 2, with rows normalized to sum to one. Rollout is the product
    A_n … A_2 A_1.

    Args:
        layers: Weights of each layer, the first layer first.

    Returns:
        For each output token (rows), the shares of the input tokens; rows sum to one.

    Raises:
        ValueError: If there is no layer, a layer has different numbers of queries and keys, or the
            layers have different numbers of tokens.

    Source: Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3.

    Examples:
        >>> import torch
        >>> from seqlearn.introspect import rollout
        >>> rollout([torch.full((1, 4, 2, 2), 0.5)])
        tensor([[[0.7500, 0.2500],
                 [0.2500, 0.7500]]])
    """
    if not layers:
        raise ValueError("expected the weights of at least one layer, got none")
    numbers = {_tokens(weights) for weights in layers}
    if len(numbers) > 1:
        raise ValueError(f"expected layers with the same number of tokens, got {sorted(numbers)}")
    identity = torch.eye(numbers.pop(), device=layers[0].device)
    flow = identity.expand(len(layers[0]), -1, -1)
    for weights in layers:
        mixed = 0.5 * _wide(weights).mean(1) + 0.5 * identity
        flow = (mixed / mixed.sum(-1, keepdim=True)) @ flow.to(mixed.dtype)
    return flow


def head_agreement(
    weights: Float[Tensor, "batch heads query key"], queries: Bool[Tensor, "batch query"]
) -> Float[Tensor, "heads heads"]:
    """The agreement of each pair of heads: 1 - JS / ln 2, averaged over the real queries.

    JS, the Jensen-Shannon divergence of two rows, is the entropy of their mean minus the mean of
    their entropies, from 0 to ln 2 nats.

    Args:
        weights: Attention weights.
        queries: True where a query is real.

    Returns:
        For each pair of heads, a number from 0 (no common key) to 1 (equal weights); zero if no
        query is real.

    Source: Clark et al. 2019, "What Does BERT Look At?", section 6 (distances between heads);
    Lin 1991, "Divergence measures based on the Shannon entropy", for the bounds.

    Examples:
        >>> import torch
        >>> from seqlearn.introspect import head_agreement
        >>> weights = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])  # two heads, one query
        >>> head_agreement(weights, torch.ones(1, 1, dtype=torch.bool)).round().abs()
        tensor([[1., 0.],
                [0., 1.]])
    """
    wide = _wide(weights)
    own = entropy(wide)
    # Head by head: the mixtures of all pairs would need `heads` times the memory of the weights.
    divergence = torch.stack(
        [
            entropy((wide + wide[:, head, None]) / 2) - (own + own[:, head, None]) / 2
            for head in range(wide.shape[1])
        ]
    )
    agreement = 1 - divergence.clamp(min=0) / torch.log(wide.new_tensor(2.0))
    counted = agreement.clamp(min=0) * queries[:, None]
    return counted.sum((1, 3)) / queries.sum().clamp(min=1)


def hard_alignment(
    weights: Float[Tensor, "batch heads query key"],
) -> Int[Tensor, "batch heads query"]:
    """The key with the largest weight for each query; -1 where no key is visible.

    Of equal weights, the first key is returned.

    Source: Luong et al. 2015, section 5.4 (one source word for each target word).

    Examples:
        >>> import torch
        >>> from seqlearn.introspect import hard_alignment
        >>> hard_alignment(torch.tensor([[[[0.1, 0.9], [0.8, 0.2]]]]))
        tensor([[[1, 0]]])
    """
    if weights.shape[-1] == 0:
        return torch.full(weights.shape[:-1], -1, device=weights.device)
    return weights.argmax(-1).where((weights > 0).any(-1), -1)


def soft_alignment(
    weights: Float[Tensor, "batch heads query key"],
) -> Float[Tensor, "batch heads query"]:
    """The expected key position of each query: Σ w_j j, from 0; -1 where no key is visible.

    Source: Bahdanau et al. 2015, section 3.1: w_j as the probability that key j is the one
    aligned; this is the expected key.

    Examples:
        >>> import torch
        >>> from seqlearn.introspect import soft_alignment
        >>> soft_alignment(torch.tensor([[[[0.1, 0.9], [0.8, 0.2]]]]))
        tensor([[[0.9000, 0.2000]]])
    """
    wide = _wide(weights)
    position = torch.arange(weights.shape[-1], dtype=wide.dtype, device=weights.device)
    return (wide @ position).where((weights > 0).any(-1), -1.0)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _tokens(weights: Tensor) -> int:
    """The number of tokens of self-attention weights."""
    queries, keys = weights.shape[-2:]
    if queries != keys:
        raise ValueError(
            "expected self-attention weights with equal numbers of queries and keys, got "
            f"{queries} queries and {keys} keys"
        )
    return keys
