"""The runtime of a live page: two files of onnxruntime-web, which lie in its folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from seqlearn.data.cache import cache_root
from seqlearn.data.sources.download import download

VERSION = "1.30.0"
URL = f"https://cdn.jsdelivr.net/npm/onnxruntime-web@{VERSION}/dist"
FILES = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
}
"""The files, of the package's folder `dist`, with their SHA-256."""


def runtime_files(
    folder: str | os.PathLike[str] | None = None, *, url: str = URL
) -> dict[str, Path]:
    """The files of the runtime by name, which are verified.

    Args:
        folder: The folder that holds them; without it they are downloaded once (14 MB) and kept in
            `SEQLEARN_CACHE`.
        url: The address of the folder to download them from.

    Raises:
        FileNotFoundError: If the folder has no such file.
        ValueError: If a file is of another version.
        ConnectionError: If they cannot be downloaded; the message says how to pass them.
    """
    if folder is not None:
        return {name: _verified(Path(folder) / name, digest) for name, digest in FILES.items()}
    kept = cache_root() / f"onnxruntime-web-{VERSION}"
    try:
        return {
            name: download(f"{url}/{name}", kept / name, digest) for name, digest in FILES.items()
        }
    except OSError as error:
        raise ConnectionError(
            f"{error}\nA live page needs {' and '.join(FILES)} of the npm package "
            f"onnxruntime-web {VERSION}; `npm pack onnxruntime-web@{VERSION}` fetches it, and "
            "runtime=FOLDER takes the files from its folder dist"
        ) from error


def _verified(path: Path, digest: str) -> Path:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected this file of the npm package onnxruntime-web {VERSION} (folder "
            "dist), and there is none"
        )
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != digest:
        raise ValueError(
            f"{path}: expected the file of onnxruntime-web {VERSION} with SHA-256 {digest}, got "
            f"{found}"
        )
    return path
