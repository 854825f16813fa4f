"""Comparison of contenders: interleaved rounds, ratios, share of the matrix-multiply peak, memory.

A `Contender` builds a function that does the work of one item. In a round every contender does the
same item, one after the other; the order rotates. A result is the median over rounds of
`time of the baseline / time of the contender` in the same round, never a time: on a machine with
other work only such ratios have a meaning.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.contenders import Comparison, Contender
from benchmarks.isolated import run_module
from benchmarks.machine import describe, load
from benchmarks.measuring import Work, matrix_multiply_peak, peak_memory, time_of
from benchmarks.operations import operations_of, operations_table
from benchmarks.peers import MODULES, UnavailableError, peer
from benchmarks.statistic import median_ratio
from benchmarks.tables import table


def arguments(
    doc: str | None, *, rounds: int = 20, contenders: bool = True
) -> argparse.ArgumentParser:
    """The parser of a comparison, with the options that all have.

    Args:
        doc: The description.
        rounds: The default of `--rounds`.
        contenders: Whether it has those of `compare` too, which are about contenders.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=rounds, help=f"{rounds} by default")
    parser.add_argument("--out", type=Path, help="the JSON file; runs/benchmarks/… by default")
    if not contenders:
        return parser
    parser.add_argument("--only", nargs="+", metavar="NAME", help="contenders beside the baseline")
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory")
    parser.add_argument(
        "--profile", action="store_true", help="print where the time goes, and compare nothing"
    )
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)  # in the process of one contender
    return parser


def compare(comparison: Comparison, options: argparse.Namespace) -> int:
    """Run a comparison: print its table and write its JSON file.

    Returns:
        The exit status: 0, or 1 if the baseline cannot run.

    Raises:
        ValueError: If `--only` names no contender.
    """
    chosen = _chosen(comparison, options.only)
    if options.memory_of:
        (one,) = [each for each in chosen if each.name == options.memory_of]
        for package in one.packages:  # the code of a library is not the memory of its model
            for module in MODULES.get(package, ()):
                peer(module)
        print(json.dumps({"bytes": peak_memory(one.build, comparison.items, comparison.device)}))
        return 0
    packages = sorted({name for each in chosen for name in each.packages})
    machine = describe(packages, comparison.device)
    works, skipped = _build(chosen, comparison.items[0], comparison.device)
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}", flush=True)
    if chosen[0].name in skipped:
        print(f"the baseline {chosen[0].name} cannot run here", file=sys.stderr)
        return 1
    if options.profile:
        for name, work in works.items():
            found = operations_of(work, comparison.items[0], comparison.device)
            print(f"\n{name}\n\n{operations_table(found)}")
        return 0
    running = [each for each in chosen if each.name in works]
    results = measure(running, works, comparison, options.rounds)
    if comparison.memory and not options.no_memory and sys.platform == "linux":
        used = {each.name: peak_memory_of(comparison, each.name) for each in running}
        for result in results:
            most = used[result["name"]]
            share = most / used[running[0].name]
            result |= {"peak_bytes": most, "memory_ratio": round(share, 3)}
    baseline = running[0].name
    return report(comparison, baseline, results, options, machine=machine, skipped=skipped)


def report(
    comparison: Comparison,
    baseline: str,
    results: list[dict[str, Any]],
    options: argparse.Namespace,
    *,
    machine: dict[str, Any],
    skipped: dict[str, str] | None = None,
) -> int:
    """Write results as JSON, and print their table.

    Args:
        comparison: What was compared.
        baseline: The name to which ratios are relative.
        results: Rows of `result_of`, possibly with more entries.
        options: The options of the run.
        machine: `machine.describe()` from before the run.
        skipped: Reasons why contenders did not run.

    Returns:
        The exit status, 0.
    """
    found = {
        "benchmark": comparison.name,
        "command": _repeatable(comparison.name),
        "workload": comparison.workload,
        "baseline": baseline,
        "machine": machine | {"load_after": load()},
        "results": results,
        "skipped": skipped or {},
    }
    path = options.out or Path("runs/benchmarks", f"{comparison.label}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1, ensure_ascii=False)
    # A list of numbers fits one line.
    text = re.sub(r"\[[-\s\d.,]+\]", lambda match: " ".join(match[0].split()), text)
    path.write_text(text + "\n", encoding="utf-8")
    used = f"{machine['processor']}, {machine['threads']} threads, {machine['capability']}"
    print(f"{used}\n\n{table(found)}\nwritten: {path}")
    return 0


def measure(
    contenders: Sequence[Contender], works: Mapping[str, Work], comparison: Comparison, rounds: int
) -> list[dict[str, Any]]:
    """Time the contenders alternately; one round in advance warms up."""
    seconds: dict[str, list[float]] = {each.name: [] for each in contenders}
    shares: dict[str, list[float]] = {each.name: [] for each in contenders}
    for round_ in range(-1, rounds):
        item = comparison.items[round_ % len(comparison.items)]
        shift = round_ % len(contenders)
        for each in (*contenders[shift:], *contenders[:shift]):
            taken = time_of(works[each.name], item, comparison.device)
            if round_ < 0:
                continue
            seconds[each.name].append(taken)
            if comparison.flops is not None:
                peak = matrix_multiply_peak(each.dtype, comparison.device)
                shares[each.name].append(comparison.flops(item) / taken / peak)
    results = []
    used = [comparison.items[round_ % len(comparison.items)] for round_ in range(rounds)]
    for each in contenders:
        pairs = zip(seconds[contenders[0].name], seconds[each.name], strict=True)
        result = result_of(each.name, [base / own for base, own in pairs], each.dtype)
        if comparison.flops is not None:
            operations = int(statistics.median(comparison.flops(item) for item in used))
            result |= {"mfu": round(statistics.median(shares[each.name]), 3), "flops": operations}
        results.append(result)
    return results


def result_of(
    name: str, ratios: Sequence[float], dtype: torch.dtype = torch.float32
) -> dict[str, Any]:
    """One row of results: the median of the ratios, its interval, and the ratios themselves."""
    figures = {key: round(value, 3) for key, value in median_ratio(ratios)._asdict().items()}
    result = {"name": name, "dtype": str(dtype).removeprefix("torch.")}
    return result | figures | {"ratios": [round(ratio, 3) for ratio in ratios]}


def peak_memory_of(comparison: Comparison, name: str, words: Sequence[str] | None = None) -> int:
    """`peak_memory` of the contender `name`, in a process of its own.

    Args:
        comparison: Its name is that of the benchmark that runs in the process.
        name: The contender.
        words: Options of the benchmark; by default those of this process.
    """
    words = sys.argv[1:] if words is None else words
    return int(run_module(comparison.name, *words, "--memory-of", name)["bytes"])


def _chosen(comparison: Comparison, only: Sequence[str] | None) -> list[Contender]:
    first, *others = comparison.contenders
    names = [each.name for each in others]
    wrong = [name for name in only or [] if name not in (first.name, *names)]
    if wrong:
        raise ValueError(f"expected --only with names of {names}, got {wrong}")
    return [first, *(each for each in others if only is None or each.name in only)]


def _build(
    contenders: Sequence[Contender], item: Any, device: torch.device
) -> tuple[dict[str, Work], dict[str, str]]:
    """Build all that can run, and call each once; the reasons of the others."""
    works, skipped = {}, {}
    for each in contenders:
        torch.manual_seed(0)
        try:
            with device:
                works[each.name] = each.build()
        except UnavailableError as error:
            skipped[each.name] = str(error)
        else:
            works[each.name](item)
    return works, skipped


def _repeatable(benchmark: str) -> str:
    """The command of this run, without the folders of this machine."""
    words = list(sys.argv[1:])
    if "--out" in words:
        at = words.index("--out")
        del words[at : at + 2]
    for name, word in {"--multi30k": "FOLDER", "--checkpoint": "CHECKPOINT"}.items():
        if name in words:
            words[words.index(name) + 1] = word
    threads = os.environ.get("OMP_NUM_THREADS")
    before = [f"OMP_NUM_THREADS={threads}"] if threads else []
    return " ".join([*before, "python -m benchmarks", benchmark, *words])
