"""The figures of pages that cite results are those of the results that they link to."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FIGURE = re.compile(
    r"(?<![\w.,])(?:\d[\d,]*(?:\.\d+)?(?=%| s\b| MB\b| M\b)|\d+\.\d+(?:e[+-]?\d+)?\b)"
)
"""A percentage, a time, a size, or a number with decimals."""


def unknown(page: str, results: str) -> list[str]:
    """The figures of a page that do not occur in the results."""
    return [
        figure
        for figure in FIGURE.findall(page)
        if not re.search(rf"(?<![\d.,]){re.escape(figure)}(?!\d)", results)
    ]


@pytest.mark.parametrize("name", ["choosing", "claims"])
def test_each_figure_is_in_a_linked_result(name: str) -> None:
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    sources = [
        ROOT / folder / f"{linked}.md"
        for kind, folder in (("results", "benchmarks/results"), ("reports", "docs/reports"))
        for linked in sorted(set(re.findall(rf"\({kind}/([\w-]+)\.md\)", page)))
    ]
    assert len(FIGURE.findall(page)) > 20
    assert unknown(page, "\n".join(path.read_text(encoding="utf-8") for path in sources)) == []


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs" / "architectures").glob("*.md")), ids=lambda path: path.stem
)
def test_the_figures_of_an_architecture_are_in_the_result_of_their_row(page: Path) -> None:
    rows = re.findall(
        r"^\| .* \| (.*\d.*) \| \[.*\]\(\.\./results/([\w-]+)\.md\) \|$",
        page.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    for said, name in rows:
        result = (ROOT / "benchmarks" / "results" / f"{name}.md").read_text(encoding="utf-8")
        assert FIGURE.findall(said)
        assert unknown(said, result) == [], f"{page.name}: {said} is not in {name}.md"
    assert rows or page.stem == "seq2seq"


def test_the_gallery_has_the_figures_of_its_models() -> None:
    page = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    models = json.loads((ROOT / "docs" / "recordings" / "models.json").read_text(encoding="utf-8"))
    for about in models.values():
        (row,) = [line for line in page.split("\n") if line.startswith(f"| `{about['model']}`")]
        ((key, figure),) = [item for item in about.items() if item[0].startswith("test_")]
        assert f"| {about['parameters']:,} |" in row
        assert (f"BLEU {figure}" if "bleu" in key else f"{figure:.1%} right") in row


def test_a_figure_that_is_in_no_result_is_found() -> None:
    assert unknown("89.8%, 1,807 s, 1.651", "| 89.8% | 1,807 s | 1.651 |") == []
    assert unknown("89.9%, 807 s, 1.65", "| 89.8% | 1,807 s | 1.651 |") == ["89.9", "807", "1.65"]
