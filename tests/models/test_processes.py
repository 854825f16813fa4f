"""Two processes train the model that one process trains with twice the accumulation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import torch


def trained(folder: Path, devices: int, accumulate: int) -> dict[str, Any]:
    folder.mkdir()
    script = Path(__file__).with_name("two_processes.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder), str(devices), str(accumulate)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "out.pt")


def test_two_processes_equal_one_with_twice_the_accumulation(tmp_path: Path) -> None:
    one = trained(tmp_path / "one", 1, 2)
    two = trained(tmp_path / "two", 2, 1)
    assert one["steps"] == two["steps"] > 4
    for name, weight in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], weight, atol=1e-9, rtol=1e-7)
    for name in ("val/loss", "val/token_accuracy", "val/exact_match"):
        assert abs(one["figures"][name] - two["figures"][name]) < 1e-6
