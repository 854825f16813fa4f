"""Loading a checkpoint of any `SequenceModule` class."""

from __future__ import annotations

import importlib
from typing import Any

from seqlearn.cli.plugins import load_plugins, subclasses
from seqlearn.core import SequenceModule
from seqlearn.core import checkpoint as checkpoints


def load_checkpoint(path: str, name: str | None = None) -> SequenceModule:
    """Load a checkpoint of any `SequenceModule` class.

    Args:
        path: The checkpoint.
        name: `package.module.Class` of a class outside seqlearn, or the short name of a registered
            class; also for a class that was moved or renamed since. Nothing is imported because the
            checkpoint names it.

    Raises:
        ValueError: If the class is unknown; the message says how to name it.
    """
    if name is not None and "." in name:
        module, _, attribute = name.rpartition(".")
        named = getattr(importlib.import_module(module), attribute, None)
        if not (isinstance(named, type) and issubclass(named, SequenceModule)):
            raise ValueError(f"expected --model package.module.Class of a SequenceModule: {name}")
        return named.load_from_checkpoint(path, map_location="cpu")
    wanted = checkpoints.read_checkpoint(path, map_location="meta")[checkpoints.KEY]["class"]
    cls: Any = checkpoints.known_class(wanted, SequenceModule)
    if cls is None:
        load_plugins("seqlearn.models")
        cls = checkpoints.known_class(wanted, SequenceModule)
    if cls is not None and name not in (None, cls.__name__):
        raise ValueError(f"{path} holds a {wanted}, got --model {name}; leave --model out")
    if cls is None and name is not None:  # the class was moved or renamed since
        cls = next((each for each in subclasses(SequenceModule) if each.__name__ == name), None)
    if cls is None:
        importable = "__main__" not in wanted and "<locals>" not in wanted
        advice = wanted if importable else "package.module.Class"
        raise ValueError(f"{path} holds a {wanted}; name its class with --model {advice}")
    built: SequenceModule = cls.load_from_checkpoint(path, map_location="cpu")
    return built
