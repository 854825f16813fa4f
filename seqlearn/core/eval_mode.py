"""`eval_mode`: a thread-safe context manager for evaluation without gradients."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

_lock = threading.Lock()


@dataclass
class _Use:
    """Number of active `eval_mode` blocks of a submodule, and the mode restored at the end."""

    calls: int
    training: bool


_in_use: dict[int, _Use] = {}
"""By the `id` of each submodule; an entry exists only within a block, which keeps it alive."""


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Put a module into eval mode without gradients, and restore all modes afterwards.

    All threads share the mode of a module. If several blocks run at the same time, the first one
    puts each submodule into eval mode, and the last one to end restores its mode. Dropout is
    therefore off in all of them.

    Args:
        module: The module. During training, use it from the training thread only.

    Examples:
        >>> module = nn.Dropout()
        >>> with eval_mode(module):
        ...     module.training, torch.is_grad_enabled()
        (False, False)
        >>> module.training
        True
    """
    parts = list(module.modules())
    with _lock:
        for part in parts:
            if (use := _in_use.get(id(part))) is not None:
                use.calls += 1
            else:
                _in_use[id(part)] = _Use(1, part.training)
        if any(part.training for part in parts):
            module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        with _lock:
            for part in parts:
                use = _in_use[id(part)]
                use.calls -= 1
                if use.calls == 0:
                    del _in_use[id(part)]
                    if use.training:
                        part.training = True


def is_evaluating(module: nn.Module) -> bool:
    """Whether the module is within a block of `eval_mode`."""
    with _lock:
        return id(module) in _in_use
