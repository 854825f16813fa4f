"""The ranks of a script, in interpreters of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from forks import environment, free_port


def run_script(folder: Path, script: str, *arguments: str, count: int = 2) -> list[dict[str, Any]]:
    """What each rank of a script of this folder wrote to `found0.pt`, `found1.pt`, …."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    with ExitStack() as stack:
        started = []
        for rank in range(count):
            errors = stack.enter_context((folder / f"errors{rank}.txt").open("w", encoding="utf-8"))
            process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name(script)), str(folder), *arguments],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=os.environ | environment(rank, count, port),
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            started.append(process)
        for rank, process in enumerate(started):
            status = process.wait(timeout=1800)
            assert status == 0, (folder / f"errors{rank}.txt").read_text(encoding="utf-8")
    return [torch.load(folder / f"found{rank}.pt") for rank in range(count)]
