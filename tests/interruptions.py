"""Interrupt training runs with signals, resume them, and compare with the uninterrupted run.

    python tests/interruptions.py [--only WORD …] [--short] [--keep FOLDER] [--table FILE] [--list]

Each case trains in processes of its own and sends a signal at a chosen point. All processes must
end within 60 seconds with the right status and leave only whole files. The run that is resumed from
the newest checkpoint must end with the weights of the uninterrupted run, to the bit (FSDP2: 1e-6).
Prints a line for each case, and ends with 1 if one fails. With `--keep`, a second call goes on
where the first was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from forks import printed, run_ranks
from interruption_runs import STREAM, Case, train

from seqlearn.core.checkpoint import read_checkpoint

SECONDS = 60
"""The longest time from the signal to the end of the last process."""

POINTS = ("group", "validation", "boundary")


def cases() -> list[Case]:
    """All cases."""
    found = [
        Case(name, point, (0,), 1, accumulate, model)
        for name, point, accumulate, model in product(
            ("SIGTERM", "SIGUSR1", "SIGKILL"), POINTS, (1, 3), ("transformer", "lm")
        )
    ]
    found += [
        Case("SIGTERM", point, to, 2, accumulate)
        for point, to, accumulate in product(POINTS, ((0,), (1,), (0, 1)), (1, 3))
    ]
    found += [
        Case(name, point, (1,), 2, accumulate, model)
        for name, accumulate, model in (
            ("SIGUSR1", 3, "transformer"),
            ("SIGKILL", 1, "transformer"),
        )
        for point in POINTS
    ]
    found += [Case("SIGTERM", point, (1,), 2, 3, "lm") for point in POINTS]
    found += [
        Case(name, "group", to, 2, 3, launcher="lightning")
        for name, to in (
            ("SIGTERM", (0,)),
            ("SIGTERM", (1,)),
            ("SIGTERM", (0, 1)),
            ("SIGUSR1", (1,)),
            ("SIGKILL", (1,)),
        )
    ]
    found += [
        Case(name, point, (0,), devices, accumulate, averaging=True)
        for name, devices, point, accumulate in product(("SIGTERM",), (1, 2), POINTS, (1, 3))
    ]
    found += [
        Case(name, point, (1,), 2, accumulate, strategy="fsdp2")
        for name, point, accumulate in product(("SIGTERM", "SIGUSR1"), POINTS, (1, 3))
    ]
    found += [Case("SIGTERM", point, (0,), 2, 3, strategy="fsdp2-file") for point in POINTS]
    found += [
        Case("SIGTERM", "group", (1,), 2, 3, "lm", strategy="fsdp2"),
        Case("SIGKILL", "group", (1,), 2, 3, strategy="fsdp2"),
        Case("SIGKILL", "saving", (0,), 2, 1, strategy="fsdp2"),
    ]
    found += [Case("SIGTERM", "sanity"), Case("SIGTERM", "sanity", (1,), 2)]
    found += [Case(name, "saving", (0,), 1, 3) for name in ("SIGTERM", "SIGKILL")]
    return found


def short_cases() -> list[Case]:
    """Those of `make test`; `tests/callbacks/test_interrupt.py` interrupts one process."""
    return [
        Case("SIGTERM", "group", (1,), 2, 3),
        Case("SIGTERM", "validation", (0, 1), 2, 3),
        Case("SIGKILL", "group", (1,), 2, 1),
        Case("SIGKILL", "saving", (0,), 1, 3),
    ]


def start_run(folder: Path, case: Case, *, resume: str = "", interrupt: bool = False) -> list[int]:
    """Run the ranks of a case; returns their exit statuses."""
    folder.mkdir(parents=True, exist_ok=True)
    if case.launcher == "torchrun":
        start = partial(train, folder, case, resume or None, interrupt=interrupt)
        return run_ranks(folder, case.devices, start)
    words = {"folder": str(folder), "case": asdict(case), "resume": resume, "interrupt": interrupt}
    with (folder / "log0").open("a", encoding="utf-8") as log:
        done = subprocess.run(
            [sys.executable, __file__, "--train", json.dumps(words)],
            stdout=log,
            stderr=log,
            timeout=600,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    while any(alive(path) for path in folder.glob("pid*")):
        time.sleep(0.05)
    return [done.returncode]


def alive(file: Path) -> bool:
    """Whether the process whose number a file holds is still there."""
    try:
        os.kill(int(file.read_text(encoding="utf-8")), 0)
    except OSError:
        return False
    return True


def reference(root: Path, case: Case) -> dict[str, torch.Tensor]:
    """The weights of the uninterrupted run."""
    folder = root / case.reference
    if not (folder / "weights.pt").exists():
        (root / "stream.txt").write_text(STREAM, encoding="utf-8")
        (root / "val.txt").write_text("abcde" * 5, encoding="utf-8")
        if any(start_run(folder, case)):
            raise RuntimeError(f"{case.name}: the uninterrupted run failed\n{printed(folder)}")
    weights: dict[str, torch.Tensor] = torch.load(folder / "weights.pt")
    return weights


def run(root: Path, case: Case) -> dict[str, Any]:
    """Run a case; returns what is known of it, with its `faults`."""
    weights, folder, resumed = reference(root, case), root / case.name, root / f"{case.name}-again"
    found: dict[str, Any] = {"name": case.name, "statuses": start_run(folder, case, interrupt=True)}
    ended = time.time()
    found["faults"] = list(faults_of_end(case, folder, found["statuses"], ended))
    if not (folder / "sent").exists():
        return found
    found["seconds"] = ended - float((folder / "sent").read_text(encoding="utf-8"))
    newest = max(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        return found | {"faults": [*found["faults"], "no checkpoint"]}
    found["checkpoint"] = newest.name
    if any(status := start_run(resumed, case, resume=str(newest))):
        found["faults"].append(f"the resumed run ended with {status}: {printed(resumed)}")
        return found
    again = torch.load(resumed / "weights.pt")
    differences = [float((weights[name] - again[name]).abs().max()) for name in weights]
    found["difference"] = max(differences)
    if not max(differences) <= case.tolerance:
        found["faults"].append(f"weights differ by {max(differences):.1e}")
    return found


def faults_of_end(case: Case, folder: Path, statuses: list[int], ended: float) -> Iterator[str]:
    """What is wrong after an interrupted run."""
    if not (folder / "sent").exists():
        yield f"the signal was never sent: {printed(folder)}"
        return
    if statuses != case.statuses:
        yield f"expected exit status {case.statuses}, got {statuses}: {printed(folder)}"
    seconds = ended - float((folder / "sent").read_text(encoding="utf-8"))
    if seconds > SECONDS:
        yield f"took {seconds:.0f} s to end"
    checkpoints = sorted(folder.glob("*.ckpt"))
    for path in checkpoints:
        try:
            read_checkpoint(path)
        except ValueError as error:
            yield f"left {error}"
    allowed = {*checkpoints, *folder.glob("log*"), *folder.glob("pid*"), folder / "sent"}
    killed = case.signal == "SIGKILL"
    if killed:  # a file that was being written may be left, under a name that is never read
        allowed |= set(folder.glob(".*.partial"))
    if left := [path.name for path in folder.iterdir() if path not in allowed]:
        yield f"left {left}"
    newest = max(checkpoints, key=lambda path: path.stat().st_mtime, default=folder)
    if not killed and newest.name != "interrupt.ckpt":
        yield f"expected interrupt.ckpt as the newest, got {newest.name}"


def table(results: Sequence[dict[str, Any]]) -> str:
    """The results as a Markdown table."""
    head = "| case | seconds to the end | exit status | continued from | largest difference |\n"
    rows = [
        f"| {one['name']} | {one.get('seconds', -1):.1f} | "
        f"{', '.join(map(str, one['statuses']))} | {one.get('checkpoint', '')} | "
        f"{'; '.join(one['faults']) or one['difference']} |\n"
        for one in results
    ]
    return head + "|---|---|---|---|---|\n" + "".join(rows)


def main(argv: Sequence[str]) -> int:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], help="parts of names")
    parser.add_argument("--short", action="store_true", help="the cases of `make test`")
    parser.add_argument("--keep", type=Path, help="a folder for the runs")
    parser.add_argument("--table", type=Path, help="a Markdown file for the results")
    parser.add_argument("--list", action="store_true", help="print the names of all cases")
    parser.add_argument("--train", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.train:
        words = json.loads(options.train)
        case = Case(**(words["case"] | {"to": tuple(words["case"]["to"])}))
        folder = Path(words["folder"])
        train(folder, case, words["resume"] or None, interrupt=words["interrupt"])
        return 0
    every = short_cases() if options.short else cases()
    chosen = [c for c in every if all(word in c.name for word in options.only)]
    if options.list:
        print("\n".join(case.name for case in chosen))
        return 0
    torch.set_num_threads(1)
    results = []
    with tempfile.TemporaryDirectory() as made:
        root = options.keep or Path(made)
        root.mkdir(parents=True, exist_ok=True)
        for case in chosen:
            kept = root / f"{case.name}.json"
            start = time.monotonic()
            if kept.exists():
                found = json.loads(kept.read_text(encoding="utf-8"))
            else:
                found = run(root, case)
                kept.write_text(json.dumps(found), encoding="utf-8")
            results.append(found)
            passed = "FAILED" if found["faults"] else "passed"
            print(f"{passed} {time.monotonic() - start:4.0f} s  {case.name}", flush=True)
            for fault in found["faults"]:
                print(f"    {fault}", flush=True)
    wrong = sum(bool(one["faults"]) for one in results)
    print(f"{len(results) - wrong} of {len(results)} cases passed")
    if options.table:
        options.table.write_text(table(results), encoding="utf-8")
    return int(wrong > 0)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    sys.exit(main(sys.argv[1:]))
