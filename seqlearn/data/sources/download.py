"""Downloads that end whole and checked, or not at all."""

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
    """Fetch a file, unless it is there already, and check its content.

    The bytes go to `<path>.part`, which is renamed into place once its digest is right. What a
    broken connection leaves there is continued by the next attempt, also in a later call, if the
    server allows. A file that is there with the right content costs no request; one with other
    content is replaced. Several processes may ask for one file: one fetches, the others wait
    (`<path>.lock`).

    Args:
        url: Where the file is, over http or https.
        path: Where it goes; missing folders are made.
        sha256: The digest of the file, 64 hexadecimal digits.
        attempts: How often to try before giving up.
        pause: Seconds before the second attempt, doubled before each later one.
        timeout: Seconds without a byte after which a connection counts as broken.

    Returns:
        `path`.

    Raises:
        ValueError: If the content has another digest (nothing is kept), or `url` another scheme.
        FileNotFoundError: If the server has no such file (404, 410).
        PermissionError: If the server refuses.
        ConnectionError: If the server cannot be reached or breaks off at each attempt.
        OSError: If the file cannot be written.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"expected a url that starts with http:// or https://, got {url!r}")
    path = Path(path)
    if _digest(path) == sha256:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if _digest(path) != sha256:  # another process may have been here meanwhile
                _fetch(url, path, sha256, attempts=attempts, pause=pause, timeout=timeout)
    except OSError as error:
        if error.errno is None:  # one of those below, which say it all
            raise
        raise OSError(
            f"{path}: cannot be written ({error.strerror}); "
            "choose a folder that can be, with room for the file"
        ) from error
    return path


def _fetch(
    url: str, path: Path, sha256: str, *, attempts: int, pause: float, timeout: float
) -> None:
    part = path.with_name(path.name + ".part")
    if _digest(part) == sha256:  # all came, but for the renaming
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
                f"{url}: expected a file with SHA-256 {sha256}, got {got}; nothing was kept; "
                "the file has changed at its source or on the way"
            )
        problem = "what an earlier attempt left did not fit what the server has now"
    raise ConnectionError(
        f"{url}: gave up after {attempts} attempts ({problem}); "
        f"check the network and call again, or fetch the file to {path} by hand"
    )


def _receive(url: str, part: Path, timeout: float) -> None:
    """Receive into `part`, after what it holds if the server sends just the rest.

    Raises:
        ConnectionError: If fewer bytes come than announced; those are kept.
    """
    have = part.stat().st_size if part.exists() else 0
    with _open(url, have, part, timeout) as response:
        if response.status != http.client.PARTIAL_CONTENT:
            have = 0  # the server sends the whole file
        announced = response.headers.get("Content-Length")
        received = 0
        with part.open("ab" if have else "wb") as file:
            while chunk := _read(response):
                file.write(chunk)
                received += len(chunk)
    if announced is not None and received != int(announced):
        raise ConnectionError(f"the connection broke after {received} of {announced} bytes")


def _open(url: str, have: int, part: Path, timeout: float) -> http.client.HTTPResponse:
    headers = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  (checked by `download`)
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=timeout)  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
        problem = f"the server answers {error.code} {error.reason}"
        if error.code in (http.client.NOT_FOUND, http.client.GONE):
            raise FileNotFoundError(f"{url}: {problem}; check the address") from error
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)
        elif error.code not in _RETRY_STATUS:
            raise PermissionError(f"{url}: {problem}; fetch the file by hand") from error
        raise ConnectionError(problem) from error
    return response


def _read(response: http.client.HTTPResponse) -> bytes:
    """Read on; what goes wrong here is the connection, and not the file that is written."""
    try:
        return response.read(_CHUNK)
    except OSError as error:
        raise ConnectionError(str(error)) from error


def _digest(path: Path) -> str | None:
    """The SHA-256 of a file, `None` if there is none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
