"""Cache of prepared data on disk: keyed by content, written atomically, verified when read.

Each key is a folder of files (`.npy` and JSON, which cannot run code) with a manifest of their
sizes and checksums. A folder is written under a temporary name and then renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import warnings
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from filelock import FileLock

from seqlearn.atomic_files import SUFFIX, atomic_path

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be deleted
    fcntl = None

CHECKSUM_LIMIT = 1 << 24
"""Files up to this size are verified by checksum when read; larger ones by their size."""

CACHE_OPTION = "the environment variable SEQLEARN_CACHE"
"""How to choose another folder, for error messages."""

MANIFEST = "manifest.json"


def cache_root() -> Path:
    """The folder of prepared data: `SEQLEARN_CACHE` if set, otherwise `~/.cache/seqlearn`."""
    named = os.environ.get("SEQLEARN_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "seqlearn"


class CachedFolder:
    """A folder of the cache that is not deleted while this object exists.

    Args:
        path: The folder.

    Attributes:
        path: The folder.

    Raises:
        OSError: If there is no such folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        manifest = path / MANIFEST
        descriptor = os.open(manifest, os.O_RDONLY)
        self._release = weakref.finalize(self, os.close, descriptor)
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_SH)
        if not os.path.samestat(os.fstat(descriptor), manifest.stat()):
            raise FileNotFoundError(f"{path} was replaced")
        with contextlib.suppress(OSError):  # a cache that is only read
            os.utime(manifest)  # the time of the last use

    def __reduce__(self) -> tuple[Any, ...]:
        return CachedFolder, (self.path,)


def cached(
    key: str, build: Callable[[Path], None], about: Mapping[str, Any] | None = None
) -> CachedFolder:
    """Return the folder of a key; build it if it is missing or damaged.

    If several processes call this at once, one builds and the others wait.

    Args:
        key: Hash of everything that determines the content.
        build: Function that writes the files to an empty folder.
        about: Plain data that describes the content for people.

    Raises:
        OSError: If the folder cannot be written; the message names `SEQLEARN_CACHE`.
    """
    root = cache_root()
    folder = root / key
    if (found := _open_intact(folder)) is not None:
        return found
    _check_writable(root)
    with FileLock(root / f"{key}.lock"):
        if (found := _open_intact(folder)) is not None:
            return found
        if folder.exists():
            warnings.warn(
                f"the prepared data in {folder} is damaged ({_find_corruption(folder)}) and is "
                "rebuilt",
                stacklevel=2,
            )
        for left in root.glob(f".{key}.*{SUFFIX}"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        with atomic_path(folder, "the prepared data", CACHE_OPTION) as part:
            part.mkdir()
            build(part)
            _write_manifest(part, about or {})
        return CachedFolder(folder)


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: If the file cannot be read.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a folder contains: `files`, with size and checksum of each, and `about`.

    Raises:
        OSError: If there is no manifest.
        ValueError: If it is damaged.
    """
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if not isinstance(manifest, dict) or not {"files", "about"} <= set(manifest):
        raise ValueError(f"{folder / MANIFEST} is damaged")
    return manifest


def _open_intact(folder: Path) -> CachedFolder | None:
    try:
        found = CachedFolder(folder)
    except OSError:
        return None
    return found if _find_corruption(folder) is None else None


def _check_writable(root: Path) -> None:
    probe = root / f".writable.{os.getpid()}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise type(error)(
            f"cannot write prepared data to {root} ({error.strerror}); "
            f"set {CACHE_OPTION} to a folder that can be written"
        ) from error


def _write_manifest(folder: Path, about: Mapping[str, Any]) -> None:
    files = {
        path.name: [path.stat().st_size, file_digest(path)] for path in sorted(folder.iterdir())
    }
    content = json.dumps({"about": dict(about), "files": files}, indent=1)
    (folder / MANIFEST).write_text(content, encoding="utf-8")


def _find_corruption(folder: Path) -> str | None:
    """Describe what is wrong with a folder; `None` if it is intact."""
    try:
        for name, (size, digest) in read_manifest(folder)["files"].items():
            found = (folder / name).stat().st_size
            if found != size:
                return f"{name} has {found} bytes instead of {size}"
            if size <= CHECKSUM_LIMIT and file_digest(folder / name) != digest:
                return f"the checksum of {name} is wrong"
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return None
