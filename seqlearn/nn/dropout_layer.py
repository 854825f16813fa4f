"""Dropout whose masks are cheap to draw on the CPU.

Drawing one random float for each element takes a fifth of a small Transformer's training step on
a CPU. One 64-bit draw holds four independent 16-bit ones, which is all that a keep-or-drop
decision needs.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_LEVELS = 1 << 16


def _draw_kept(inputs: Tensor, keep_levels: int) -> Tensor:
    """Draw which elements to keep, each with a probability of `keep_levels` / 65536."""
    count = inputs.numel()
    draws = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    kept = draws.view(torch.int16)[:count] < keep_levels - _LEVELS // 2
    return kept.view(inputs.shape)


# One operation in a graph, so that compiled code draws the numbers that uncompiled code draws. The
# compiler merges two operations with the same arguments, random or not; `inputs` tells them apart.
@torch.library.custom_op(
    "seqlearn::draw_kept",
    mutates_args=(),
    schema="(Tensor inputs, int keep_levels) -> Tensor",
    tags=(torch.Tag.nondeterministic_seeded,),
)
def _draw_kept_in_graph(inputs: Tensor, keep_levels: int) -> Tensor:
    return _draw_kept(inputs, keep_levels)


@_draw_kept_in_graph.register_fake
def _(inputs: Tensor, keep_levels: int) -> Tensor:  # noqa: ARG001 -- the signature of the above
    return inputs.new_empty(inputs.shape, dtype=torch.bool)


class _PackedBitsDropout(torch.autograd.Function):
    """Zero each element with a probability that is a multiple of 1/65536, and rescale the rest."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, keep_levels: int) -> Tensor:
        ctx.keep, ctx.scale = _draw_kept(inputs, keep_levels), _LEVELS / keep_levels
        return torch.mul(inputs, ctx.keep).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return torch.mul(gradient, ctx.keep).mul_(ctx.scale), None


def dropout(inputs: Float[Tensor, "*shape"], probability: float) -> Float[Tensor, "*shape"]:
    """Zero elements at random and rescale the others so that the expectation stays.

    Args:
        inputs: Any tensor of floats.
        probability: Of each element to be zeroed, rounded to a multiple of 1/65536 on the CPU.

    Source: Srivastava et al. 2014, section 10 (the inverted form, rescaled in training).

    Examples:
        >>> set(dropout(torch.ones(100), 0.5).tolist()) <= {0.0, 2.0}
        True
    """
    keep_levels = round((1 - probability) * _LEVELS)
    if inputs.device.type != "cpu" or keep_levels == 0:
        return functional.dropout(inputs, probability)
    if torch.compiler.is_compiling():
        kept: Tensor = _draw_kept_in_graph(inputs.detach(), keep_levels)
        return inputs * kept * (_LEVELS / keep_levels)
    result: Tensor = _PackedBitsDropout.apply(inputs, keep_levels)  # type: ignore[no-untyped-call]
    return result


class _PackedBitsDropoutProduct(torch.autograd.Function):
    """The product of dropped weights and values; the gradient computes the dropped weights anew."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, value: Tensor, keep_levels: int) -> Tensor:
        ctx.keep, ctx.scale = _draw_kept(weights, keep_levels), _LEVELS / keep_levels
        ctx.save_for_backward(weights, value)
        return torch.mul(weights, ctx.keep).mul_(ctx.scale) @ value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        weights, value = ctx.saved_tensors
        # Under autocast the product is in a lower precision than the weights.
        dropped = torch.mul(weights, ctx.keep).mul_(ctx.scale).to(gradient.dtype)
        d_value = (dropped.transpose(-2, -1) @ gradient).to(value.dtype)
        d_dropped = gradient @ value.to(gradient.dtype).transpose(-2, -1)
        return torch.mul(d_dropped.to(weights.dtype), ctx.keep).mul_(ctx.scale), d_value, None


def dropout_product(
    weights: Float[Tensor, "*batch query key"], value: Float[Tensor, "*batch key d"], p: float
) -> Float[Tensor, "*batch query d"]:
    """Compute `dropout(weights, p) @ value`; on the CPU the dropped weights are not kept.

    Args:
        weights: The weights, of which some are dropped.
        value: One vector for each key.
        p: The probability of each weight to be zeroed, as in `dropout`.
    """
    keep_levels = round((1 - p) * _LEVELS)
    if weights.device.type != "cpu" or keep_levels == 0 or torch.compiler.is_compiling():
        return dropout(weights, p) @ value
    # A view would keep the projection of which it is a part.
    result: Tensor = _PackedBitsDropoutProduct.apply(  # type: ignore[no-untyped-call]
        weights, value.contiguous(), keep_levels
    )
    return result


def check_dropout(probability: float) -> float:
    """`probability` itself, if it is one of zeroing an element.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is outside 0 to below 1.
    """
    if not isinstance(probability, int | float):
        raise TypeError(f"dropout: expected a number, such as 0.1, got {probability!r}")
    if not 0 <= probability < 1:
        raise ValueError(f"expected a dropout of at least 0 and below 1, got {probability}")
    return probability


class Dropout(nn.Module):
    """`dropout` as a module: active in training, the identity in `eval`.

    Args:
        probability: Of each element to be zeroed, from 0 to below 1.

    Raises:
        ValueError: If `probability` is outside that range.

    Examples:
        >>> Dropout(0.5).eval()(torch.ones(3))
        tensor([1., 1., 1.])
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = check_dropout(probability)

    def forward(self, inputs: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Zero elements of `inputs` (any shape) in training; return `inputs` in `eval`."""
        if not self.training or self.probability == 0:
            return inputs
        return dropout(inputs, self.probability)

    def extra_repr(self) -> str:
        """The probability, for `print(model)`."""
        return f"{self.probability}"
