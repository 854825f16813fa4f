"""`module_checks`: one test for each module and law, and expected failures that are strict."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from seqlearn.testing import module_checks

TESTS = """
import seqlearn as sl
from testing.broken import BROKEN
from seqlearn.testing import module_checks

def good(spec):
    return sl.GRU(spec, d_model=4)

@module_checks([good, lambda spec: sl.RNN(spec, d_model=4)], laws=["shapes", 1], examples=2)
def test_good(check):
    check()

@module_checks({"mean": BROKEN["MeanOfMeans"]}, laws=["loss additivity"], examples=30)
def test_broken(check):
    check()

@module_checks(
    {"mean": BROKEN["MeanOfMeans"]},
    laws=["loss additivity", "shapes"],
    examples=30,
    expected_failures={"loss additivity": "a mean of means", "shapes": "it does not, in truth"},
)
def test_expected(check):
    check()

@module_checks([good], laws=[1], expected_failures={"attention weights": "there are none"})
def test_not_checked(check):
    check()
"""


def test_one_test_for_each_law(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-rsxX", "-p", "no:cacheprovider", "test_mine.py"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])},
    )
    found = dict(re.findall(r"test_mine\.py::(\S+) (\w+)", done.stdout))
    assert found == {
        "test_good[good-1-attention_weights]": "SKIPPED",
        "test_good[good-1-attention_output]": "SKIPPED",
        "test_good[good-2-shapes]": "PASSED",
        "test_good[module2-1-attention_weights]": "SKIPPED",
        "test_good[module2-1-attention_output]": "SKIPPED",
        "test_good[module2-2-shapes]": "PASSED",
        "test_broken[mean-8-loss_additivity]": "FAILED",
        "test_expected[mean-2-shapes]": "FAILED",  # it holds, unexpectedly
        "test_expected[mean-8-loss_additivity]": "XFAIL",
        "test_not_checked[good-1-attention_weights]": "FAILED",  # and this was not violated
        "test_not_checked[good-1-attention_output]": "SKIPPED",
    }, done.stdout
    assert "LawsViolated: MeanOfMeans violates 1 of 1 laws" in done.stdout
    assert "is not checked: it reports no attention weights" in done.stdout
    assert "[XPASS(strict)] it does not, in truth" in done.stdout


def test_an_unknown_law_is_refused() -> None:
    with pytest.raises(ValueError, match="expected laws by number"):
        module_checks([], expected_failures={"spilt": "a slip"})
