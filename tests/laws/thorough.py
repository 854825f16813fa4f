"""Every law on every module, on many cases: 1,000 of laws 1 to 7, and 20 of laws 8 to 10.

    python tests/laws/thorough.py [--examples 1000] [--laws 4 padding …] [--only LSTM …] [--jobs 2]

Prints a table for each module, with the number of cases tried; ends with 1 if a law is violated.
Shapes are not checked at run time here, which would take three times as long.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "user"))

from modules import MODULES

from seqlearn.testing import LawsViolated, check_module


def checked(name: str, laws: list[str | int] | None, examples: int) -> tuple[str, int, int]:
    """The report of one module as text, the number of cases and of violated laws."""
    warnings.filterwarnings("ignore", message="FeedForward reads the last")
    start = time.perf_counter()
    try:
        report = check_module(MODULES[name], laws=laws, examples=examples)
        words = str(report)
    except LawsViolated as error:
        report, words = error.report, str(error)
    title = f"{name}, {time.perf_counter() - start:.0f} s"
    return f"{title}\n{words}\n", report.cases, len(report.violated)


def all_checked(
    names: list[str], laws: list[str | int] | None, examples: int, jobs: int
) -> Iterator[tuple[str, int, int]]:
    """The report of each module, from as many processes as there are jobs."""
    if jobs == 1:
        yield from (checked(name, laws, examples) for name in names)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        runs = [pool.submit(checked, name, laws, examples) for name in names]
        yield from (run.result() for run in as_completed(runs))


def main() -> None:
    """Check the selected laws on the selected modules."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--laws", nargs="+")
    parser.add_argument("--only", nargs="+", choices=list(MODULES), default=list(MODULES))
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    laws = args.laws and [int(law) if law.isdigit() else law for law in args.laws]
    cases = broken = 0
    for words, tried, wrong in all_checked(args.only, laws, args.examples, args.jobs):
        print(words, flush=True)
        cases, broken = cases + tried, broken + wrong
    print(f"{cases:,} cases tried on {len(args.only)} modules; {broken} laws violated")
    sys.exit(broken > 0)


if __name__ == "__main__":
    main()
