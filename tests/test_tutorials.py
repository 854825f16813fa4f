"""Every tutorial runs from top to bottom, as a plain script."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HYPOTHESIS = "HYPOTHESIS_STORAGE_DIRECTORY"  # of constants of local modules, otherwise the cwd
TUTORIALS = sorted((ROOT / "tutorials").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("script", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(script, tmp_path):
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "agg"} | {HYPOTHESIS: str(tmp_path.parent / "hypothesis")},
        capture_output=True,
        encoding="utf-8",
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(tmp_path.iterdir()), "a tutorial leaves nothing behind"


def test_the_home_page_and_the_readme_say_how_many_there_are():
    number = {15: "Fifteen", 16: "Sixteen", 17: "Seventeen", 18: "Eighteen"}[len(TUTORIALS)]
    for page in ("README.md", "docs/index.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert re.findall(r"\b(\w+teen) tutorials\b", text) == [number]


def test_the_overview_lists_each_tutorial_with_the_duration_that_it_states():
    overview = (ROOT / "docs" / "tutorials_index.md").read_text(encoding="utf-8")
    rows = re.findall(r"\]\(tutorials/(\w+)\.md\) \|.*\| ([^|]+) \|$", overview, re.MULTILINE)
    assert sorted(name for name, _ in rows) == [script.stem for script in TUTORIALS]
    for name, duration in rows:
        text = (ROOT / "tutorials" / f"{name}.py").read_text(encoding="utf-8")
        stated = f"It takes {duration} on two cores"
        assert stated in re.sub(r"\s+(?:# )?", " ", text), name


@pytest.mark.parametrize("script", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_reads_no_drawn_table(script):
    """Lightning draws tables in one of two ways, and the `docs` extra brings no `rich`."""
    drawn = re.findall(r"[│┃┏┡]", script.read_text(encoding="utf-8"))
    assert not drawn, f"expected {script.name} to read figures by name, got {drawn}"
