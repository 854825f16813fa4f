"""Run all fast tests as other CPUs would: under each instruction set of this one, and on threads.

    python tests/portable.py [--levels default avx2 …] [--threads 4 2 1] [--jobs 2] [pytest words …]

Each run has an instruction set and a number of threads, and there are as few runs as hold each of
both once: on a CPU with AVX-512, the lowest level on 4 threads, AVX2 on 2, AVX-512 on 1. PyTorch,
oneDNN and MKL each choose kernels by instruction set, so all three are told the level. Prints a
table, and ends with 1 if a run failed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LEVELS = {
    "default": {"ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "avx512": {},
}
"""What the other two libraries are told at each level of `ATEN_CPU_CAPABILITY`."""


class Run(NamedTuple):
    title: str
    environment: dict[str, str]


def level_environment(level: str) -> dict[str, str]:
    """The environment variables that hold PyTorch and its libraries to an instruction set."""
    return {"ATEN_CPU_CAPABILITY": level, **LEVELS[level]}


def capability(level: str) -> str:
    """What PyTorch really runs when it is told a level, in lower case."""
    code = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | level_environment(level),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return done.stdout.strip().lower()


def available_levels() -> list[str]:
    """The levels that this CPU has, the lowest first; PyTorch ignores one that is too high."""
    return [level for level in LEVELS if capability(level) == level]


def thread_environment(count: int) -> dict[str, str]:
    """The environment variables of a number of threads, which sleep while they wait for work.

    Otherwise they would keep the cores from the other test processes.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "SEQLEARN_TEST_THREADS")
    return {"OMP_WAIT_POLICY": "passive", **dict.fromkeys(names, str(count))}


def runs(levels: list[str], threads: list[int]) -> list[Run]:
    """As few runs as hold each level and each number of threads; the shorter list starts again."""
    return [
        Run(
            f"{level}, {count} thread{'s' if count > 1 else ''}",
            level_environment(level) | thread_environment(count),
        )
        for level, count, _ in zip(
            itertools.cycle(levels),
            itertools.cycle(threads),
            range(max(len(levels), len(threads))),
            strict=False,
        )
    ]


def main() -> None:
    """Run all of it, and print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", help="tests to run instead of all fast ones")
    parser.add_argument("--levels", nargs="+", choices=list(LEVELS), help="all there are if unset")
    parser.add_argument("--threads", nargs="+", type=int, default=[4, 2, 1])
    parser.add_argument("--jobs", type=int, default=1, help="test processes at a time")
    options = parser.parse_args()
    found = available_levels()
    print(f"portable: this CPU has the levels {', '.join(found)}", flush=True)
    missing = set(options.levels or ()) - set(found)
    if missing:
        parser.error(f"expected levels that this CPU has ({', '.join(found)}), got {missing}")
    rows = []
    for run in runs(options.levels or found, options.threads):
        print(f"portable: {run.title}", flush=True)
        start = time.monotonic()
        words = [sys.executable, "-m", "pytest", "-q", "-n", str(options.jobs), *options.paths]
        status = subprocess.run(words, cwd=ROOT, env=os.environ | run.environment, check=False)
        rows.append((run.title, status.returncode, time.monotonic() - start))
    for title, status, seconds in rows:
        print(f"{title:20} {'passed' if status == 0 else f'FAILED ({status})':12} {seconds:5.0f} s")
    sys.exit(any(status for _, status, _ in rows))


if __name__ == "__main__":
    main()
