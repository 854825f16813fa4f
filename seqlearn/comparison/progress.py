"""The progress of several runs: bars on a terminal, lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm


class Progress:
    """Shows which tasks run, how far they are, and how they ended, on standard error.

    On a terminal each running task has a bar under that of all tasks. Elsewhere a line is written
    when a task starts and when it ends.

    Args:
        total: The number of tasks.
        done: The number of tasks that an earlier start has completed.
        jobs: The number of tasks at a time.
    """

    def __init__(self, total: int, done: int, jobs: int) -> None:
        self._stream = sys.stderr
        self._on_terminal = self._stream.isatty()
        self._total, self._done = total, done
        self._started: dict[str, float] = {}
        self._bars: dict[str, Any] = {}
        self._places = list(range(jobs, 0, -1))
        self._all: Any = None
        if self._on_terminal:
            self._all = tqdm(
                total=total,
                initial=done,
                desc="runs",
                file=self._stream,
                position=0,
                bar_format="{desc} {n_fmt}/{total_fmt} |{bar}| {elapsed}",
            )
        elif done:
            self._line(f"{done} of {total} runs are complete already")

    def start(self, name: str) -> None:
        """A task has started."""
        self._started[name] = time.monotonic()
        if not self._on_terminal:
            self._line(f"{name}: started")
            return
        place = self._places.pop() if self._places else len(self._bars) + 1
        self._bars[name] = tqdm(
            desc=f"  {name}",
            file=self._stream,
            position=place,
            leave=False,
            bar_format="{desc} |{bar}| {n_fmt}/{total_fmt}{postfix}",
        )

    def update(self, name: str, progress: Mapping[str, Any]) -> None:
        """A running task has made progress: `step` of `steps`, `loss`, or `stage`."""
        bar = self._bars.get(name)
        if bar is None:
            return
        if "steps" in progress:
            bar.total, bar.n = progress["steps"], progress["step"]
        loss = progress.get("loss")
        said = progress.get("stage") or ("" if loss is None else f"loss {loss:.3f}")
        bar.set_postfix_str(said, refresh=False)
        bar.refresh()

    def end(self, name: str, said: str) -> None:
        """A task has ended."""
        self._done += 1
        seconds = time.monotonic() - self._started.pop(name)
        line = f"[{self._done}/{self._total}] {name}: {said} ({seconds:.0f} s)"
        bar = self._bars.pop(name, None)
        if bar is not None:
            self._places.append(-bar.pos)
            bar.close()
            self._all.update()
        self._line(line)

    def close(self) -> None:
        """Remove all bars."""
        for bar in [*self._bars.values(), *([self._all] if self._all is not None else [])]:
            bar.close()
        self._bars.clear()

    def _line(self, text: str) -> None:
        if self._on_terminal:
            tqdm.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)
