"""The same command starts a run, and continues it after an interruption."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="forks and signals of POSIX systems")
def test_the_same_command_continues_an_interrupted_run(tmp_path: Path) -> None:
    tests = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, str(tests / "cli" / "interrupted_fit.py"), str(tmp_path)],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": f"{tests}:{os.environ.get('PYTHONPATH', '')}"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    whole, first, second, third = (found[name] for name in ("whole", "first", "second", "third"))
    statuses = [each["statuses"] for each in (whole, first, second, third)]
    assert statuses == [[0, 0], [143, 143], [0, 0], [0, 0]], found
    assert first["checkpoint"] == "interrupt.ckpt"
    assert first["step"] == 2  # the end of the group within which the signal came
    assert "Interrupt: SIGTERM received; stopped after step 2" in first["printed"]
    assert "Continue it: seqlearn fit --config" in first["printed"]
    assert "Continuing from" in second["printed"]
    assert "interrupt.ckpt" in second["printed"]
    # That checkpoint is older than those of the complete run, so nothing starts from it again.
    assert second["checkpoint"] == third["checkpoint"] == whole["checkpoint"] != "interrupt.ckpt"
    assert second["step"] == third["step"] == whole["step"] > first["step"]
    assert second["weights"] == third["weights"] == whole["weights"]
