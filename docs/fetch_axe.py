"""Fetch axe-core, with which `docs/check_site.py` checks whether pages are accessible.

It comes from npm, which must be installed, and is verified by its SHA-256. It is not a part of the
site.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

VERSION = "4.14.1"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
PLACE = Path(__file__).resolve().parent.parent / ".cache" / f"axe-core-{VERSION}.min.js"


def axe() -> str:
    """The script, from `.cache/` where it was fetched before.

    Raises:
        SystemExit: If npm is missing, the download fails or the checksum differs.
    """
    if not PLACE.is_file():
        _fetch()
    script = PLACE.read_bytes()
    found = hashlib.sha256(script).hexdigest()
    if found != SHA256:
        raise SystemExit(f"docs: expected {PLACE} with SHA-256 {SHA256}, got {found}; remove it")
    return script.decode()


def _fetch() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("docs: expected npm, which fetches axe-core; install Node.js")
    with tempfile.TemporaryDirectory() as temporary:
        words = [npm, "pack", "--silent", f"axe-core@{VERSION}"]
        if subprocess.run(words, cwd=temporary, check=False).returncode:  # noqa: S603
            raise SystemExit(f"docs: npm could not download axe-core {VERSION}; see above")
        with tarfile.open(next(Path(temporary).glob("*.tgz"))) as archive:
            archive.extract("package/axe.min.js", temporary, filter="data")
        PLACE.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(Path(temporary) / "package" / "axe.min.js", PLACE)
