"""Checkpoints that hold all a model needs, as plain data, and load without running code."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
import torch

KEY = "seqlearn"
"""Where a checkpoint keeps the class's name and the spec."""

_ADDED_BY_COMMAND_LINE = ("_class_path", "_instantiator")


def class_name(cls: type) -> str:
    """The name under which a checkpoint knows a class: module and qualified name."""
    return f"{cls.__module__}.{cls.__qualname__}"


def read(path: str | Path, map_location: Any = None) -> dict[str, Any]:
    """Read a checkpoint without running code from it.

    Args:
        path: A file, or an address that fsspec can open.
        map_location: Where the tensors go, as in `torch.load`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, would have to run code, or is no checkpoint of seqlearn.
    """
    try:
        with fsspec.open(str(path), "rb") as file:
            _check_sums(file)
            checkpoint = torch.load(file, map_location=map_location, weights_only=True)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such checkpoint") from None
    except Exception as error:
        raise _unsafe(path, error) from error
    if not isinstance(checkpoint, dict) or KEY not in checkpoint:
        raise ValueError(
            f"{path}: expected a checkpoint of a seqlearn module, got one without the key {KEY!r}; "
            "load it with the class that wrote it"
        )
    return checkpoint


def _unsafe(path: str | Path, error: Exception) -> ValueError:
    words = str(error).strip() or repr(error)
    return ValueError(
        f"{path}: expected a checkpoint that loads safely; it is damaged, or holds more than plain "
        f"data ({words.splitlines()[0]})"
    )


def refuse_damaged(path: str | Path) -> None:
    """Hold a checkpoint that Lightning has read to its checksums. A folder of shards has none.

    Args:
        path: A file or folder, or an address that fsspec can open.

    Raises:
        ValueError: If the file is damaged.
    """
    if Path(path).is_dir():
        return
    try:
        with fsspec.open(str(path), "rb") as file:
            _check_sums(file)
    except Exception as error:
        raise _unsafe(path, error) from error


def _check_sums(file: Any) -> None:
    """Hold each part of the file to its CRC-32, which torch writes and does not look at.

    Raises:
        ValueError: If one does not fit: a number has changed, and the model would be another.
    """
    with zipfile.ZipFile(file) as parts:
        if (name := parts.testzip()) is not None:
            raise ValueError(f"the checksum of {name} does not fit its content")
    file.seek(0)


def refuse_other_class(where: str | Path, what: str, written: str, cls: type, load: str) -> None:
    """Refuse what another class has written.

    Args:
        where: The file, for the error.
        what: What it should hold, for the error.
        written: The class that the file names.
        cls: The class that is to be loaded.
        load: The name of the method, for the error.

    Raises:
        ValueError: If it is another class.
    """
    if written != (wanted := class_name(cls)):
        raise ValueError(
            f"{where}: expected a {what} of {wanted}, got one of {written}; load it with "
            f"{written.rsplit('.', 1)[-1]}.{load}"
        )


def hyperparameters(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments, without the keys that a command line adds."""
    return {
        key: value
        for key, value in checkpoint.get("hyper_parameters", {}).items()
        if key not in _ADDED_BY_COMMAND_LINE
    }
