"""Compiled parts run uncompiled while somebody looks: they would not notice a listener."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_lock = threading.Lock()
_lookers = 0
_stance = ExitStack()


@contextmanager
def force_eager() -> Iterator[None]:
    """Run compiled modules eagerly in the block.

    torch has one stance for the whole process. The first thread to look sets it, and the last one
    to stop puts back what was there.
    """
    global _lookers  # noqa: PLW0603 -- torch's stance is global, and so is who changed it
    with _lock:
        if not _lookers:
            _stance.enter_context(torch.compiler.set_stance("force_eager"))
        _lookers += 1
    try:
        yield
    finally:
        with _lock:
            _lookers -= 1
            if not _lookers:
                _stance.close()
