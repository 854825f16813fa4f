"""Evaluation mode for the duration of a call, also when several threads use one module."""

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
    """How many calls need a part in `eval`, and the mode that the last of them restores."""

    calls: int
    training: bool


_in_use: dict[int, _Use] = {}
"""By the `id` of each part; an entry exists only while a call runs and holds the part alive."""


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Put a module into `eval`, without gradients, and restore every part's mode afterwards.

    Modes belong to the module, not to a thread. So the first of several simultaneous calls puts a
    part into `eval`, and the last one to finish restores its mode: no call sees dropout come on.
    A module that is in `eval` already is left as it is.

    Args:
        module: The module. While it is trained, use it from the training thread only.
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
    """Whether a block of `eval_mode` runs on this module."""
    with _lock:
        return id(module) in _in_use
