"""Tensors and plain values in one safetensors file; reading it runs no code."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from seqlearn.atomic_files import atomic_path

_SUMS = "sha256"  # of the plain values together, and of each tensor by name


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    kind: str,
    parts: Mapping[str, Any],
) -> None:
    """Write tensors, and plain values as JSON in the header.

    Args:
        path: The file to write or replace.
        tensors: Tensors by name.
        kind: The format of the file and its version.
        parts: Plain values by name.

    Raises:
        OSError: If the file cannot be written; an existing file is unchanged.
    """
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    texts = {name: json.dumps(value) for name, value in parts.items()}
    sums = {name: _sum_of_tensor(tensor) for name, tensor in whole.items()}
    header = {"format": kind} | texts | {_SUMS: json.dumps([_sum_of_texts(texts), sums])}
    size = sum(tensor.nbytes for tensor in whole.values()) + sum(map(len, texts.values()))
    with atomic_path(path, "the recording", "the argument `path`", size) as part:
        part.touch()  # raises the error of the system; safetensors has one of its own
        save_file(whole, part, metadata=header)


def _sum_of_texts(texts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()


def _sum_of_tensor(tensor: Tensor) -> str:
    """The checksum of a tensor's values, dtype and shape."""
    found = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)}".encode())
    found.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


@contextmanager
def reading_tensors(
    path: str | os.PathLike[str], kind: str, label: str
) -> Iterator[tuple[Callable[[str], Tensor], dict[str, Any]]]:
    """Open a file that `write_tensors` wrote.

    Args:
        path: The file.
        kind: The expected format and version.
        label: What the file must be, for the error.

    Yields:
        A function that reads a tensor by name, and the plain values.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or has another format, also if the block finds so.
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
            f"{path}: expected {label}, got a damaged or other file ({error}); record and save it "
            "again"
        ) from error
