"""Tensors and plain values in one safetensors file, which runs no code when it is read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

_SUMS = "sha256"  # of the plain values together, and of each tensor by name


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    kind: str,
    parts: Mapping[str, Any],
) -> None:
    """Write tensors, and plain values as JSON in the header.

    Args:
        path: Where to; what is there is replaced.
        tensors: By name.
        kind: What the file is, and its version.
        parts: Plain values by name.

    Raises:
        OSError: If the file cannot be written; nothing half-written is left.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    texts = {name: json.dumps(value) for name, value in parts.items()}
    sums = {name: _sum_of_tensor(tensor) for name, tensor in whole.items()}
    header = {"format": kind} | texts | {_SUMS: json.dumps([_sum_of_texts(texts), sums])}
    part.touch()
    try:
        save_file(whole, part, metadata=header)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _sum_of_texts(texts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()


def _sum_of_tensor(tensor: Tensor) -> str:
    """Of its numbers, its type and its shape."""
    found = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)}".encode())
    found.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


@contextmanager
def reading_tensors(
    path: str | os.PathLike[str], kind: str, what: str
) -> Iterator[tuple[Callable[[str], Tensor], dict[str, Any]]]:
    """Open what `write_tensors` wrote.

    Args:
        path: The file.
        kind: What the file must be, and in which version.
        what: That in words, for the error.

    Yields:
        What reads a tensor by its name, and the plain values.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or is another one, also if the block finds so.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != kind:
                raise ValueError(f"its format is {metadata.get('format')!r}, not {kind!r}")
            texts = {name: text for name, text in metadata.items() if name not in ("format", _SUMS)}
            of_texts, sums = json.loads(metadata[_SUMS])
            if _sum_of_texts(texts) != of_texts or sorted(file.keys()) != sorted(sums):
                raise ValueError("the checksum of its header does not fit")

            def read(name: str) -> Tensor:
                tensor: Tensor = file.get_tensor(name)
                if _sum_of_tensor(tensor) != sums[name]:
                    raise ValueError(f"the checksum of {name} does not fit its content")
                return tensor

            yield read, {name: json.loads(text) for name, text in texts.items()}
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected {what}, got a damaged or other file ({error}); record and save it "
            "again"
        ) from error
