"""Ranks that are forks of a process that has imported everything, which takes long.

A fork has none of the threads of its parent, but libgomp, with which torch computes, counts on them
and waits forever. So a fork computes on one thread.
"""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch


def compute_on_one_thread() -> None:
    """Let every later fork of this process compute on one thread."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def run_ranks(folder: Path, count: int, function: Callable[[], object]) -> list[int]:
    """Call a function in one fork for each rank, in the environment that torchrun sets.

    Args:
        folder: Where each rank writes what it prints, to `log0`, `log1`, ….
        count: The number of ranks.
        function: What they run. A number that it returns is the exit status, as of `SystemExit`.

    Returns:
        The exit statuses; negative for a signal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    ranks = []
    for rank in range(count):
        if pid := os.fork():
            ranks.append(pid)
            continue
        status = 1
        torch.set_num_threads(1)
        try:
            log = os.open(folder / f"log{rank}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            if count > 1:
                os.environ |= environment(rank, count, port)
            status = int(function() or 0)
        except SystemExit as ended:
            status = int(ended.code or 0)
        except BaseException:  # noqa: BLE001 -- a fork must not return
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in ranks]


def free_port() -> int:
    """A port of this machine that no process uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def environment(rank: int, count: int, port: int) -> dict[str, str]:
    """The variables that torchrun sets."""
    return {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "LOCAL_WORLD_SIZE": str(count),
        "TORCHELASTIC_RUN_ID": "forks",
    }


def printed(folder: Path) -> str:
    """The last lines that the ranks printed."""
    logs = sorted(folder.glob("log*"))
    return "\n".join(path.read_text(encoding="utf-8", errors="replace")[-1500:] for path in logs)
