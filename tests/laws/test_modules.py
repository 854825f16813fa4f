"""Every law on every architecture and on a user's module; thorough.py has many cases."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from modules import MODULES

import seqlearn as sl
from seqlearn.testing import LAWS, TASKS, module_checks

EXAMPLES = 3
ALONE = {"compiled": 1, "overfit a small batch": 1}
"""Laws with a test of their own, and the number of examples there."""


# torch.compile cannot trace the run-time checks of shapes: another process runs without them.
@pytest.mark.filterwarnings("ignore:FeedForward reads the last:UserWarning")
@module_checks(MODULES, laws=[law.name for law in LAWS if law.name not in ALONE], examples=EXAMPLES)
def test_each_law_holds(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize(
    ("law", "names"),
    [
        pytest.param("overfit a small batch", ["RNN", "Transformer"], id="overfit-two"),
        pytest.param("overfit a small batch", list(MODULES), id="overfit", marks=pytest.mark.slow),
        pytest.param("compiled", list(MODULES), id="compiled", marks=pytest.mark.slow),
    ],
)
def test_a_law_alone_holds(law: str, names: list[str]) -> None:
    """Without the run-time checks of shapes, which cannot be compiled."""
    here = Path(__file__).parent
    words = ["--laws", law, "--examples", str(ALONE[law]), "--only", *names]
    done = subprocess.run(
        [sys.executable, here / "thorough.py", *words],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=os.environ | {"PYTHONPATH": str(here.parents[1])},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("1 laws held, 0 violated, 0 not checked") == len(names)


@pytest.mark.parametrize("name", MODULES)
def test_each_architecture_serves_each_task_but_one(name: str) -> None:
    """So that no law skips a module unnoticed."""
    for task, spec in TASKS.items():
        if (name, task) == ("AttentionSeq2Seq", "language-modeling"):
            with pytest.raises(ValueError, match="use RNN, GRU, LSTM, FeedForward or Transformer"):
                sl.AttentionSeq2Seq(spec)
        else:
            MODULES[name](spec)
