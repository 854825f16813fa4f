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
CPU = torch.device("cpu")
PACKAGES = ("torch", "lightning", "numpy")


def describe(packages: Iterable[str] = (), device: torch.device = CPU) -> dict[str, Any]:
    """The machine, the software and the load, as plain data.

    Args:
        packages: Distributions whose versions are added to those of `PACKAGES`.
        device: Where the work is done; the name of a GPU is added.
    """
    gpu = {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
    return gpu | {
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
    try:
        done = subprocess.run(  # noqa: S603 -- fixed arguments
            [*command, "--dirty=+"], capture_output=True, encoding="utf-8", check=False
        )
    except OSError:
        return None
    return done.stdout.strip() or None


def held_memory(device: torch.device, *, peak: bool) -> int:
    """Bytes that this process holds, or the most since `reset_peak` (of the CPU: Linux only)."""
    if device.type == "cuda":
        count = torch.cuda.max_memory_allocated if peak else torch.cuda.memory_allocated
        return count(device)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.split("VmHWM:" if peak else "VmRSS:")[1].split()[0])


def reset_peak(device: torch.device) -> None:
    """Make `held_memory(device, peak=True)` start anew (of the CPU: Linux only)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
