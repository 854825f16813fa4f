"""Files that are complete or absent: written beside their place, synced and renamed into it."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import socket
import stat
import tempfile
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

SUFFIX = ".partial"
"""Ends the name of a file that is being written."""


@contextlib.contextmanager
def atomic_path(
    path: str | os.PathLike[str],
    content: str,
    option: str,
    size: int | None = None,
    *,
    through_link: bool = True,
) -> Iterator[Path]:
    """A path beside `path` to write to; renamed to `path` when the block ends without an error.

    After an error, or a kill at any time, `path` is as it was before. The file (or each file of a
    folder) is synced to the disk before it is renamed. What a killed process has left is removed
    when `path` is written again. A folder that is replaced is absent for a moment, never partial.
    Files have the mode that the system gives to new files (its `umask`), whichever library wrote.

    Args:
        path: The file, or the folder, to write. What exists is replaced.
        content: Names the content in error messages, such as `"the checkpoint"`.
        option: How to choose another place, for the message of a full disk.
        size: Bytes that will be written, if known.
        through_link: If `path` is a link, replace the file to which it leads, not the link.

    Raises:
        OSError: If it cannot be written; the message names the folder, and for a full disk what is
            needed, what is free, and the option.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_path(Path(folder, "a.txt"), "the text", "a `path` elsewhere") as part:
        ...         _ = part.write_text("whole", encoding="utf-8")
        ...     [found.name for found in Path(folder).iterdir()]
        ['a.txt']
    """
    target = Path(path)
    if through_link and target.is_symlink():
        target = target.resolve()
    # Of this thread: ranks and threads may write the same file at the same time.
    writer = f"{_host()}-{os.getpid()}-{threading.get_native_id()}"
    part = target.with_name(f".{target.name[:100]}.{writer}{SUFFIX}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        yield part
        for file in [part] if part.is_file() else list(part.rglob("*")):
            if file.is_file():
                _let_others_read(file)
                _sync(file)
        if target.is_dir() or (target.exists() and part.is_dir()):
            old = part.with_name(f"{part.name.removesuffix(SUFFIX)}.old{SUFFIX}")
            target.replace(old)
            part.replace(target)
            _remove(old)
        else:
            part.replace(target)
        _sync(target.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            _remove(part)
        if is_disk_full(error) and not isinstance(error, DiskFullError):
            raise disk_full(target.parent, content, option, size) from error
        if isinstance(error, OSError) and error.filename == str(part):
            error.filename = str(target)
        raise


def _host() -> str:
    """A short name of this machine."""
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _let_others_read(file: Path) -> None:
    """Give a file that only its owner can read the mode of any new file (safetensors' are such)."""
    if stat.S_IMODE(file.stat().st_mode) != 0o600:
        return
    beside = file.with_name(f"{file.name}.mode{SUFFIX}")
    beside.touch()
    try:
        file.chmod(stat.S_IMODE(beside.stat().st_mode))
    finally:
        beside.unlink()


def _remove_leftovers(target: Path) -> None:
    """Remove what processes of this machine that have ended left of the same target."""
    if os.name != "posix":  # elsewhere a process cannot be asked for without an effect on it
        return
    start = f".{target.name[:100]}.{_host()}-"
    for path in target.parent.glob(f"{glob.escape(start)}*{SUFFIX}"):
        try:
            os.kill(int(path.name.removeprefix(start).split("-")[0]), 0)
        except ProcessLookupError:
            with contextlib.suppress(OSError):
                _remove(path)
        except (OSError, ValueError):
            continue


def _remove(path: Path) -> None:
    folder = path.is_dir() and not path.is_symlink()
    shutil.rmtree(path) if folder else path.unlink(missing_ok=True)


def require_writable(directory: Path, option: str) -> None:
    """Create a folder, and check that files can be written to it, before work begins.

    Args:
        directory: The folder.
        option: How to choose another folder, for the error.

    Raises:
        OSError: If the folder cannot be created or written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise OSError(
            f"the results cannot be written to {directory} ({error.strerror}); "
            f"choose another folder with {option}"
        ) from error


_PHRASES = (
    "PytorchStreamWriter failed",  # torch
    "No space left on device",
    "File too large",  # safetensors has the texts of the system in an error of its own
    "Disk quota exceeded",
)


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, is that of a full disk.

    torch and numpy report a short write with errors of their own.
    """
    while error is not None:
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        text = str(error)
        if "requested and" in text and "written" in text:
            return True
        if any(phrase in text for phrase in _PHRASES):
            return True
        error = error.__cause__ or error.__context__
    return False


class DiskFullError(OSError):
    """A full disk; the message names the folder, what is needed and an option."""


def disk_full(folder: Path, content: str, option: str, size: int | None) -> DiskFullError:
    """The error of a full disk: which folder, what is needed, what to do."""
    figures = [] if size is None else [f"{_bytes(size)} needed"]
    with contextlib.suppress(OSError):
        figures.append(f"{_bytes(shutil.disk_usage(folder).free)} free")
    shown = f" ({', '.join(figures)})" if figures else ""
    return DiskFullError(
        errno.ENOSPC,
        f"the disk is full: could not write {content}{shown}; free space, or choose another "
        f"folder with {option}",
        str(folder),
    )


def _bytes(size: int) -> str:
    """A number of bytes for people."""
    number, units = float(size), ["bytes", "kB", "MB", "GB", "TB"]
    while number >= 1000 and len(units) > 1:
        number, units = number / 1000, units[1:]
    return f"{number:.3g} {units[0]}"


def _sync(path: Path) -> None:
    """Write a file, or the names in a folder, through to the disk, where the system can."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # a folder on Windows
        return
    try:
        os.fsync(descriptor)
    except OSError as error:  # a file system without it
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES):
            raise
    finally:
        os.close(descriptor)
