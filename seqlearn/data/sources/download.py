"""Downloads that are resumed, verified by SHA-256 and written atomically."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

from filelock import FileLock

from seqlearn.atomic_files import disk_full, is_disk_full

_log = logging.getLogger(__name__)

_CHUNK = 1 << 16
_RETRY_STATUS = {408, 429, 500, 502, 503, 504}
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


def download(
    url: str,
    path: str | os.PathLike[str],
    sha256: str,
    *,
    attempts: int = 4,
    pause: float = 1.0,
    timeout: float = 30.0,
) -> Path:
    """Download a file, unless it exists, and verify its content.

    The bytes are written to `<path>.part`, which is renamed once its digest is correct. After a
    broken connection the next attempt, also in a later call, resumes the partial file if the server
    supports it. An existing file with the right content needs no request; one with other content is
    replaced. If several processes download the same file, one does and the others wait
    (`<path>.lock`).

    Args:
        url: URL of the file, http or https.
        path: Destination; missing folders are created.
        sha256: Digest of the file, 64 hexadecimal digits.
        attempts: Number of attempts.
        pause: Seconds before the second attempt, doubled before each later one.
        timeout: Seconds without data after which a connection counts as broken.

    Returns:
        `path`.

    Raises:
        ValueError: If the content has another digest (the download is deleted), or `url` has
            another scheme.
        FileNotFoundError: If the server does not have the file (404, 410).
        PermissionError: If the server refuses the request.
        ConnectionError: If every attempt fails or is interrupted.
        OSError: If the file cannot be written.

    Examples:
        ```python
        download("https://example.org/train.txt", "data/train.txt", sha256="9f86d081…")
        ```
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"expected a url that starts with http:// or https://, got {url!r}")
    path = Path(path)
    if _digest(path) == sha256:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if _digest(path) != sha256:  # another process may have downloaded it meanwhile
                _fetch(url, path, sha256, attempts=attempts, pause=pause, timeout=timeout)
    except OSError as error:
        if error.errno is None or is_disk_full(error):  # an error with a complete message
            raise
        raise OSError(
            f"{path}: cannot be written ({error.strerror}); "
            "choose a writable folder with enough space"
        ) from error
    return path


def _fetch(
    url: str, path: Path, sha256: str, *, attempts: int, pause: float, timeout: float
) -> None:
    part = path.with_name(path.name + ".part")
    if _digest(part) == sha256:  # complete, but not renamed
        part.replace(path)
        return
    problem = ""
    _log.info("downloading %s to %s", url, path)
    for attempt in range(attempts):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        continued = part.exists()
        try:
            _receive(url, part, timeout)
        except _BROKEN as error:
            problem = str(getattr(error, "reason", error)) or type(error).__name__
            continue
        got = _digest(part)
        if got == sha256:
            part.replace(path)
            return
        part.unlink()
        if not continued:
            raise ValueError(
                f"{url}: expected a file with SHA-256 {sha256}, got {got}; the download was "
                "deleted; the file has changed on the server or during transfer"
            )
        problem = "the partial file of an earlier attempt did not fit the server's file"
    raise ConnectionError(
        f"{url}: gave up after {attempts} attempts ({problem}); "
        f"check the network and call again, or download the file to {path} manually"
    )


def _receive(url: str, part: Path, timeout: float) -> None:
    """Receive a file into `part`; append if the server sends only the rest.

    Raises:
        ConnectionError: If fewer bytes arrive than announced; they stay in `part`.
    """
    have = part.stat().st_size if part.exists() else 0
    with _open(url, have, part, timeout) as response:
        if response.status != http.client.PARTIAL_CONTENT:
            have = 0  # the server sends the whole file
        announced = response.headers.get("Content-Length")
        received = 0
        try:
            with part.open("ab" if have else "wb") as file:
                while chunk := _read(response):
                    file.write(chunk)
                    received += len(chunk)
                os.fsync(file.fileno())
        except OSError as error:
            if not is_disk_full(error):
                raise
            size = None if announced is None else have + int(announced)
            option = "the argument `path` (for Multi30k: the environment variable SEQLEARN_CACHE)"
            raise disk_full(part.parent, f"the download of {url}", option, size) from error
    if announced is not None and received != int(announced):
        raise ConnectionError(f"the connection broke after {received} of {announced} bytes")


def _open(url: str, have: int, part: Path, timeout: float) -> http.client.HTTPResponse:
    headers = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  (checked by `download`)
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=timeout)  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
        problem = f"the server returned {error.code} {error.reason}"
        if error.code in (http.client.NOT_FOUND, http.client.GONE):
            raise FileNotFoundError(f"{url}: {problem}; check the URL") from error
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)
        elif error.code not in _RETRY_STATUS:
            raise PermissionError(f"{url}: {problem}; download the file manually") from error
        raise ConnectionError(problem) from error
    return response


def _read(response: http.client.HTTPResponse) -> bytes:
    """Read a chunk; an error here is one of the connection, not of the file that is written."""
    try:
        return response.read(_CHUNK)
    except OSError as error:
        raise ConnectionError(str(error)) from error


def _digest(path: Path) -> str | None:
    """The SHA-256 of a file; `None` if it does not exist."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
