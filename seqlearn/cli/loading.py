"""Build the module of a checkpoint, of whichever class it is."""

from __future__ import annotations

import importlib

from seqlearn.models import SequenceModule
from seqlearn.models import checkpoint as checkpoints
from seqlearn.plugins import load_plugins, subclasses


def load_checkpoint(path: str, name: str | None = None) -> SequenceModule:
    """Build the module of a checkpoint, of whichever class it is.

    Args:
        path: The checkpoint.
        name: `package.module.Class` of a class outside seqlearn, or the short name of one that its
            package registers. A checkpoint's own word is never enough to import something.

    Raises:
        ValueError: If the class is not known here; the message says how to name it.
    """
    if name is not None and "." in name:
        module, _, attribute = name.rpartition(".")
        named = getattr(importlib.import_module(module), attribute, None)
        if not (isinstance(named, type) and issubclass(named, SequenceModule)):
            raise ValueError(f"expected --model package.module.Class of a SequenceModule: {name}")
        return named.load_from_checkpoint(path, map_location="cpu")
    wanted = checkpoints.read(path, map_location="meta")[checkpoints.KEY]["class"]
    if name is not None and name != wanted.rpartition(".")[2]:
        raise ValueError(f"{path} holds a {wanted}, got --model {name}; leave --model out")
    cls = _known(wanted)
    if cls is None:
        load_plugins("seqlearn.models")
        cls = _known(wanted)
    if cls is None:
        raise ValueError(f"{path} holds a {wanted}; name its class with --model {wanted}")
    return cls.load_from_checkpoint(path, map_location="cpu")


def _known(name: str) -> type[SequenceModule] | None:
    """The imported class that a checkpoint knows by this name."""
    classes = subclasses(SequenceModule)
    return next((cls for cls in classes if checkpoints.class_name(cls) == name), None)
