"""Gradients at the outputs of an embedding layer: which input positions an output depends on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from seqlearn.testing.trial import NotApplicable


@contextmanager
def leaf_outputs(layer: nn.Module | None, name: str) -> Iterator[list[Tensor]]:
    """Replace each output of a layer by a leaf tensor with the same values.

    Args:
        layer: The layer.
        name: Its name, for the message.

    Yields:
        The leaves, one for each call.

    Raises:
        NotApplicable: If there is no layer, or the block ends and it has not been called.
    """
    leaves: list[Tensor] = []

    def replace(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1]

    if layer is None:
        raise NotApplicable(f"it has no {name}")
    hook = layer.register_forward_hook(replace)
    try:
        yield leaves
    finally:
        hook.remove()
    if not leaves:
        raise NotApplicable(f"it does not call its {name}")


def gradient_at(leaves: list[Tensor], total: Tensor) -> Tensor:
    """The absolute gradient at a layer's outputs, summed over all calls of the same shape."""
    leaves = [leaf for leaf in leaves if leaf.shape == leaves[0].shape]
    found = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
    return torch.stack([gradient.abs() for gradient in found]).sum(0)
