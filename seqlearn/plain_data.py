"""Conversion of arguments to plain data, which checkpoints can store safely.

Checkpoints are loaded with `weights_only=True`, and pretrained folders are JSON: both can store
strings, numbers, booleans, `None`, lists and dictionaries. numpy scalars and arrays, paths, enums
and dataclasses are converted when they are passed; other objects raise an error.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np


def to_builtin(value: Any) -> Any:
    """Convert numpy values, scalar tensors, paths and enums to Python values, also in containers.

    Lists, tuples and dictionaries keep their type; every other object is returned unchanged.

    Args:
        value: The value of an argument.

    Examples:
        >>> to_builtin({"size": np.int64(3), "labels": np.array(["a", "b"])})
        {'size': 3, 'labels': ['a', 'b']}
    """
    if isinstance(value, list | tuple):
        parts = [to_builtin(part) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    if isinstance(value, Mapping):
        return {to_builtin(key): to_builtin(part) for key, part in value.items()}
    converted = _converted(value)
    return value if converted is value else to_builtin(converted)


def _converted(value: Any) -> Any:
    """Convert a value that is not a container by one step."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, np.ndarray | np.generic):
        converted = value.tolist()
        return value if isinstance(converted, np.generic) else converted
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, bool) or type(value) in (str, int, float):
        return value
    kind = next((kind for kind in (str, int, float) if isinstance(value, kind)), None)
    return value if kind is None else kind.__new__(kind, value)  # type: ignore[type-var]


def to_plain_data(value: Any, name: str) -> Any:
    """Convert an argument to plain data.

    Args:
        value: The value of an argument; a dataclass becomes a dictionary, a tuple a list.
        name: Name of the argument, for errors.

    Raises:
        TypeError: If it contains other objects than strings, numbers, booleans, `None`, lists,
            tuples, dictionaries, dataclasses and the types that `to_builtin` converts.

    Examples:
        >>> to_plain_data((1, np.float64(0.5)), "sizes")
        [1, 0.5]
    """
    value = to_builtin(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = to_builtin(dataclasses.asdict(value))
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, list | tuple):
        return [to_plain_data(part, f"{name}[{number}]") for number, part in enumerate(value)]
    if isinstance(value, dict):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"{name}: expected strings as keys, got {wrong[0]!r}")
        return {key: to_plain_data(part, f"{name}[{key!r}]") for key, part in value.items()}
    raise TypeError(
        f"{name}: expected plain data (a string, number, boolean, list or dictionary), which a "
        f"checkpoint can store safely, got {type(value).__name__}; pass plain values and create "
        "the object in __init__"
    )


def check_whole_number(value: Any, name: str, least: int) -> int:
    """Check a count, such as a size or a seed, and convert it to `int`.

    Args:
        value: The value of an argument; a whole number of numpy or torch is converted.
        name: Name of the argument, for errors.
        least: Minimum.

    Raises:
        TypeError: If it is not a whole number; `8.0` and `True` are not.
        ValueError: If it is below `least`.

    Examples:
        >>> check_whole_number(np.int64(8), "d_model", 1)
        8
    """
    value = to_builtin(value)
    if type(value) is not int:
        raise TypeError(f"{name}: expected a whole number, such as {max(least, 8)}, got {value!r}")
    if value < least:
        raise ValueError(f"expected {name} of at least {least}, got {value}")
    return value


def check_flag(value: Any, name: str) -> None:
    """Check an argument that is switched on or off; any text other than `""` would be on.

    Args:
        value: The value of an argument; a boolean of numpy, 1 and 0 are accepted.
        name: Name of the argument, for errors.

    Raises:
        TypeError: If it is neither true nor false.
    """
    value = to_builtin(value)
    if not isinstance(value, int) or value not in (0, 1):
        raise TypeError(f"{name}: expected True or False, got {value!r}")


_FIELD_TYPES = {
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "True or False"),
    "str": ((str,), "a string"),
    "None": ((type(None),), "None"),
}
"""For each annotation of a field: the types of its value, and their name in errors."""


def convert_fields(instance: Any) -> None:
    """Convert and check the fields of a frozen dataclass; call it first in `__post_init__`.

    The value of a field that is annotated as a number, a boolean or a string must have that type.

    Args:
        instance: The dataclass. Fields that are dataclasses have converted their own fields.

    Raises:
        TypeError: If a field cannot be converted to plain data, or has the wrong type; the message
            names it.
    """
    for field in dataclasses.fields(instance):
        name = f"{type(instance).__name__}.{field.name}"
        value = to_builtin(getattr(instance, field.name))
        if not dataclasses.is_dataclass(value):
            to_plain_data(value, name)
        annotated = getattr(field.type, "__name__", str(field.type)).split(" | ")
        if all(kind in _FIELD_TYPES for kind in annotated):
            allowed = {kind for each in annotated for kind in _FIELD_TYPES[each][0]}
            if type(value) not in allowed:
                wanted = " or ".join(_FIELD_TYPES[each][1] for each in annotated)
                raise TypeError(f"{name}: expected {wanted}, got {value!r}")
        object.__setattr__(instance, field.name, value)
