"""mypy, with the strict configuration of the project, checks a user's code line by line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_mypy_agrees_with_every_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "tests/typing/user_types.py"],
        cwd=ROOT,  # where the configuration and the cache are
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
