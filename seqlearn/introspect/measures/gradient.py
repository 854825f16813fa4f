"""Gradient flow: gradients of a loss with respect to the embedded input, step by step."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

GradientFlowClass = Literal["vanishing", "exploding", "stable"]
"""How a gradient changes backward through time; see `classify_gradient_flow`."""

FACTOR = 10.0
"""A fitted change by more than this, from the last step back to the first, is not stable."""


def gradient_flow(
    loss: Float[Tensor, "*losses"], embedded: Float[Tensor, "batch time width"]
) -> Float[Tensor, "batch time"]:
    """The gradient norm of the loss at each input step: ‖∂ loss_b / ∂ embedded_bt‖.

    The losses are summed first. Since examples do not influence each other, the gradient at an
    example's steps is that of its own loss. No `.grad` is written, and the graph is kept.

    Args:
        loss: A loss for each example in nats, such as that of its last target token, or any
            tensor of losses.
        embedded: The embedded input from which `loss` was computed, one vector per step.

    Returns:
        Euclidean norms in nats per unit of the embedding, in float32 or wider; zero where a step
        has no influence, as in padding.

    Raises:
        ValueError: If `loss` was not computed from `embedded`.

    Source: Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural
    networks", section 2.1, equations 3 to 5: the terms ∂ loss / ∂ x_t.

    Examples:
        >>> import torch
        >>> from seqlearn.introspect import gradient_flow
        >>> embedded = torch.ones(1, 3, 1, requires_grad=True)
        >>> loss = 2 * embedded[:, 1] + 5 * embedded[:, 2]
        >>> gradient_flow(loss, embedded)
        tensor([[0., 2., 5.]])
    """
    gradient = None
    if loss.requires_grad and embedded.requires_grad:
        (gradient,) = torch.autograd.grad(
            loss.sum(), embedded, retain_graph=True, allow_unused=True
        )
    if gradient is None:
        raise ValueError(
            "expected a loss computed from embedded with gradients on, got one that does not "
            "depend on it; pass the tensor that the model received, with requires_grad_()"
        )
    wide = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
    return torch.linalg.vector_norm(wide, dim=-1)


def classify_gradient_flow(
    norms: Float[Tensor, "batch time"], lengths: Int[Tensor, " batch"] | None = None
) -> GradientFlowClass:
    """Classify whether a gradient vanishes or explodes backward through time.

    A line is fitted by least squares to ln ‖·‖ over the distance from an example's last step, with
    one slope for all examples and an intercept for each. If the line falls by more than a factor of
    ten (`FACTOR`) over the longest example, the gradient is vanishing; if it rises by more, it is
    exploding. In both cases the slope must be more than twice its standard error, so that a short
    or noisy curve is stable.

    - A norm that is not finite makes the gradient exploding.
    - Zeros before the first step with a gradient count as the smallest normal number of the dtype:
      the gradient did not reach them. Other zeros are ignored.
    - Examples with fewer than three remaining steps, or without any gradient, are ignored. If none
      remains, the result is "stable".

    Args:
        norms: ‖∂ loss / ∂ embedded input‖ at each step, of `gradient_flow`.
        lengths: Steps in each example; all are real, if `None`.

    Returns:
        `"vanishing"`, `"exploding"` or `"stable"`.

    Source: the notions are those of Pascanu, Mikolov & Bengio 2013, section 2.1 (exponential
    decrease and growth with distance); the rule is this library's.

    Examples:
        >>> import torch
        >>> from seqlearn.introspect import classify_gradient_flow
        >>> classify_gradient_flow(torch.tensor([[1e-4, 1e-3, 1e-2, 1e-1, 1.0]]))
        'vanishing'
    """
    time = norms.shape[1]
    if lengths is None:
        lengths = torch.full((len(norms),), time)
    step, ends = torch.arange(time), lengths.cpu()[:, None]
    real, norms = step < ends, norms.detach().cpu()
    if not norms[real].isfinite().all():
        return "exploding"
    positive = real & (norms > 0)
    reached = positive.cumsum(1) > 0
    counted = positive | (real & ~reached)
    counted &= positive.any(1, keepdim=True) & (counted.sum(1, keepdim=True) >= 3)
    if not counted.any():
        return "stable"
    logarithm = norms.clamp(min=torch.finfo(norms.dtype).tiny).double().log()
    x, y = _centred((ends - 1 - step).double(), counted), _centred(logarithm, counted)
    spread = x.square().sum()
    slope = (x * y).sum() / spread
    freedom = counted.sum() - counted.any(1).sum() - 1
    error = ((y - slope * x).square().sum() / freedom / spread).sqrt()
    longest = lengths.cpu()[counted.any(1)].max() - 1
    if slope.abs() <= 2 * error or (slope * longest).abs() <= math.log(FACTOR):
        return "stable"
    return "vanishing" if slope < 0 else "exploding"


def _centred(values: Tensor, counted: Tensor) -> Tensor:
    """Values minus the mean of the counted values of their row; zero elsewhere."""
    values = values.where(counted, 0.0)
    mean = values.sum(1, keepdim=True) / counted.sum(1, keepdim=True).clamp(min=1)
    return (values - mean).where(counted, 0.0)
