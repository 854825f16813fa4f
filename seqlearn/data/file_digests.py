"""Digests of input files. Those of large files are remembered, so that they are read only once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from seqlearn.atomic_files import atomic_path
from seqlearn.data.cache import CACHE_OPTION, cache_root, file_digest

REMEMBERED_SIZE = 1 << 24
"""Digests of files with at least so many bytes are remembered."""

_SETTLED = 2 * 10**9
"""Nanoseconds after which a further change of a file surely changes its time stamps."""


def remembered_digest(path: Path) -> str:
    """SHA-256 of a file; read from the cache if the file is large and has not changed since.

    A file counts as unchanged if its size, its number, and the times of its last change and of the
    last change of its attributes are the same.

    Raises:
        OSError: If the file cannot be read.
    """
    state = _state(path)
    if state[0] < REMEMBERED_SIZE:
        return file_digest(path)
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    record = cache_root() / "digests" / f"{name}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(record.read_text(encoding="utf-8"))
        if known["state"] == state:
            return str(known["sha256"])
    digest = file_digest(path)
    if _state(path) == state and time.time_ns() - max(state[2:]) > _SETTLED:
        content: dict[str, Any] = {"path": str(path.resolve()), "state": state, "sha256": digest}
        with (
            contextlib.suppress(OSError),  # a cache that is only read
            atomic_path(record, "a digest", CACHE_OPTION) as part,
        ):
            part.write_text(json.dumps(content), encoding="utf-8")
    return digest


def _state(path: Path) -> list[int]:
    """Size, number, and the times of change of a file."""
    status = path.stat()
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
