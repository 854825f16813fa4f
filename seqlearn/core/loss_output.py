"""`LossOutput`: what `compute_loss` returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from seqlearn.nn import State


class LossOutput(NamedTuple):
    """The summed loss and the per-token statistics of a batch.

    Attributes:
        loss: The loss summed over all counted targets, in nats (squared errors for vectors); it
            has a gradient.
        num_tokens: Number of counted targets: tokens, words, examples or elements of vectors.
        nll: Negative log-likelihood of each counted token or class, in nats.
        correct: Whether each of these was predicted with the highest probability.
        mask: `batch time` (`batch words` for tags, `batch 1` for classes and vectors), True where
            a target counts.
        state: The decoder's state after the batch; `None` for a target that is not text.
        labels: The counted targets: ids or vectors.
        predicted: A prediction for each of them: the likeliest id, or a vector; `None` for a type
            of your own that returns none.
    """

    loss: Tensor
    num_tokens: Tensor
    nll: Tensor
    correct: Tensor
    mask: Tensor
    state: State | None = None
    labels: Tensor | None = None
    predicted: Tensor | None = None
