"""The constructor's arguments of a module, kept as plain data from which it can be built again."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from seqlearn.models.recipe import Recipe


def plain(value: Any, name: str) -> Any:
    """Turn a hyper-parameter into plain data.

    Args:
        value: What was passed; a dataclass becomes a dictionary, a tuple a list.
        name: How an error calls it.

    Raises:
        TypeError: If it is not made of strings, numbers, booleans, `None`, lists, tuples,
            dictionaries and dataclasses: a checkpoint that held it could not be loaded safely.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, list | tuple):
        return [plain(part, f"{name}[{number}]") for number, part in enumerate(value)]
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise TypeError(
                f"hyper-parameter {name}: expected keys that are text, got {wrong[0]!r}"
            )
        return {key: plain(part, f"{name}[{key!r}]") for key, part in value.items()}
    raise TypeError(
        f"hyper-parameter {name}: expected plain data (a string, number, boolean, list or "
        f"dictionary), which a checkpoint can hold safely, got {type(value).__name__}; "
        "pass plain values and build the object in __init__"
    )


def keeping_arguments(cls: type) -> Callable[..., None]:
    """Wrap `cls.__init__` so that the instance keeps its arguments, and takes a `recipe`.

    The arguments with which the class that is being built was called are kept in the instance's
    `_arguments`, defaults included. `recipe` is accepted, and shows in the signature, also where
    the class does not ask for it.
    """
    init = cls.__init__  # type: ignore[misc]
    signature = inspect.signature(init)
    variadic = [p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD]
    positional = [p.name for p in signature.parameters.values() if p.kind is p.VAR_POSITIONAL]
    takes_recipe = "recipe" in signature.parameters

    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        recipe = {}
        if not takes_recipe and "recipe" in kwargs:
            recipe = {"recipe": kwargs.pop("recipe")}
        if type(self) is not cls:
            # A subclass whose constructor is this one, or hands a recipe on, keeps it.
            if recipe.get("recipe") is not None:
                self.__dict__["_arguments"].update(recipe)
        else:
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            arguments = dict(list(bound.arguments.items())[1:])
            for name in variadic:
                arguments.update(arguments.pop(name))
            if positional and len(arguments[positional[0]]) > 1:
                raise TypeError(
                    f"{cls.__name__} takes *{positional[0]}, whose names no checkpoint can keep; "
                    "pass everything but the spec by name"
                )
            # The spec, which comes first whatever it is called, is kept apart.
            arguments.pop("spec" if "spec" in arguments else next(iter(arguments)), None)
            object.__setattr__(self, "_arguments", arguments | recipe)
        init(self, *args, **kwargs)

    if not takes_recipe:
        parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        added = inspect.Parameter(
            "recipe", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Recipe | None
        )
        rest = [signature.parameters[name] for name in variadic]
        wrapped.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*parameters, added, *rest]
        )
    return wrapped
