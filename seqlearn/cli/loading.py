"""Loading a trained module of any `SequenceModule` class, wherever it is saved."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from seqlearn.cli.plugins import load_plugins, subclasses
from seqlearn.core import SequenceModule
from seqlearn.core import checkpoint as checkpoints
from seqlearn.core.pretrained import CONFIG, saved_class

SAVED = "a checkpoint, a folder of save_pretrained, or owner/name on the Hugging Face Hub"
"""What the commands load, for help texts."""

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def load_module(path: str, name: str | None = None) -> SequenceModule:
    """Load a module of any `SequenceModule` class.

    Args:
        path: A checkpoint (a file, a URL, or the folder of a sharded checkpoint), a folder of
            `save_pretrained`, or the name of a repository on the Hugging Face Hub.
        name: `package.module.Class` of a class outside seqlearn, or the short name of a registered
            class; also for a class that was moved or renamed since. Nothing is imported because the
            file names it.

    Returns:
        The module in eval mode, on the CPU.

    Raises:
        FileNotFoundError: If there is nothing of this name.
        ValueError: If the class is unknown; the message says how to name it.
    """
    pretrained = is_pretrained(path)
    if name is not None and "." in name:
        module, _, attribute = name.rpartition(".")
        cls: Any = getattr(importlib.import_module(module), attribute, None)
        if not (isinstance(cls, type) and issubclass(cls, SequenceModule)):
            raise ValueError(f"expected --model package.module.Class of a SequenceModule: {name}")
    else:
        cls = _class_of(path, name, saved_class(path) if pretrained else _class_in(path))
    load = cls.from_pretrained if pretrained else cls.load_from_checkpoint
    built: SequenceModule = load(path) if pretrained else load(path, map_location="cpu")
    return built


def is_pretrained(path: str) -> bool:
    """Whether a name is that of a folder of `save_pretrained` or of a repository on the Hub.

    A name of the form `owner/name` is a repository if there is no such file, and it does not end as
    checkpoints do.

    Examples:
        >>> is_pretrained("someone/dates-en-de"), is_pretrained("runs/last.ckpt")
        (True, False)
    """
    if Path(path).exists():
        return Path(path, CONFIG).is_file()
    return bool(_REPOSITORY.fullmatch(path)) and not path.endswith(".ckpt")


def _class_in(path: str) -> str:
    """The name of the class in a checkpoint."""
    return str(checkpoints.read_checkpoint(path, map_location="meta")[checkpoints.KEY]["class"])


def _class_of(path: str, name: str | None, wanted: str) -> Any:
    """The known class of a file.

    Args:
        path: The file, for the error.
        name: The short name that the user gave, if any.
        wanted: The name in the file.
    """
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
    return cls
