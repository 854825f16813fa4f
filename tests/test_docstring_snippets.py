"""Fenced code in docstrings, which doctest does not run, runs too."""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel

import seqlearn as sl
from seqlearn.data.sources.download import download
from seqlearn.nn.tensor_parallel import TensorParallel

PACKAGE = Path(__file__).resolve().parent.parent / "seqlearn"
FENCE = re.compile(r"^( *)```python\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
FOUND = [
    (path.relative_to(PACKAGE).as_posix(), textwrap.dedent(found[2]))
    for path in sorted(PACKAGE.rglob("*.py"))
    for found in FENCE.finditer(path.read_text(encoding="utf-8"))
]
SNIPPETS = dict(FOUND)


def test_all_fenced_code_has_a_test() -> None:
    assert [file for file, _ in FOUND] == [
        "core/exporting.py", "core/steps.py", "data/sources/download.py", "nn/tensor_parallel.py"
    ]  # fmt: skip


def test_a_loss_with_a_term_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"__module__": __name__, "penalty": lambda self, batch: torch.tensor(3.0)}
    space: dict[str, Any] = {}
    # `super()` needs a class around it.
    code = "class Penalized(Base):\n" + textwrap.indent(SNIPPETS["core/steps.py"], "    ")
    exec(code, {"Base": sl.GRU}, space)
    for name, value in body.items():
        setattr(space["Penalized"], name, value)
    data = sl.data.TextPairs([("ab", "xy")], source=sl.data.Text(), target=sl.data.Text())
    batch = next(iter(data.train_dataloader()))
    torch.manual_seed(0)
    plain = sl.GRU(data.spec, d_model=4, dropout=0.0)
    torch.manual_seed(0)
    penalized = space["Penalized"](data.spec, d_model=4, dropout=0.0)
    for model in (plain, penalized):
        monkeypatch.setattr(model, "log", lambda *args, **options: None)
    difference = penalized.training_step(batch, 0) - plain.training_step(batch, 0)
    assert difference.item() == pytest.approx(0.1 * 3.0 * float(batch.loss_weight), rel=1e-4)


def test_a_part_that_says_how_it_is_divided() -> None:
    plans: list[dict[str, Any]] = []
    space: dict[str, Any] = {
        "nn": nn,
        "ColwiseParallel": ColwiseParallel,
        "RowwiseParallel": RowwiseParallel,
        "parallelize_module": lambda module, mesh, plan: plans.append(plan),
    }
    exec(SNIPPETS["nn/tensor_parallel.py"], space)
    block = space["GatedBlock"]()
    assert isinstance(block, TensorParallel)
    block.tensor_parallelize(None)
    assert [set(plan) for plan in plans] == [{"gate", "inner", "outer"}]


def test_calls_that_need_a_network_fit_the_signatures() -> None:
    """Their own tests have a server; here only names and number of the arguments are checked."""
    called: list[inspect.BoundArguments] = []

    class Model:
        def to_page(self, *args: Any, **options: Any) -> None:
            called.append(inspect.signature(sl.Transformer.to_page).bind(self, *args, **options))

    def fetch(*args: Any, **options: Any) -> None:
        called.append(inspect.signature(download).bind(*args, **options))

    exec(SNIPPETS["core/exporting.py"], {"model": Model()})
    exec(SNIPPETS["data/sources/download.py"], {"download": fetch})
    assert len(called) == 2
