"""Classes that other packages register for the command line.

A package lists them in its `pyproject.toml`, each under its class name:

    [project.entry-points."seqlearn.models"]
    SRU = "their_package:SRU"

    [project.entry-points."seqlearn.data"]
    Letters = "their_package.letters:Letters"

When the package is installed, they are available by that name (`seqlearn fit --model SRU --data
Letters`). They are imported by the commands that use them, never by `import seqlearn`.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from seqlearn.core import SequenceModule
from seqlearn.data import SequenceDataModule

Base = TypeVar("Base")

GROUPS: dict[str, type[Any]] = {
    "seqlearn.models": SequenceModule,
    "seqlearn.data": SequenceDataModule,
}
"""The base class of each group of entry points."""


def load_plugins(group: str, required: Collection[str] = ()) -> dict[str, type]:
    """Import the classes that other packages have registered.

    An entry that cannot be imported, is not a subclass of the group's base, or has the name of
    another class, is skipped with one line on standard error that names the package.

    Args:
        group: `"seqlearn.models"` or `"seqlearn.data"`.
        required: Names that must not be skipped.

    Returns:
        The classes by name, sorted.

    Raises:
        ImportError: If a required name would be skipped.
    """
    classes: dict[str, type] = {}
    taken = {cls.__name__ for cls in subclasses(GROUPS[group]) if _is_own(cls)}
    for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value)):
        if entry.name in taken:  # if it were imported, the name would mean two classes
            print(f"seqlearn: warning: {_skipped(entry, 'the name is taken')}", file=sys.stderr)
            continue
        try:
            classes[entry.name] = _load(entry)
        except Exception as error:
            message = _skipped(entry, f"{type(error).__name__}: {error}")
            if entry.name in required:
                raise ImportError(message) from error
            print(f"seqlearn: warning: {message}", file=sys.stderr)
        taken.add(entry.name)
    return classes


def _skipped(entry: EntryPoint, reason: str) -> str:
    package = "an unnamed package" if entry.dist is None else entry.dist.name
    return (
        f"{entry.name} ({entry.group}) of {package} is skipped: {' '.join(reason.split())}; "
        "repair or uninstall that package"
    )


def subclasses(cls: type[Base]) -> Iterator[type[Base]]:
    """All classes that inherit from `cls` and have been imported."""
    for child in cls.__subclasses__():
        yield child
        yield from subclasses(child)


def _is_own(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "seqlearn"


def _load(entry: EntryPoint) -> type:
    """Import the class of an entry point.

    Raises:
        TypeError: If it is not a subclass of the group's base, or its name differs from the entry.
    """
    cls, base = entry.load(), GROUPS[entry.group]
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise TypeError(f"expected a subclass of {base.__name__}, got {entry.value}")
    if cls.__name__ != entry.name:
        raise TypeError(f"expected an entry point with the name of the class, {cls.__name__}")
    return cls
