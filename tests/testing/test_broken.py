"""Laws can fail: each broken module is found by its law."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from testing.broken import BROKEN

from seqlearn.testing import LAWS, LawsViolated, check_module

# torch.compile cannot trace the run-time checks of shapes; see below for another process.
HERE = {name: broken for name, broken in BROKEN.items() if broken.law != "compiled"}


def test_each_law_has_a_module_that_breaks_it() -> None:
    assert {broken.law for broken in BROKEN.values()} == {law.name for law in LAWS}


@pytest.mark.parametrize("name", HERE)
def test_its_law_finds_it(name: str) -> None:
    broken = BROKEN[name]
    with pytest.raises(LawsViolated) as caught:
        check_module(broken, laws=[broken.law], examples=40)
    report = caught.value.report
    assert report.violated == [broken.law]
    case = report.outcomes[broken.law].counterexample
    assert f"{broken.law}: {report.outcomes[broken.law].law.says}" in str(caught.value)
    assert case.found in str(caught.value)
    if not report.outcomes[broken.law].law.drawn:
        assert case.drawn["examples"], "it names the batch"
        return
    # Shrunk: each needs two examples of a few tokens at most.
    assert len(case.drawn.get("examples", [])) <= 4
    assert sum(len(part) for pair in case.drawn.get("examples", []) for part in pair if part) <= 12


@pytest.mark.parametrize("name", ["PaddedBackwardDirection", "PooledOfAnEmptySource"])
def test_the_counterexample_can_be_built_again(name: str) -> None:
    """It shows the fault when built by hand."""
    broken = BROKEN[name]
    with pytest.raises(LawsViolated) as caught:
        check_module(broken, laws=[broken.law], examples=40)
    module, batch = caught.value.report.outcomes[broken.law].counterexample.build(broken)
    memory = module.encode(batch.source, batch.source_lengths)
    if name == "PaddedBackwardDirection":
        wide = torch.nn.functional.pad(batch.source, (0, 1))
        other = module.encode(wide, batch.source_lengths)
        assert (memory.pooled - other.pooled).abs().max() > 1e-4
    else:
        assert memory.pooled[batch.source_lengths == 0].abs().max() > 0.5


def test_indistinguishable_examples_are_named() -> None:
    broken = BROKEN["ReadsABagOfTokens"]
    with pytest.raises(LawsViolated) as caught:
        check_module(broken, laws=["overfit a small batch"])
    found = caught.value.report.outcomes["overfit a small batch"].counterexample.found
    # The first token of both has probability one half; all others are right.
    assert found.startswith("9 of 11 are right after 400 steps; the loss goes from ")
    assert found.endswith("; the sources [7, 6] and [6, 7] give the same output")


def found_in_another_process(name: str, laws: list[str] | None) -> set[str]:
    """The laws that a broken module violates, without the run-time checks of shapes."""
    code = f"""
import warnings
warnings.filterwarnings("ignore")
from testing.broken import BROKEN
from seqlearn.testing import LawsViolated, check_module
try:
    check_module(BROKEN[{name!r}], laws={laws!r})
except LawsViolated as error:
    print(*error.report.violated, sep=";")
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])},
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.strip().split(";"))


def test_the_law_of_compiling_finds_its_module() -> None:
    assert found_in_another_process("OtherwiseWhenCompiled", ["compiled"]) == {"compiled"}


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_only_what_follows_breaks_too(name: str) -> None:
    """Of all laws."""
    broken = BROKEN[name]
    found = found_in_another_process(name, None)
    assert broken.law in found
    assert found <= {broken.law} | broken.follows
