"""The figures of docs/choosing.md are those of the results that it links to."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "choosing.md").read_text(encoding="utf-8")
FIGURE = re.compile(r"(?<![\w.,])(?:\d[\d,]*(?:\.\d+)?(?=%| s\b| MB\b| M\b)|\d+\.\d{2,}\b)")
"""A percentage, a time, a size or a number with two decimals or more."""


def unknown(page: str, results: str) -> list[str]:
    """The figures of a page that do not occur in the results."""
    return [
        figure
        for figure in FIGURE.findall(page)
        if not re.search(rf"(?<![\d.,]){re.escape(figure)}(?!\d)", results)
    ]


def test_each_figure_is_in_a_linked_result() -> None:
    linked = set(re.findall(r"\(results/([\w-]+)\.md\)", PAGE))
    texts = [
        (ROOT / "benchmarks" / "results" / f"{name}.md").read_text(encoding="utf-8")
        for name in sorted(linked)
    ]
    assert len(FIGURE.findall(PAGE)) > 80
    assert unknown(PAGE, "\n".join(texts)) == []


def test_a_figure_that_is_in_no_result_is_found() -> None:
    assert unknown("89.8%, 1,807 s, 1.651", "| 89.8% | 1,807 s | 1.651 |") == []
    assert unknown("89.9%, 807 s, 1.65", "| 89.8% | 1,807 s | 1.651 |") == ["89.9", "807", "1.65"]
