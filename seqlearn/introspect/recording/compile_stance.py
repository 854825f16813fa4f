"""Compiled modules run uncompiled while recording: compiled code does not call a listener."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_lock = threading.Lock()
_active = 0
_stance = ExitStack()


@contextmanager
def force_eager() -> Iterator[None]:
    """Run compiled modules eagerly in the block.

    torch has one stance for the whole process. The first thread that enters sets it, and the last
    one that leaves restores the previous stance.
    """
    global _active  # noqa: PLW0603 -- torch's stance is global, and so is its count of users
    with _lock:
        if not _active:
            _stance.enter_context(torch.compiler.set_stance("force_eager"))
        _active += 1
    try:
        yield
    finally:
        with _lock:
            _active -= 1
            if not _active:
                _stance.close()
