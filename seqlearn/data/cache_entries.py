"""What the cache contains, and deleting it. Nothing that a process uses is deleted."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from seqlearn.atomic_files import SUFFIX
from seqlearn.data.cache import MANIFEST, cache_root, fcntl, read_manifest

_KEY = re.compile(r"[0-9a-f]{64}")


class CacheEntry(NamedTuple):
    """A part of the cache that is deleted as a whole.

    Attributes:
        path: The file or folder.
        name: The name of the data, such as `"TextPairs"`.
        about: What it is.
        size: Bytes on the disk.
        used: When it was last used, in seconds since 1970.
    """

    path: Path
    name: str
    about: str
    size: int
    used: float

    @property
    def age(self) -> float:
        """Days since the last use."""
        return max(0.0, time.time() - self.used) / 86400


def cache_entries() -> list[CacheEntry]:
    """All entries of the cache, from the one that was not used for the longest time.

    Examples:
        >>> [entry.name for entry in cache_entries() if entry.size > 10**12]
        []
    """
    root = cache_root()
    paths = sorted(root.iterdir()) if root.is_dir() else []
    entries = [_entry(path) for path in paths if path.suffix != ".lock"]
    return sorted((one for one in entries if one is not None), key=lambda one: one.used)


def remove(entry: CacheEntry) -> bool:
    """Delete an entry, unless a process uses or writes it.

    It is renamed first, so that no process finds half of it after a kill.

    Returns:
        Whether it was deleted.
    """
    if entry.path.name.endswith(SUFFIX):
        key = entry.path.name.split(".")[1]
    elif _KEY.fullmatch(entry.path.name):
        key = entry.path.name
    else:
        return _delete(entry.path)
    try:
        with (
            FileLock(entry.path.parent / f"{key}.lock", timeout=0),
            _exclusive(entry.path / MANIFEST) as unused,
        ):
            return unused and _delete(entry.path)
    except Timeout:
        return False


def _delete(path: Path) -> bool:
    gone = path.with_name(f".{path.name.strip('.')}.{os.getpid()}{SUFFIX}")
    try:
        path.rename(gone)
    except FileNotFoundError:  # another process was faster
        return True
    except PermissionError:  # Windows: a file in it is open
        if os.name == "nt":
            return False
        raise
    if gone.is_dir():
        shutil.rmtree(gone)
    else:
        gone.unlink()
    return True


@contextlib.contextmanager
def _exclusive(manifest: Path) -> Iterator[bool]:
    """Whether no process has the folder of a manifest open, nor opens it within this context."""
    if fcntl is None or not manifest.exists():
        yield True
        return
    descriptor = os.open(manifest, os.O_RDWR)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # in use; or a file system without locks, where nobody knows
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _entry(path: Path) -> CacheEntry | None:
    try:
        files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
        states = [one.stat() for one in files]
        used = max([path.stat().st_mtime, *(one.st_mtime for one in states)])
        name, about = _describe(path)
    except FileNotFoundError:  # it is being renamed or deleted
        return None
    return CacheEntry(path, name, about, sum(one.st_size for one in states), used)


def _describe(path: Path) -> tuple[str, str]:
    if path.name.endswith(SUFFIX):
        return "partial", "being written, or left by a process that was killed"
    if path.name == "digests":
        return "digests", "digests of large input files"
    if not _KEY.fullmatch(path.name):
        return path.name, "downloaded files"
    try:
        about: dict[str, Any] = read_manifest(path)["about"]
    except (OSError, ValueError):
        return "unknown", "prepared data of another version, or damaged"
    return str(about.get("name", "unknown")), str(about.get("text", ""))
