"""Install a wheel into a folder of its own, and use it from another one.

    python tests/installed_wheel.py FOLDER_WITH_ONE_WHEEL

Dependencies are those of this Python. So a file that the wheel lacks, such as the viewer's scripts,
is found, which an editable installation would hide. The demo is run with it, for seconds.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
USE = """
import importlib, pathlib, sys
import seqlearn
folder = pathlib.Path(sys.argv[1]).resolve()
found = pathlib.Path(seqlearn.__file__).resolve()
assert found.is_relative_to(folder), f"expected seqlearn from {folder}, got {found}"
for name in sys.argv[2:]:
    assert (found.parent / name).is_file(), f"expected {name} in the wheel, found none"
    if name.endswith(".py"):
        parts = [part for part in name.removesuffix(".py").split("/") if part != "__init__"]
        importlib.import_module(".".join(("seqlearn", *parts)))
from seqlearn.cli import main
sys.exit(main(["--version"]))
"""
DEMO = ["-m", "seqlearn", "demo", "--epochs", "1", "--max-minutes", "0.2"]


def package_files() -> list[str]:
    """The files under seqlearn/, as paths from there; those that Python makes left out."""
    package = ROOT / "seqlearn"
    paths = (path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sorted(path.relative_to(package).as_posix() for path in paths)


def main(folder: Path) -> None:
    """Install and use the wheel.

    Raises:
        SystemExit: If there is not one wheel, or it cannot be used.
    """
    wheels = sorted(folder.resolve().glob("*.whl"))
    if len(wheels) != 1:
        raise SystemExit(f"expected one wheel in {folder}, found {len(wheels)}")
    (wheel,) = wheels
    with tempfile.TemporaryDirectory() as target, tempfile.TemporaryDirectory() as elsewhere:
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        install += ["--disable-pip-version-check", "--target", target, str(wheel)]
        subprocess.run(install, check=True)

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, *words],
                cwd=elsewhere,
                env=os.environ | {"PYTHONPATH": target},
                stdout=subprocess.PIPE,
                encoding="utf-8",
                check=False,
            )

        done, demo = run("-c", USE, target, *package_files()), run(*DEMO)
    version = re.match(r"seqlearn-([^-]+)-", wheel.name)
    assert version is not None
    if done.returncode or done.stdout.strip() != f"seqlearn {version[1]}":
        raise SystemExit(f"{wheel.name}: expected it to work and print its version; see above")
    if demo.returncode or "exact match" not in demo.stdout.lower():
        raise SystemExit(f"{wheel.name}: expected `seqlearn demo` to end well, got {demo.stdout}")
    print(f"{wheel.name}: installed by itself, it works; it is {done.stdout.strip()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
