"""Lightning hooks that run also if a subclass overrides them without calling `super()`.

The hooks of `LightningModule` do nothing, so users override them without calling `super()`. Some
hooks of `SequenceModule` are necessary: they write the spec into checkpoints, and keep NaN from the
weights. `record_hooks` and `complete_hooks` wrap them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

COMPLETED = (
    "setup",
    "configure_model",
    "on_fit_start",
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_before_optimizer_step",
    "on_save_checkpoint",
    "on_load_checkpoint",
)
"""The hooks of `SequenceModule` that always run."""

_RUN = "_hooks_run"


def record_hooks(base: type[Any]) -> None:
    """Wrap the hooks of a base class so that they record that they ran.

    Args:
        base: The class; its attributes are replaced.
    """
    for name in COMPLETED:
        setattr(base, name, _recorded(name, getattr(base, name)))


def complete_hooks(cls: type[Any], base: type[Any]) -> None:
    """Wrap each overridden hook so that the hook of the base class runs after it.

    If the overriding hook has already called `super()`, nothing is added.

    Args:
        cls: The subclass; its attributes are replaced.
        base: The class whose hooks must run; see `record_hooks`.
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
