"""A comparison that is stopped and killed, and continued each time by the same call."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parent.parent
PATIENCE = 600.0


def start(folder: Path) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    command = [sys.executable, str(TESTS / "killed_comparison.py"), str(folder)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path})


def wait_for_step(folder: Path, step: int) -> None:
    last = time.monotonic() + PATIENCE
    while time.monotonic() < last:
        try:
            if int((folder / "step").read_text(encoding="utf-8")) >= step:
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    raise AssertionError(f"step {step} was not reached")


def result(folder: Path) -> dict[str, Any]:
    path = folder / "here" / "report.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    good, bad = content["models"]
    run = good["runs"][0]
    for key in ("cpu_seconds", "wall_seconds", "seconds"):
        del run["training"][key]
    for points in (run["training"]["losses"], run["training"]["validations"]):
        for point in points:
            point[1] = 0.0
    assert bad["runs"][0]["failed"] == "RuntimeError: the thing is broken"
    return dict(run)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="there are no such signals on Windows")
def test_a_stopped_and_killed_comparison_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert start(whole).wait(PATIENCE) == 0
    run = broken / "here" / "runs" / "GRU-seed0"

    first = start(broken)
    wait_for_step(broken, 4)
    first.send_signal(signal.SIGINT)
    assert first.wait(PATIENCE) != 0
    saved = run / "checkpoints" / "interrupt.ckpt"
    assert saved.exists()
    assert not (broken / "here" / "report.json").exists()
    reached = int((broken / "step").read_text(encoding="utf-8"))

    second = start(broken)
    wait_for_step(broken, reached + 4)
    before = saved.stat().st_mtime_ns
    second.kill()
    second.wait(PATIENCE)

    assert start(broken).wait(PATIENCE) == 0
    assert saved.stat().st_mtime_ns > before  # by the process whose parent was killed
    assert result(broken) == result(whole)
