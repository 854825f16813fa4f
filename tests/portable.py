"""Run the tests as other CPUs would: under each instruction set that this one has, and on threads.

    python tests/portable.py [--levels default avx2 …] [--threads 2 4] [--jobs 2] [pytest's words …]

Every level runs all fast tests, or those that are named; every number of threads runs the numeric
ones. PyTorch, oneDNN and MKL each choose kernels by instruction set, so all three are told the
level. Prints a table, and ends with 1 if a run failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
NUMERIC = ["nn", "decoding", "parity", "laws", "introspect", "models", "core"]
"""The folders of tests/ whose results depend on the order in which numbers are added."""
LEVELS = {
    "default": {"ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "avx512": {},
}
"""What the other two libraries are told at each level of `ATEN_CPU_CAPABILITY`."""


class Run(NamedTuple):
    title: str
    environment: dict[str, str]
    paths: list[str]
    jobs: int


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


def runs(levels: list[str], threads: list[int], paths: list[str], jobs: int) -> list[Run]:
    """One run for each level, and one for each number of threads at the CPU's own level."""
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    numeric = paths or [f"tests/{folder}" for folder in NUMERIC]
    return [
        *(
            Run(f"{level}, 1 thread", level_environment(level) | one, paths, jobs)
            for level in levels
        ),
        *(
            Run(
                f"{count} threads",
                dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(count))
                | {"SEQLEARN_TEST_THREADS": str(count)},
                numeric,
                max(1, jobs // count),
            )
            for count in threads
        ),
    ]


def main() -> None:
    """Run all of it, and print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", help="tests to run instead of all fast ones")
    parser.add_argument("--levels", nargs="*", choices=list(LEVELS), help="all there are if unset")
    parser.add_argument("--threads", nargs="*", type=int, default=[2, 4])
    parser.add_argument("--jobs", type=int, default=1, help="test processes at a time")
    options = parser.parse_args()
    found = available_levels()
    print(f"portable: this CPU has the levels {', '.join(found)}", flush=True)
    missing = set(options.levels or ()) - set(found)
    if missing:
        parser.error(f"expected levels that this CPU has ({', '.join(found)}), got {missing}")
    levels = found if options.levels is None else options.levels
    rows = []
    for run in runs(levels, options.threads, options.paths, options.jobs):
        print(f"portable: {run.title}", flush=True)
        start = time.monotonic()
        words = [sys.executable, "-m", "pytest", "-q", "-n", str(run.jobs), *run.paths]
        status = subprocess.run(words, cwd=ROOT, env=os.environ | run.environment, check=False)
        rows.append((run.title, status.returncode, time.monotonic() - start))
    for title, status, seconds in rows:
        print(f"{title:20} {'passed' if status == 0 else f'FAILED ({status})':12} {seconds:5.0f} s")
    sys.exit(any(status for _, status, _ in rows))


if __name__ == "__main__":
    main()
