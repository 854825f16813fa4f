"""Cross-entropy over a large vocabulary without ever storing all logits.

    logits = hidden Wᵀ + b
    loss   = (1 - ε) · (-log p(target)) + ε · mean over the vocabulary of (-log p)

with ε the label smoothing (Szegedy et al. 2016, section 7), summed over the rows. The rows are
worked through a few hundred at a time, and each part's gradient is made on the way, so that the
logits of one part at a time are all that is held: a third of the training memory of a small
Transformer, and faster, since a part stays in the cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

_LOGITS_AT_ONCE = {"cpu": 1 << 21, "other": 1 << 27}
_LEAST_ROWS = 256
"""Of a part. With fewer, the products with all weights of the output layer are slow."""
_GROUP_SIZE = 128
"""Tokens of a group: on a CPU, `max` with its index is several times as slow as `amax`."""


class TokenLoss(NamedTuple):
    """The result of `linear_cross_entropy`.

    Attributes:
        loss: The sum over rows, smoothed, in nats; the only one with a gradient.
        nll: Negative log-likelihood of each target, not smoothed, in nats, `rows`.
        correct: Whether the target is the likeliest token, `rows`.
        predicted: The likeliest token, `rows`.

    Examples:
        >>> from seqlearn.nn import linear_cross_entropy
        >>> target = torch.tensor([0, 1])
        >>> linear_cross_entropy(torch.zeros(2, 3), torch.eye(3), None, target).nll  # ln 3 each
        tensor([1.0986, 1.0986])
    """

    loss: Float[Tensor, ""]
    nll: Float[Tensor, " rows"]
    correct: Bool[Tensor, " rows"]
    predicted: Int[Tensor, " rows"]


def cross_entropy(
    logits: Float[Tensor, "rows vocab"], target: Int[Tensor, " rows"], smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """The textbook form, for logits that exist: the smoothed loss in nats, summed over the rows.

    Examples:
        >>> cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3]))  # 2 ln 4
        tensor(2.7726)
    """
    log_p = logits.log_softmax(-1)
    nll = -log_p.gather(-1, target[:, None]).squeeze(-1)
    if smoothing:
        nll = (1 - smoothing) * nll - smoothing * log_p.mean(-1)
    return nll.sum()


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        smoothing: float,
        class_weight: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        scale = None if class_weight is None else class_weight[target]
        rows, vocab = hidden.shape[0], weight.shape[0]
        learning = any(ctx.needs_input_grad[:3])
        device = hidden.device.type
        autocast = torch.is_autocast_enabled(device)
        budget = _LOGITS_AT_ONCE["cpu" if device == "cpu" else "other"]
        part = max(_LEAST_ROWS, budget // vocab)
        # Sums are kept in single precision at least, also where autocast makes bf16 logits.
        exact = torch.promote_types(hidden.dtype, torch.float32)
        nll = hidden.new_empty(rows, dtype=exact)
        mean = hidden.new_empty(rows, dtype=exact)
        predicted = torch.empty(rows, dtype=torch.long, device=hidden.device)
        d_hidden = torch.empty_like(hidden) if learning else None
        d_weight = torch.zeros_like(weight) if learning else None
        d_bias = torch.zeros_like(bias) if learning and bias is not None else None
        memory = _Memory(min(part, rows), weight, exact)
        for start in range(0, rows, part):
            at = slice(start, start + part)
            goal = target[at, None]
            logits = memory.logits(hidden[at], weight, bias)
            top, best = _largest(logits)
            p = memory.softmax(logits)
            log_z = top - p.gather(-1, best).log()
            nll[at] = (log_z - logits.gather(-1, goal)).squeeze(-1)
            if smoothing:  # else an infinite logit would make 0 · ∞ of it
                mean[at] = log_z.squeeze(-1) - logits.mean(-1)
            predicted[at] = best.squeeze(-1)
            if d_hidden is not None and d_weight is not None:
                if smoothing:
                    p -= smoothing / vocab
                p.scatter_add_(-1, goal, p.new_full(goal.shape, smoothing - 1.0))
                if scale is not None:
                    p *= scale[at, None]
                p = p.to(hidden.dtype)
                if d_bias is not None:
                    d_bias += p.sum(0)
                if autocast and p.dtype != torch.float64:  # which autocast leaves; once for both
                    p = p.to(torch.get_autocast_dtype(device))
                d_hidden[at] = p @ weight
                if autocast:  # in place there is no autocast, and the product would be in float32
                    d_weight += p.t() @ hidden[at]
                else:
                    d_weight.addmm_(p.t(), hidden[at])
        ctx.save_for_backward(d_hidden, d_weight, d_bias)
        correct = predicted == target
        ctx.mark_non_differentiable(nll, correct, predicted)
        loss = (1 - smoothing) * nll + smoothing * mean if smoothing else nll
        return (loss if scale is None else loss * scale).sum(), nll, correct, predicted

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        d_hidden, d_weight, d_bias = (
            None if made is None or not needed else made * gradient.to(made.dtype)
            for made, needed in zip(ctx.saved_tensors, ctx.needs_input_grad[:3], strict=True)
        )
        return d_hidden, d_weight, d_bias, None, None, None


class _Memory:
    """The memory of the logits of a part and of their softmax, which the next part uses again.

    New memory for each part would cost a CPU as much time as the softmax. A GPU keeps memory
    itself, and a compiled step too.

    Args:
        rows: Rows of the largest part.
        weight: The weights of the output layer.
        dtype: The dtype of the logits.
    """

    def __init__(self, rows: int, weight: Tensor, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._made: Tensor | None = None
        if weight.device.type == "cpu" and not torch.compiler.is_compiling():
            self._made = torch.empty(2, rows, len(weight), dtype=dtype)

    def logits(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The logits of a part."""
        if self._made is None:
            return functional.linear(hidden, weight, bias).to(self._dtype)
        made = self._made[0, : len(hidden)]
        if torch.is_autocast_enabled(hidden.device.type) or hidden.dtype != self._dtype:
            return made.copy_(functional.linear(hidden, weight, bias))
        if bias is None:
            return torch.mm(hidden, weight.t(), out=made)
        return torch.addmm(bias, hidden, weight.t(), out=made)

    def softmax(self, logits: Tensor) -> Tensor:
        """Their softmax."""
        return torch.softmax(
            logits, -1, out=None if self._made is None else self._made[1, : len(logits)]
        )


def _largest(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The largest logit of each row and its index, the first of equal ones; each `rows 1`."""
    vocab = logits.shape[1]
    whole = vocab // _GROUP_SIZE * _GROUP_SIZE
    if whole <= _GROUP_SIZE:
        top, best = logits.max(-1, keepdim=True)
        return top, best
    leaders = logits[:, :whole].view(len(logits), -1, _GROUP_SIZE).amax(-1)
    if whole < vocab:
        leaders = torch.cat([leaders, logits[:, whole:].amax(-1, keepdim=True)], 1)
    top, group = leaders.max(-1, keepdim=True)
    members = group * _GROUP_SIZE + torch.arange(_GROUP_SIZE, device=logits.device)
    members = members.clamp(max=vocab - 1)  # the last of the last group, again
    return top, members.gather(1, logits.gather(1, members).argmax(-1, keepdim=True))


def linear_cross_entropy(
    hidden: Float[Tensor, "rows d_model"],
    weight: Float[Tensor, "vocab d_model"],
    bias: Float[Tensor, " vocab"] | None,
    target: Int[Tensor, " rows"],
    smoothing: float = 0.0,
    class_weight: Float[Tensor, " vocab"] | None = None,
) -> TokenLoss:
    """Project to the vocabulary and take the cross-entropy, a few hundred rows at a time.

    Args:
        hidden: One vector per target token.
        weight: The output layer's weight, one row per token of the vocabulary.
        bias: The output layer's bias.
        target: The token to predict in each row.
        smoothing: Label smoothing ε, from 0 to below 1.
        class_weight: The factor of the loss of each target token; 1 by default.

    Returns:
        The summed loss (its gradient may be taken once), and the statistics of each row.

    Source: Szegedy et al. 2016, section 7, for the smoothing.

    Examples:
        >>> hidden, weight = torch.eye(3), 2 * torch.eye(3)
        >>> result = linear_cross_entropy(hidden, weight, None, torch.tensor([0, 1, 1]))
        >>> result.predicted, result.correct
        (tensor([0, 1, 2]), tensor([ True,  True, False]))
    """
    if not torch.is_grad_enabled():  # inside the function there is no telling
        hidden, weight, bias = (
            hidden.detach(),
            weight.detach(),
            bias if bias is None else bias.detach(),
        )
    measured = _LinearCrossEntropy.apply(hidden, weight, bias, target, smoothing, class_weight)  # type: ignore[no-untyped-call]
    return TokenLoss(*measured)
