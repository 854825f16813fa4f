"""What a measurement depends on: processor, capability, threads, load, versions and commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "lightning", "numpy")


def describe(packages: Iterable[str] = ()) -> dict[str, Any]:
    """The machine, the software and the load, as plain data.

    Args:
        packages: Distributions whose versions are added to those of `PACKAGES`.
    """
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": versions((*PACKAGES, *packages)),
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "load": load(),
    }


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((x.partition(": ")[2] for x in lines if x.startswith("model name")), "")


def load() -> float | None:
    """The load average of the last minute; `None` where the system has none."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """The installed version of each distribution, `None` for one that is not installed."""
    found: dict[str, str | None] = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def commit() -> str | None:
    """The commit of the working tree, with `+` if files differ from it; `None` without git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=7", "--exclude=*"]
    done = subprocess.run(  # noqa: S603 -- fixed arguments
        [*command, "--dirty=+"], capture_output=True, encoding="utf-8", check=False
    )
    return done.stdout.strip() or None


def held_memory(*, peak: bool) -> int:
    """Bytes of memory that this process holds, or the most since `reset_peak` (Linux only)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.split("VmHWM:" if peak else "VmRSS:")[1].split()[0])


def reset_peak() -> None:
    """Make `held_memory(peak=True)` start anew (Linux only)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
