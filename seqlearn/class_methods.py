"""Class methods that raise if they are called on an instance, and methods that are overridden."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any


class _ClassOnlyMethod(classmethod):  # type: ignore[type-arg]
    """A `classmethod` that raises if it is called on an instance, as Lightning's own do.

    Otherwise the result would be lost silently: `model.load_from_checkpoint(path)` does not change
    `model`.
    """

    def __get__(self, instance: Any, owner: type | None = None) -> Callable[..., Any]:
        bound: Callable[..., Any] = super().__get__(instance, owner)
        if instance is None:
            return bound
        name, cls = self.__func__.__name__, type(instance).__name__

        @functools.wraps(bound)
        def raise_error(*_args: Any, **_kwargs: Any) -> Any:
            raise TypeError(
                f"{cls}.{name} is a class method and cannot be called on an instance: it creates a "
                f"new object and does not change this one; call new = {cls}.{name}(...)"
            )

        return raise_error


def is_overridden(cls: type, name: str) -> bool:
    """Whether a method is that of a class outside seqlearn."""
    owner = next((each for each in cls.__mro__ if name in vars(each)), None)
    return owner is not None and not owner.__module__.startswith("seqlearn.")


if TYPE_CHECKING:
    class_only_method = classmethod
else:
    class_only_method = _ClassOnlyMethod
