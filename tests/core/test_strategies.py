"""The table in `docs/strategies.md`: each option works, or is refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import run_script

import seqlearn as sl

pytestmark = pytest.mark.slow

WORKS = ("bf16-mixed", "bf16-true", "observers", "clip by value", "accumulate", "recomputed")
DEPENDS = {
    "64-true": "does not support `Fabric(..., precision='64-true')`",
    "16-mixed": "does not support `Fabric(..., precision='16-mixed')`",
    "average": "CheckpointAverage does not work with ModelParallelStrategy",
    "ema": "EMAWeightAveraging does not work with ModelParallelStrategy",
    "swa": "StochasticWeightAveraging does not work with ModelParallelStrategy",
    "compiled": "a compiled module cannot be sharded",
}
"""What DDP can and a model that is sharded cannot, and what is said of it."""

Found = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Found]:
    """What the ranks of each strategy found; checkpoints go from one strategy to another."""
    root = tmp_path_factory.mktemp("strategies")

    def run(strategy: str, *others: str) -> list[dict[str, Any]]:
        count = 1 if strategy == "one" else 2
        paths = [str(root / other) for other in others]
        return run_script(root / strategy, "strategy_matrix.py", strategy, *paths, count=count)

    forms = ("sharded.ckpt", "one-file.ckpt")
    return root, {
        "fsdp2": run("fsdp2"),
        "tensor": run("tensor", *(f"fsdp2/{form}" for form in forms)),
        "ddp": run("ddp", "fsdp2/sharded.ckpt", "tensor/sharded.ckpt"),
        "one": run("one", "fsdp2/sharded.ckpt", "tensor/sharded.ckpt", "ddp/file.ckpt"),
    }


def ranks(found: tuple[Path, Found], *strategies: str) -> list[dict[str, Any]]:
    """What all ranks of these strategies found."""
    return [rank for name in strategies for rank in found[1][name]]


def check_close(one: Any, other: Any) -> None:
    """Check that the weights of two runs are equal up to rounding.

    A bias of all keys changes no attention weight: its gradient is rounding, which AdamW magnifies.
    """
    assert set(one["weights"]) == set(other["weights"])
    for key in one["weights"]:
        pair = [each["weights"][key] for each in (one, other)]
        if key.endswith("projection.bias"):
            pair = [torch.cat([each[:8], each[16:]]) for each in pair]
        torch.testing.assert_close(*pair, atol=1e-4, rtol=1e-3)


ALL = ("one", "ddp", "fsdp2", "tensor")


@pytest.mark.parametrize("strategy", ALL)
def test_what_works_with_every_strategy(found: Any, strategy: str) -> None:
    for rank in ranks(found, strategy):
        plain = rank["plain"]
        for name in WORKS:
            assert isinstance(rank[name], dict), rank[name]
            loss = rank[name]["figures"]["val/loss"]
            assert loss == pytest.approx(plain["figures"]["val/loss"], rel=0.1), name
        assert "val/bleu" in rank["observers"]["figures"]
        assert any(name.startswith("attention_entropy/") for name in rank["observers"]["figures"])
        check_close(plain, rank["observers"])
        check_close(plain, rank["recomputed"])


@pytest.mark.parametrize("name", DEPENDS)
def test_what_works_with_whole_models_is_refused_for_sharded_ones(found: Any, name: str) -> None:
    for rank in ranks(found, "one", "ddp"):
        assert isinstance(rank[name], dict), rank[name]
        loss = rank["plain"]["figures"]["val/loss"]
        assert rank[name]["figures"]["val/loss"] == pytest.approx(loss, rel=0.2)
    for rank in ranks(found, "fsdp2", "tensor"):
        assert DEPENDS[name] in rank[name]


@pytest.mark.parametrize("strategy", ["one", "ddp"])
def test_compiled_runs_equal_uncompiled_ones(found: Any, strategy: str) -> None:
    for rank in ranks(found, strategy):
        check_close(rank["plain"], rank["compiled"])


def test_strategies_agree(found: Any) -> None:
    """One replica on two processes is one process, and two replicas are two with DDP."""
    for strategies in (("one", "tensor"), ("ddp", "fsdp2")):
        first, *others = ranks(found, *strategies)
        for other in others:
            for name in ("plain", "clip by value", "accumulate"):
                check_close(first[name], other[name])
            assert other["answers"]["tested"] == pytest.approx(first["answers"]["tested"], abs=1e-4)


def test_fused_optimizers(found: Any) -> None:
    for rank in ranks(found, "one", "ddp", "fsdp2"):
        check_close(rank["not fused"], rank["fused"])
    for rank in ranks(found, "tensor"):
        assert "AdamW(fused=True) does not work with tensor parallelism" in rank["fused"]
        assert isinstance(rank["not fused"], dict)


@pytest.mark.parametrize("strategy", ALL)
def test_predictions_are_those_of_the_loaded_model(found: Any, strategy: str) -> None:
    """Each example once, in the order of the data."""
    folder = found[0] / strategy
    lines = (folder / "predictions.txt").read_text(encoding="utf-8").splitlines()
    model = sl.Transformer.from_pretrained(folder / "pretrained")
    texts = ["abcdefghij"[i % 5 : i % 5 + 1 + i * i % 7] for i in range(23)]
    assert lines == ranks(found, strategy)[0]["answers"]["predicted"] == model.generate(texts)


def test_sharded_models_are_not_pushed(found: Any) -> None:
    for rank in ranks(found, "fsdp2", "tensor"):
        assert "push_to_hub needs a whole module" in rank["answers"]["pushed"]


@pytest.mark.parametrize("strategy", ["tensor", "ddp", "one"])
def test_checkpoints_of_other_strategies(found: Any, strategy: str) -> None:
    for rank in ranks(found, strategy):
        assert rank["continued"]
        for path, run in rank["continued"].items():
            saver = ranks(found, Path(path).parent.name)[0]["answers"]["tested"]
            assert run["tested"]["test/loss"] == pytest.approx(saver["test/loss"], abs=1e-4)
            assert run["steps"] == 6
