"""A benchmark in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from benchmarks.machine import ROOT


def run_module(name: str, *words: str, **variables: str) -> dict[str, Any]:
    """Run a benchmark in a process of its own; its last line of output is JSON."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(  # noqa: S603 -- this package
        [sys.executable, "-m", "benchmarks", name, *words],
        check=True,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": path} | variables,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))
