"""The four scores of a decoder state and an encoder state, and attention with one of them.

    dot         score(s_t, h_i) = s_t · h_i                      Luong et al. 2015, equation 8
    general     score(s_t, h_i) = s_t · W h_i                    Luong et al. 2015, equation 8
    additive    score(s_t, h_i) = v · tanh(W s_t + U h_i)        Bahdanau et al. 2015, A.1.2
    scaled_dot  score(s_t, h_i) = s_t · h_i / √d_model           Vaswani et al. 2017, equation 1

From each of them:

    weights_t = softmax over i of score(s_t, h_i);   context_t = Σ_i weights_ti h_i
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seqlearn.instrumentation import Axes, emit
from seqlearn.nn.attention import attention_scores, masked_softmax

ScoreName = Literal["dot", "general", "additive", "scaled_dot"]


def dot_scores(
    query: Float[Tensor, "batch query d_model"], key: Float[Tensor, "batch key d_model"]
) -> Float[Tensor, "batch query key"]:
    """`s_t · h_i` (Luong et al. 2015, equation 8; with keys W h_i, "general").

    Examples:
        >>> dot_scores(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))
        tensor([[[1., 2.]]])
    """
    return query @ key.transpose(1, 2)


def additive_scores(
    query: Float[Tensor, "batch query d_model"],
    key: Float[Tensor, "batch key d_model"],
    v: Float[Tensor, " d_model"],
) -> Float[Tensor, "batch query key"]:
    """`v · tanh(W s_t + U h_i)` (Bahdanau et al. 2015, appendix A.1.2).

    Args:
        query: `W s_t`.
        key: `U h_i`.
        v: The weights of the sum.

    It needs memory for `batch query key d_model` numbers.

    Examples:
        >>> key = torch.tensor([[[0.0, 0.0], [20.0, 20.0]]])
        >>> additive_scores(torch.zeros(1, 1, 2), key, torch.ones(2)).round()
        tensor([[[0., 2.]]])
    """
    return (query[:, :, None] + key[:, None]).tanh() @ v


class LuongAttention(nn.Module):
    """Attention over the encoder states by one of the four scores; no heads, no value projection.

    Weights: `key` is Luong's W ("general") or Bahdanau's U ("additive"), `query` is Bahdanau's W,
    each `d_model × d_model`; `v` is `d_model`. "dot" and "scaled_dot" have none.

    Args:
        score: Which score.
        d_model: Width of decoder states and encoder states.

    Raises:
        ValueError: If `score` is not one of the four.

    Source: Luong et al. 2015, section 3.1; Bahdanau et al. 2015, appendix A.1.2.

    Examples:
        >>> attention = LuongAttention("dot", d_model=8)
        >>> states, mask = torch.zeros(1, 5, 8), torch.ones(1, 5, dtype=torch.bool)
        >>> key = attention.project_keys(states)  # once for each source
        >>> attention.weights(torch.zeros(1, 1, 8), key, mask)
        tensor([[[0.2000, 0.2000, 0.2000, 0.2000, 0.2000]]])
    """

    def __init__(self, score: ScoreName, d_model: int) -> None:
        super().__init__()
        if score not in ("dot", "general", "additive", "scaled_dot"):
            raise ValueError(
                f"expected score 'dot', 'general', 'additive' or 'scaled_dot', got {score!r}"
            )
        self.score = score
        if score in ("general", "additive"):
            self.key = nn.Linear(d_model, d_model, bias=False)
            nn.init.xavier_uniform_(self.key.weight)
        if score == "additive":
            self.query = nn.Linear(d_model, d_model, bias=False)
            nn.init.xavier_uniform_(self.query.weight)
            self.v = nn.Parameter(torch.empty(d_model))
            nn.init.normal_(self.v, std=d_model**-0.5)

    def project_keys(
        self, states: Float[Tensor, "batch source d_model"]
    ) -> Float[Tensor, "batch source d_model"]:
        """The keys that `scores` takes: the states themselves, or their projections."""
        return self.key(states) if self.score in ("general", "additive") else states

    def scores(
        self, query: Float[Tensor, "batch query d_model"], key: Float[Tensor, "batch key d_model"]
    ) -> Float[Tensor, "batch query key"]:
        """The score of each decoder state and each key of `project_keys`."""
        if self.score == "additive":
            return additive_scores(self.query(query), key, self.v)
        if self.score == "scaled_dot":
            return attention_scores(query, key)
        return dot_scores(query, key)

    def weights(
        self,
        query: Float[Tensor, "batch query d_model"],
        key: Float[Tensor, "batch source d_model"],
        mask: Bool[Tensor, "batch source"],
    ) -> Float[Tensor, "batch query source"]:
        """Score and softmax; zeros where `mask` is False."""
        return masked_softmax(self.scores(query, key), mask[:, None])

    def forward(
        self,
        query: Float[Tensor, "batch query d_model"],
        key: Float[Tensor, "batch source d_model"],
        states: Float[Tensor, "batch source d_model"],
        mask: Bool[Tensor, "batch source"],
        *,
        axes: Axes = ("target", "source"),
    ) -> Float[Tensor, "batch query d_model"]:
        """Score, softmax, weighted sum.

        Args:
            query: Decoder states, one per target position.
            key: The result of `project_keys` for the encoder states.
            states: The encoder states, of which the context is the weighted sum.
            mask: True where a state is real.
            axes: The sequences of queries and keys, for recordings (see
                `seqlearn.instrumentation.emit`).

        Returns:
            One context per query; zeros where the source is empty.
        """
        weights = self.weights(query, key, mask)
        emit("attention", self, lambda: weights[:, None], axes)

        def scores() -> Tensor:
            return self.scores(query, key).masked_fill(~mask[:, None], -math.inf)[:, None]

        emit("scores", self, scores, axes)
        emit("queries", self, lambda: query[:, None], axes[:1])
        emit("keys", self, lambda: key[:, None], axes[1:], shared=True)
        emit("values", self, lambda: states[:, None], axes[1:], shared=True)
        return weights @ states
