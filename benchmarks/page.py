"""The pages of results: docs/benchmarks.md from `benchmarks/results/*.json`, and docs/results/.

    python -m benchmarks page            draw docs/assets/benchmarks/NAME.svg and copy the written
                                         results to docs/results/, as `make docs` does
    python -m benchmarks page --write    also write tables and commands into docs/benchmarks.md

The page has, for each file, a block from `<div markdown id="result-NAME">` to `</div>`.
A test compares the blocks with the files.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.tables import table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
BLOCK = re.compile(r'<div markdown id="result-(\S+)">\n.*?</div>', re.DOTALL)


def load() -> dict[str, dict[str, Any]]:
    """All results by the name of their file."""
    paths = sorted(RESULTS.glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def block(name: str, found: dict[str, Any]) -> str:
    """The part of the page for one file: plot, table, command and machine."""
    machine = found["machine"]
    lines = [f'<div markdown id="result-{name}">', ""]
    if speeds(found):
        lines += [f"![{found['benchmark']}, speed](assets/benchmarks/{name}.svg)", ""]
    lines += [table(found), ""]
    lines += [f"skipped: {peer} ({reason})" for peer, reason in found["skipped"].items()]
    lines += ["```console", f"$ {found['command']}", "```", ""]
    threads = "1 thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
    lines.append(
        f"{machine['date']}, commit {machine['commit']}, {gpu_of(machine)}{machine['processor']}, "
        f"{machine['cores']} cores, {threads}, capability {machine['capability']}, "
        f"torch {machine['versions']['torch']}. Load average before and after: {machine['load']}, "
        f"{machine['load_after']}.{busy(machine)}"
    )
    return "\n".join([*lines, "", "</div>"])


def gpu_of(machine: dict[str, Any]) -> str:
    """The name of the GPU and a comma, if one did the work."""
    return f"{machine['gpu']}, " if "gpu" in machine else ""


def busy(machine: dict[str, Any]) -> str:
    """A warning if other programs used the machine."""
    loads = [load for load in (machine["load"], machine["load_after"]) if load is not None]
    if max(loads, default=0) <= machine["cores"]:
        return ""
    return " **Other programs used the machine**: the figures are indicative."


def speeds(found: dict[str, Any]) -> list[tuple[str, float, float, float]]:
    """Label, median and interval of each contender that has a speed."""
    return [
        (row.get("case", row["name"]), row["median"], row["low"], row["high"])
        for row in found["results"]
        if "median" in row
    ]


def draw(name: str, found: dict[str, Any], folder: Path) -> None:
    """A plot of the speeds and their intervals, seqlearn in colour, as SVG."""
    rows = speeds(found)
    if not rows:
        return
    mpl.rcParams["svg.hashsalt"] = name  # the same file each time
    figure = Figure(figsize=(7, 0.6 + 0.34 * len(rows)), layout="constrained")
    axes = figure.subplots()
    labels, medians, lows, highs = zip(*rows, strict=True)
    errors = [
        [median - low for median, low in zip(medians, lows, strict=True)],
        [high - median for median, high in zip(medians, highs, strict=True)],
    ]
    colors = ["#3f51b5" if "seqlearn" in label else "#9e9e9e" for label in labels]
    axes.barh(range(len(rows)), medians, xerr=errors, color=colors, ecolor="#777777", height=0.7)
    axes.axvline(1.0, color="#777777", linewidth=0.8)
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    axes.set_xlabel(f"speed relative to {found['baseline']}")
    for part in (*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label):
        part.set_color("#777777")  # legible on both palettes
    axes.tick_params(color="#777777")
    for side in axes.spines.values():
        side.set_color("#777777")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.svg", transparent=True, metadata={"Date": None})


def rendered(page: str, results: dict[str, dict[str, Any]]) -> str:
    """The page with the blocks of these results.

    Raises:
        KeyError: If the page has a block for a file that does not exist.
    """
    return BLOCK.sub(lambda match: block(match[1], results[match[1]]), page)


def copy_results(folder: Path) -> None:
    """Copy the results that are written as pages, and their logs; earlier copies are removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in sorted(RESULTS.glob("*.csv")):
        shutil.copy(path, folder)
    for path in sorted(RESULTS.glob("*.md")):
        page = path.read_text(encoding="utf-8").replace("](../../docs/", "](../")
        (folder / path.name).write_text(page, encoding="utf-8")


def main() -> None:
    """Draw the plots and copy the results; with `--write` also write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    results = load()
    for name, found in results.items():
        draw(name, found, ROOT / "docs" / "assets" / "benchmarks")
    copy_results(ROOT / "docs" / "results")
    if options.write:
        page = rendered(PAGE.read_text(encoding="utf-8"), results)
        PAGE.write_text(page, encoding="utf-8")
