"""Activation checkpointing: layers that are computed again in the backward pass."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from seqlearn.instrumentation import muted


def recompute(layers: Sequence[nn.Module]) -> None:
    """Keep only the inputs of each layer for the backward pass, and compute the layer again there.

    Random numbers are drawn as in the first computation, so all results are the same to the bit. A
    call with a state that is not made of tensors, such as a cache, is not computed again.

    Args:
        layers: The layers; their `forward` is replaced. A second call changes nothing.

    Examples:
        >>> layer = nn.Linear(2, 2)
        >>> recompute([layer])
        >>> layer(torch.ones(1, 2)).shape
        torch.Size([1, 2])
    """
    for layer in layers:
        if not isinstance(layer.forward, _Recomputed):
            layer.forward = _Recomputed(layer)


class _Recomputed:
    """The `forward` of a layer; an object, so that a copy of the layer computes with the copy."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        forward = functools.partial(type(self.layer).forward, self.layer)
        plain = all(
            isinstance(each, Tensor | int | float | None) for each in tree_leaves((args, kwargs))
        )
        if not (plain and self.layer.training and torch.is_grad_enabled()):
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, context_fn=_contexts, **kwargs)


def _contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Of the first computation, and of the second, which a recording must not see."""
    return nullcontext(), muted()
