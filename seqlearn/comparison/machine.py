"""What measured times depend on: processor, cores, system and versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from seqlearn.version import __version__


def describe_machine() -> dict[str, Any]:
    """The machine and the software as plain data.

    Examples:
        >>> sorted(describe_machine())[:3]
        ['accelerator', 'capability', 'cores']
    """
    versions = {name: importlib.metadata.version(name) for name in ("torch", "lightning")}
    return {
        "processor": processor(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {"seqlearn": __version__} | versions,
        "date": datetime.now(UTC).date().isoformat(),
    }


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
