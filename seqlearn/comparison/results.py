"""`Comparison`: the results of `compare`, as tables, pages and plain data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from seqlearn.atomic_files import atomic_path
from seqlearn.class_methods import class_only_method
from seqlearn.comparison.blocks import Table
from seqlearn.comparison.figures import Content, metrics_of, over_seeds, runs_of, shown_metrics
from seqlearn.comparison.job import Job, finite, read_json, write_json
from seqlearn.comparison.markdown import to_markdown
from seqlearn.comparison.page import table_html, to_page
from seqlearn.comparison.sections import quality_table, sections

_OPTION = "the argument `path`"


class Comparison:
    """The results of a comparison.

    Printed, it is a table with one row for each model; in a notebook the same table.

    Args:
        content: The content of `report.json`.
        folder: The folder of the comparison, which has the recorded activations.

    Attributes:
        content: Everything that was measured, as plain data.
        folder: The folder.

    Examples:
        >>> comparison = Comparison.load("runs/compare")  # doctest: +SKIP
        >>> comparison.to_html("comparison.html")  # doctest: +SKIP
    """

    def __init__(self, content: Content, folder: str | os.PathLike[str]) -> None:
        self.content: dict[str, Any] = finite(dict(content))
        self.folder = Path(folder)

    @class_only_method
    def load(cls, folder: str | os.PathLike[str]) -> Comparison:
        """Read the comparison of a folder.

        Raises:
            FileNotFoundError: If it has no report.
        """
        content = read_json(Path(folder) / "report.json")
        if content is None:
            raise FileNotFoundError(f"expected a comparison in {folder}, found no report.json")
        return cls(content, folder)

    def table(self) -> list[dict[str, Any]]:
        """A row for each model, such as for `pandas.DataFrame`.

        Each metric has its mean over seeds under its name, and half the width of its 95% interval
        under its name and `_interval` (`None` with one seed). `failed` is the reason of a failure.
        """
        rows = []
        for model in self.content["models"]:
            runs = runs_of(model)
            row: dict[str, Any] = {"model": model["label"], "seeds": len(runs)}
            row["parameters"] = model.get("parameters")
            row["seconds"] = _mean(over_seeds(model, "training", "seconds"))
            for metric in metrics_of(self.content):
                mean = over_seeds(model, "figures", metric.key)
                row[metric.key] = _mean(mean)
                row[f"{metric.key}_interval"] = None if mean is None else mean.half
            failed = [run["failed"] for run in model["runs"] if "failed" in run]
            row["failed"] = model.get("failed") or (failed[0] if failed else None)
            rows.append(row)
        return rows

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the report as one HTML file, which loads nothing else and works offline.

        Args:
            path: The file to write.

        Returns:
            The path.

        Raises:
            OSError: If the file cannot be written; an existing file is unchanged.
        """
        return _write(Path(path), to_page(self.content, sections(self.content, self.folder)))

    def to_markdown(self, path: str | os.PathLike[str] | None = None) -> str:
        """The report as Markdown; written to a file if `path` is given."""
        text = to_markdown(self.content, sections(self.content, None))
        if path is not None:
            _write(Path(path), text)
        return text

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Everything that was measured as JSON; written to a file if `path` is given."""
        text = json.dumps(self.content, ensure_ascii=False, indent=1, allow_nan=False)
        if path is not None:
            _write(Path(path), text)
        return text

    def write(self) -> None:
        """Write `report.html`, `report.md` and `report.json` to the folder."""
        write_json(self.folder / "report.json", self.content)
        self.to_markdown(self.folder / "report.md")
        self.to_html(self.folder / "report.html")

    def __repr__(self) -> str:
        return _plain(quality_table(self.content))

    def _repr_html_(self) -> str:
        """The table, in a notebook."""
        return table_html(quality_table(self.content), styled=False)


def headline(job: Job) -> str:
    """The main figure of a completed run, in a few words."""
    result = read_json(job.result)
    if result is None:
        return "no result"
    content = {"models": [{"label": job.label, "runs": [result]}]}
    found = []
    for metric in shown_metrics(content)[:2]:
        value = result["figures"].get(metric.key)
        if value is not None:
            found.append(f"{metric.name} " + (f"{value:.1%}" if metric.percent else f"{value:.3g}"))
    return ", ".join(found) or "finished"


def _mean(mean: Any) -> float | None:
    return None if mean is None else mean.mean


def _write(path: Path, text: str) -> Path:
    with atomic_path(path, "the report", _OPTION, len(text)) as part:
        part.write_text(text, encoding="utf-8")
    return path


def _plain(table: Table) -> str:
    """A table with aligned columns."""
    complete = [row for row in table.rows if not row.failed]
    rows = [table.head, *([cell.text for cell in row.cells] for row in complete)]
    widths = [max(len(row[at]) for row in rows if at < len(row)) for at in range(len(table.head))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(row, widths, table.numeric, strict=False)
        ]
        lines.append("  ".join(cells).rstrip())
    lines += [": failed: ".join(c.text for c in row.cells) for row in table.rows if row.failed]
    return "\n".join(lines)
