"""The tutorials run from top to bottom: two of them here, the others with `make test-all`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIALS = sorted((Path(__file__).parents[1] / "tutorials").glob("*.py"))
QUICK = {"feedforward", "attention"}


@pytest.mark.parametrize(
    "tutorial",
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem in QUICK else pytest.mark.slow)
        for path in TUTORIALS
    ],
)
def test_a_tutorial_runs(tutorial, tmp_path):
    ran = subprocess.run(
        [sys.executable, tutorial],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout


def test_the_quick_ones_are_there():
    assert {path.stem for path in TUTORIALS} >= QUICK
