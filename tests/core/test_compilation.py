"""`SequenceModule.compile`: equal results, one graph per block, and no graph for each length."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import seqlearn as sl
from seqlearn.testing import TASKS

SHORT = ["Transformer", "AttentionSeq2Seq", "FeedForward", "blocks of torch"]
LONG = ["pre-norm, rotary", "language model"]
RECURRENT = ["LSTM", "GRU", "RNN"]
COMPILED = [*SHORT, *(pytest.param(name, marks=pytest.mark.slow) for name in LONG)]


@cache
def run_in_another_process(backend: str, *names: str) -> dict[str, Any]:
    """What `compiled_run.py` prints."""
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-W", "ignore", here / "compiled_run.py", backend, *names],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=os.environ | {"PYTHONPATH": str(here.parents[1])},
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def found(name: str) -> Any:
    """The results of one module, or of the training with the Trainer."""
    names = LONG if name in LONG else [*SHORT, *RECURRENT, "fit"]
    return run_in_another_process("eager", *names)[name]


@pytest.mark.parametrize("name", [*COMPILED, *RECURRENT])
def test_results_are_those_of_the_uncompiled_module(name: str) -> None:
    """Losses and gradients with dropout, evaluation, generation and recording."""
    run = found(name)
    assert run["train"] < 1e-5
    assert run["losses True"] == pytest.approx(run["losses False"], rel=1e-5)
    assert run["generated"]
    assert run["recorded"]
    assert run["names"]


@pytest.mark.parametrize("name", COMPILED)
def test_one_graph_per_kind_of_block_and_mode_serves_all_sizes(name: str) -> None:
    run = found(name)
    # FeedForward has two blocks of one class, with inputs of two and of three axes. In a block of
    # torch the first trace makes a probability an input, and is repeated with a constant.
    expected = {"FeedForward": (2, 4), "blocks of torch": (2, 3)}
    kinds = run["blocks"]
    assert (run["training graphs"], run["graphs"]) == expected.get(name, (kinds, 2 * kinds))
    assert run["training graphs"] > 0
    assert run["graphs in the end"] == run["graphs"], "generation and recording run uncompiled"
    assert run["broken"] == 0
    assert run["said"] == ""


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers_are_left_to_their_kernel(name: str) -> None:
    run = found(name)
    assert run["graphs in the end"] == 0
    assert f"{name}.compile: there is nothing to compile" in run["said"]


def test_a_fit_is_that_of_the_uncompiled_module_and_resumes_uncompiled() -> None:
    assert found("fit") < 1e-5
    assert found("resumed") < 1e-5


def test_compiled_steps_are_refused() -> None:
    assert "call module.compile()" in found("refused")
    assert found("uncompiled again")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Transformer", "AttentionSeq2Seq", "FeedForward"])
def test_results_of_generated_code(name: str) -> None:
    if shutil.which("g++") is None:
        pytest.skip("inductor makes C++, and there is no g++ on this machine")
    run = run_in_another_process("inductor", "Transformer", "AttentionSeq2Seq", "FeedForward")[name]
    assert run["train"] < 1e-4
    assert run["losses True"] == pytest.approx(run["losses False"], rel=1e-4)


class Halves(sl.GRU):
    """A module with an encoder without parts of its own."""

    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=4)
        self.encoder = nn.Identity()  # type: ignore[assignment]


def test_an_encoder_without_parts_is_one_block() -> None:
    (block,) = Halves(TASKS["sequence-to-sequence"]).blocks_to_compile()
    assert isinstance(block, nn.Identity)


def test_a_copy_is_uncompiled_and_equal() -> None:
    torch.manual_seed(0)
    model = sl.Transformer(TASKS["sequence-to-sequence"], d_model=4, num_layers=1, num_heads=1)
    model.compile(backend="eager")
    other = copy.deepcopy(model)
    assert all(part._compiled_call_impl is None for part in other.modules())
    assert [*other.state_dict()] == [*model.state_dict()]
    assert other.generate([[4, 5]], max_new_tokens=3) == model.generate([[4, 5]], max_new_tokens=3)
