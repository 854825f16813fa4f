"""Cache of prepared data on disk: keyed by content, written atomically, verified when read.

Each key is a folder of files (`.npy` and JSON, which cannot run code) with a manifest of their
sizes and checksums. A folder is written under a temporary name and then renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

CHECKSUM_LIMIT = 1 << 28
"""Files up to this size are verified by checksum when read; larger ones by their size."""

_MANIFEST = "manifest.json"


def cache_root() -> Path:
    """The folder of prepared data: `SEQLEARN_CACHE` if set, otherwise `~/.cache/seqlearn`."""
    named = os.environ.get("SEQLEARN_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "seqlearn"


def cached(key: str, build: Callable[[Path], None]) -> Path:
    """Return the folder of a key; build it if it is missing or damaged.

    If several processes call this at once, one builds and the others wait.

    Args:
        key: Hash of everything that determines the content.
        build: Function that writes the files to an empty folder.

    Raises:
        OSError: If the folder cannot be written; the message names `SEQLEARN_CACHE`.
    """
    root = cache_root()
    folder = root / key
    if _find_corruption(folder) is None:
        return folder
    _check_writable(root)
    with FileLock(root / f"{key}.lock"):
        damage = _find_corruption(folder)
        if damage is None:
            return folder
        if folder.exists():
            warnings.warn(
                f"the prepared data in {folder} is damaged ({damage}) and is rebuilt",
                stacklevel=2,
            )
            shutil.rmtree(folder)
        partial = root / f"{key}.partial"
        shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
        partial.mkdir()
        try:
            build(partial)
            _write_manifest(partial)
            partial.replace(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return folder


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: If the file cannot be read.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_writable(root: Path) -> None:
    probe = root / f".writable.{os.getpid()}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise type(error)(
            f"cannot write prepared data to {root} ({error.strerror}); "
            "set the environment variable SEQLEARN_CACHE to a folder that can be written"
        ) from error


def _write_manifest(folder: Path) -> None:
    files = {
        path.name: [path.stat().st_size, file_digest(path)] for path in sorted(folder.iterdir())
    }
    (folder / _MANIFEST).write_text(json.dumps(files, indent=1), encoding="utf-8")


def _find_corruption(folder: Path) -> str | None:
    """Describe what is wrong with a folder; `None` if it is intact."""
    try:
        files = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        for name, (size, digest) in files.items():
            found = (folder / name).stat().st_size
            if found != size:
                return f"{name} has {found} bytes instead of {size}"
            if size <= CHECKSUM_LIMIT and file_digest(folder / name) != digest:
                return f"the checksum of {name} is wrong"
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return None
