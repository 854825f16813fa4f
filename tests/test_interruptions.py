"""Interrupted runs of several processes, and runs that lose a rank, in their short form."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import rank_loss

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")

SHORT = [rank_loss.Case("lightning", "killed"), rank_loss.Case("torchrun", "loop")]
LONG = [case for case in rank_loss.cases() if case not in SHORT]


def interruptions(*options: str) -> None:
    script = Path(__file__).with_name("interruptions.py")
    done = subprocess.run(
        [sys.executable, str(script), *options],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cases passed" in done.stdout


def test_interrupted_runs_of_two_processes_resume_exactly(tmp_path: Path) -> None:
    interruptions("--short", "--keep", str(tmp_path))


@pytest.mark.slow
def test_all_interrupted_runs_resume_exactly(tmp_path: Path) -> None:
    interruptions("--keep", str(tmp_path))


@pytest.mark.parametrize(
    "case",
    [*SHORT, *(pytest.param(one, marks=pytest.mark.slow) for one in LONG)],
    ids=lambda case: case.name,
)
def test_a_lost_rank_ends_the_run_with_a_message(case: rank_loss.Case, tmp_path: Path) -> None:
    assert rank_loss.run(case, tmp_path / "run", timeout=10).faults == []
