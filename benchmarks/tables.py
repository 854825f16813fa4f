"""Results as a table in Markdown: what a run prints, and what the page shows."""

from __future__ import annotations

from typing import Any

COLUMNS = {
    "case": "case",
    "name": "contender",
    "speed": "speed relative to {} (95% interval)",
    "mfu": "share of the peak",
    "memory_ratio": "peak memory, relative",
    "source_padding": "padding, source",
    "target_padding": "padding, target",
    "overhead": "overhead",
}
SHARES = ("mfu", "source_padding", "target_padding", "overhead")


def table(found: dict[str, Any]) -> str:
    """The results of a file, one row for each contender or case."""
    rows = [cells(row) for row in found["results"]]
    shown = [name for name in COLUMNS if any(name in row for row in rows)]
    heads = [COLUMNS[name].format(found["baseline"]) for name in shown]
    lines = [heads, ["---"] * len(heads), *([row.get(name, "") for name in shown] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(row: dict[str, Any]) -> dict[str, str]:
    """One row as text."""
    made: dict[str, str] = {key: str(row[key]) for key in ("case", "name") if key in row}
    if "median" in row:
        made["speed"] = f"{row['median']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
    if "memory_ratio" in row:
        made["memory_ratio"] = f"{row['memory_ratio']:.2f}"
    return made | {key: f"{row[key]:.1%}" for key in SHARES if key in row}
