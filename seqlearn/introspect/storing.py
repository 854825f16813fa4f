"""Tensors and plain values in one safetensors file, which runs no code when it is read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


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
    part.touch()
    try:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            part,
            metadata={"format": kind} | {name: json.dumps(value) for name, value in parts.items()},
        )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


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
            plain = {name: json.loads(text) for name, text in metadata.items() if name != "format"}
            yield file.get_tensor, plain
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected {what}, got a damaged or other file ({error}); record and save it "
            "again"
        ) from error
