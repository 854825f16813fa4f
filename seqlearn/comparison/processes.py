"""Tasks in processes of their own, a few at a time; a failure ends one task only."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from seqlearn.comparison.progress import Progress
from seqlearn.comparison.worker import work

SAVE_SECONDS = 60.0
"""How long interrupted tasks may take to save a checkpoint before they are killed."""


@dataclass(frozen=True)
class Task:
    """Work for one process.

    Attributes:
        name: Its name in the display.
        payload: What `worker.work` unpickles.
        folder: The folder for its output, `log.txt`.
        said: Says what it has reached, once it is done.
    """

    name: str
    payload: bytes
    folder: Path
    said: Callable[[], str]

    @property
    def log(self) -> Path:
        """The output of the process."""
        return self.folder / "log.txt"


class _Running:
    """A process with the pipe from it."""

    def __init__(self, task: Task) -> None:
        context = multiprocessing.get_context("spawn")  # CUDA does not support fork
        self.task = task
        self.pipe, theirs = context.Pipe(duplex=False)
        self.failed = ""
        self.open = True
        self.process: SpawnProcess = context.Process(
            target=work, args=(task.payload, theirs, task.log), name=task.name
        )
        self.process.start()
        theirs.close()

    def receive(self) -> list[dict[str, Any]]:
        """What has come through the pipe."""
        found = []
        with contextlib.suppress(EOFError, OSError):
            while self.open and self.pipe.poll():
                message = self.pipe.recv()
                self.failed = message.get("failed", self.failed)
                found.append(message)
            return found
        self.open = False
        return found

    def reason(self) -> str:
        """Why the process failed; empty if it did not."""
        code = self.process.exitcode
        if code == 0:
            return ""
        if self.failed:
            return self.failed
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            advice = "; if memory was short, use fewer jobs" if name == "SIGKILL" else ""
            return f"the process was ended by {name}{advice}"
        if not self.task.log.exists():
            return (
                f"the process ended with status {code} before it began; a script must call compare "
                "inside `if __name__ == '__main__':`, because each run imports the script"
            )
        return f"the process ended with status {code}; its output is in {self.task.log}"


def run_tasks(tasks: Sequence[Task], jobs: int, progress: Progress) -> dict[str, str]:
    """Run tasks in processes of their own.

    Args:
        tasks: The tasks.
        jobs: The number of processes at a time.
        progress: The display.

    Returns:
        By name, why a task failed; without the tasks that did not.

    Raises:
        BaseException: What interrupts the wait, such as `KeyboardInterrupt`, after the running
            tasks have saved a checkpoint and ended.
    """
    waiting, running = list(tasks), list[_Running]()
    failures: dict[str, str] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                task = waiting.pop(0)
                running.append(_Running(task))
                progress.start(task.name)
            pipes: list[Connection | int] = [each.pipe for each in running if each.open]
            wait([*pipes, *(each.process.sentinel for each in running)], timeout=1.0)
            for each in list(running):
                ended = not each.process.is_alive()
                for message in each.receive():
                    progress.update(each.task.name, message)
                if ended:
                    running.remove(each)
                    each.process.join()
                    reason = each.reason()
                    if reason:
                        failures[each.task.name] = reason
                    said = f"failed: {reason}" if reason else each.task.said()
                    progress.end(each.task.name, said)
    except BaseException:
        _stop(running)
        raise
    return failures


def _stop(running: Sequence[_Running]) -> None:
    """Let the processes save their checkpoints and end."""
    for each in running:
        each.process.terminate()
    last = time.monotonic() + SAVE_SECONDS
    try:
        for each in running:
            each.process.join(max(0.0, last - time.monotonic()))
    finally:  # also at a second Ctrl-C
        for each in running:
            if each.process.is_alive():
                each.process.kill()
                each.process.join()
