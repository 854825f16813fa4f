"""What can be measured on attention weights and gates.

All answer in float32 or wider. `queries` marks those that count: real ones, not padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SATURATED = (0.1, 0.9)
"""A gate below the first value is saturated low, above the second saturated high."""


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
    nats: Tensor = torch.special.entr(_wide(weights)).sum(-1)
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


def mean_attention_distance(
    weights: Float[Tensor, "batch heads query key"], queries: Bool[Tensor, "batch query"]
) -> Float[Tensor, " heads"]:
    """How far each head looks: |query - key| in tokens, averaged with the weights.

    Args:
        weights: Weights of a self-attention, whose queries and keys are the same tokens.
        queries: True where a query counts.

    Returns:
        Tokens per head; zero if no query counts.

    Raises:
        ValueError: If there are not as many queries as keys.

    Source: Vig & Belinkov 2019, "Analyzing the Structure of Attention in a Transformer Language
    Model", the mean distance of a head.
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
    """How much of each input token is in each output of a stack of self-attentions.

    Each layer is the mean of its heads, half of which the residual connection replaces by the
    token itself, A = (mean of heads + I) / 2 with rows made to sum to one; rollout is the product
    A_n … A_2 A_1.

    Args:
        layers: Weights of each layer, the first layer first.

    Returns:
        For each token of the output (rows) its shares of the tokens of the input; rows sum to one.

    Raises:
        ValueError: If there is no layer, one has not as many queries as keys, or they differ in
            their number of tokens.

    Source: Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3.
    """
    if not layers:
        raise ValueError("expected the weights of at least one layer, got none")
    numbers = {_tokens(weights) for weights in layers}
    if len(numbers) > 1:
        raise ValueError(f"expected layers over the same tokens, got {sorted(numbers)} tokens")
    identity = torch.eye(numbers.pop(), device=layers[0].device)
    flow = identity.expand(len(layers[0]), -1, -1)
    for weights in layers:
        mixed = 0.5 * _wide(weights).mean(1) + 0.5 * identity
        flow = (mixed / mixed.sum(-1, keepdim=True)) @ flow.to(mixed.dtype)
    return flow


def head_agreement(
    weights: Float[Tensor, "batch heads query key"], queries: Bool[Tensor, "batch query"]
) -> Float[Tensor, "heads heads"]:
    """How alike the heads of a layer look: 1 - JS / ln 2, averaged over real queries.

    JS, the Jensen-Shannon divergence of two rows, is the entropy of their mean less the mean of
    their entropies, from 0 to ln 2 nats.

    Args:
        weights: Attention weights.
        queries: True where a query counts.

    Returns:
        For each pair of heads a number from 0 (never on a common key) to 1 (the same weights);
        zero if no query counts.

    Source: Clark et al. 2019, "What Does BERT Look At?", section 6 (distances between heads);
    Lin 1991, "Divergence measures based on the Shannon entropy", for the bounds.
    """
    wide = _wide(weights)
    own = entropy(wide)
    # Head by head: a mixture of all pairs at once would be heads times as large as the weights.
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
    """The key with the greatest weight for each query; -1 where nothing is seen.

    Of equal weights the first one counts.

    Source: Luong et al. 2015, section 5.4 (one source word for each target word).
    """
    if weights.shape[-1] == 0:
        return torch.full(weights.shape[:-1], -1, device=weights.device)
    return weights.argmax(-1).where((weights > 0).any(-1), -1)


def soft_alignment(
    weights: Float[Tensor, "batch heads query key"],
) -> Float[Tensor, "batch heads query"]:
    """Where each query looks on average: Σ w_j j, counted from 0; -1 where nothing is seen.

    Source: Bahdanau et al. 2015, section 3.1: w_j as the probability that key j is the one
    aligned; this is the expected one.
    """
    wide = _wide(weights)
    position = torch.arange(weights.shape[-1], dtype=wide.dtype, device=weights.device)
    return (wide @ position).where((weights > 0).any(-1), -1.0)


class Saturation(NamedTuple):
    """Shares of real steps, one number for each unit of a gate, `hidden`.

    Attributes:
        saturated_low: Share of values below 0.1 ("left-saturated").
        saturated_high: Share of values above 0.9 ("right-saturated").
    """

    saturated_low: Tensor
    saturated_high: Tensor


def gate_saturation(
    gate: Float[Tensor, "batch time hidden"], steps: Bool[Tensor, "batch time"]
) -> Saturation:
    """How often each unit of a gate is as good as shut or as good as open.

    Args:
        gate: Values from 0 to 1 of one gate, such as the forget gate of an LSTM.
        steps: True where a step is real.

    Returns:
        Two shares for each unit, in float32 or wider; zero if no step is real.

    Source: Karpathy, Johnson & Fei-Fei 2015, "Visualizing and Understanding Recurrent Networks",
    section 4.2, the gate statistics.
    """
    low, high = SATURATED
    wide, number = _wide(gate), steps.sum().clamp(min=1)
    low_share, high_share = (
        (side & steps[..., None]).sum((0, 1)) for side in (wide < low, wide > high)
    )
    return Saturation(low_share.to(wide.dtype) / number, high_share.to(wide.dtype) / number)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _tokens(weights: Tensor) -> int:
    """The tokens of a self-attention."""
    queries, keys = weights.shape[-2:]
    if queries != keys:
        raise ValueError(
            "expected weights of a self-attention, with as many queries as keys, got "
            f"{queries} queries and {keys} keys"
        )
    return keys
