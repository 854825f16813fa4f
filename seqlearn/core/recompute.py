"""Activation checkpointing: layers that are computed again in the backward pass."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
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
        if not hasattr(layer.forward, "recomputes"):
            layer.forward = _recomputed(layer, layer.forward)


def _recomputed(layer: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def recomputed(*args: Any, **kwargs: Any) -> Any:
        plain = all(
            isinstance(each, Tensor | int | float | None) for each in tree_leaves((args, kwargs))
        )
        if not (plain and layer.training and torch.is_grad_enabled()):
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, context_fn=_contexts, **kwargs)

    recomputed.recomputes = True  # type: ignore[attr-defined]
    return recomputed


def _contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Of the first computation, and of the second, which a recording must not see."""
    return nullcontext(), muted()
