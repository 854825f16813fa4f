"""Hooks of Lightning whose base work runs also where a subclass overrides them without `super()`.

Lightning's own hooks do nothing, so users override them without calling the base's. Here some do
necessary work: a checkpoint without the spec cannot be loaded, and NaN would reach the weights.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

COMPLETED = (
    "setup",
    "on_fit_start",
    "on_train_start",
    "on_train_batch_start",
    "on_before_optimizer_step",
    "on_save_checkpoint",
    "on_load_checkpoint",
)
"""The hooks of `SequenceModule` that are completed in subclasses."""

_RUN = "_hooks_run"


def record_hooks(base: type[Any]) -> None:
    """Let the hooks of the base record that they ran."""
    for name in COMPLETED:
        setattr(base, name, _recorded(name, getattr(base, name)))


def complete_hooks(cls: type[Any], base: type[Any]) -> None:
    """Let each hook that a subclass overrides run the base's after it, unless it ran that itself.

    Args:
        cls: The subclass.
        base: The class whose hooks are to run.
    """
    for name in COMPLETED:
        hook, required = getattr(cls, name), getattr(base, name)
        if hook is not required and not hasattr(hook, "completes"):
            setattr(cls, name, _completed(name, hook, required))


def _recorded(name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(hook)
    def recorded(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.__dict__.setdefault(_RUN, set()).add(name)
        return hook(self, *args, **kwargs)

    return recorded


def _completed(
    name: str, hook: Callable[..., Any], required: Callable[..., Any]
) -> Callable[..., Any]:
    @functools.wraps(hook)
    def completed(self: Any, *args: Any, **kwargs: Any) -> Any:
        run = self.__dict__.setdefault(_RUN, set())
        run.discard(name)
        result = hook(self, *args, **kwargs)
        if name not in run:
            required(self, *args, **kwargs)
        return result

    completed.completes = required  # type: ignore[attr-defined]
    return completed
