"""Class methods that build a new object, and so may not be called on an instance."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any


class _ClassOnlyMethod(classmethod):  # type: ignore[type-arg]
    """A `classmethod` that raises where an instance calls it, as Lightning's own do.

    What it returns would be dropped in silence: `model.load_from_checkpoint(path)` leaves `model`
    as it is.
    """

    def __get__(self, instance: Any, owner: type | None = None) -> Callable[..., Any]:
        bound: Callable[..., Any] = super().__get__(instance, owner)
        if instance is None:
            return bound
        name, cls = self.__func__.__name__, type(instance).__name__

        @functools.wraps(bound)
        def refuse(*_args: Any, **_kwargs: Any) -> Any:
            raise TypeError(
                f"{cls}.{name} is a class method and cannot be called on an instance: it builds a "
                f"new object and leaves this one as it is; call new = {cls}.{name}(...)"
            )

        return refuse


if TYPE_CHECKING:
    class_only_method = classmethod
else:
    class_only_method = _ClassOnlyMethod
