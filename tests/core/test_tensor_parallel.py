"""Tensor parallelism on two processes equals one process, and loads on one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from ranks import run_script
from sharded_processes import Pairs
from tensor_parallel_ranks import VARIANTS, answers, build, train
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

import seqlearn as sl
from seqlearn.core.tensor_parallel import parallelize
from seqlearn.nn import FeedForwardBlock, MultiHeadAttention
from seqlearn.testing import TASKS, batch_of


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """One variant, with few steps."""
    folder = tmp_path_factory.mktemp("divided")
    arguments = ["--variants", "post", "--steps", "5"]
    return folder, run_script(folder, "tensor_parallel_ranks.py", *arguments)


def check_weights(found: dict[str, Any], expected: dict[str, Any], most: float) -> None:
    """Check that weights have the same names and are nearly equal."""
    assert set(found) == set(expected)
    for key, weight in expected.items():
        torch.testing.assert_close(found[key], weight, atol=most, rtol=0)


def check_variant(folder: Path, ranks: list[dict[str, Any]], variant: str, steps: int) -> None:
    """Compare a variant with one process."""
    data, place = Pairs(), folder / variant
    one = {"devices": 1, "max_steps": steps}
    plain = train(folder, data, build(data, variant), "auto", **one)
    longer = train(folder, data, build(data, variant), "auto", **(one | {"max_steps": steps + 2}))
    loaded = sl.Transformer.load_from_checkpoint(place / "sharded.ckpt").double()
    expected = answers(loaded)
    for rank in ranks:
        found = rank[variant]
        assert found["loss"] == pytest.approx(plain["loss"], abs=1e-9)
        assert found["figures"] == pytest.approx(plain["figures"], abs=1e-6)
        check_weights(found["weights"], plain["weights"], 1e-9)
        check_weights(found["resumed"], longer["weights"], 1e-9)
        assert found["texts"] == expected["texts"]
        torch.testing.assert_close(found["scores"], expected["scores"], atol=1e-4, rtol=1e-4)
        assert set(found["attention"]) == set(expected["attention"])
        for name, weights in expected["attention"].items():
            torch.testing.assert_close(found["attention"][name], weights, atol=1e-5, rtol=1e-4)
    pretrained = sl.Transformer.from_pretrained(place / "pretrained").double()
    one_file = sl.Transformer.load_from_checkpoint(place / "one-file.ckpt")
    for model, name in ((loaded, "weights"), (pretrained, "weights"), (one_file, "resumed")):
        for key, weight in ranks[0][variant][name].items():
            torch.testing.assert_close(model.state_dict()[key].float(), weight.float())


def test_two_processes_equal_one(short: Any) -> None:
    check_variant(*short, "post", 5)


@pytest.mark.slow
def test_every_variant_equals_one_process_after_20_steps(tmp_path: Path) -> None:
    ranks = run_script(tmp_path, "tensor_parallel_ranks.py")
    for variant in VARIANTS:
        check_variant(tmp_path, ranks, variant, 20)


def test_a_replica_counts_its_batches_once(short: Any) -> None:
    for rank in short[1]:
        assert rank["counted"] == 3


def test_random_numbers_are_equal_where_they_must_be(short: Any) -> None:
    first, second = (rank["random"] for rank in short[1])
    assert first["sampled"] == second["sampled"]
    assert any(first["sampled"])
    for rank in (first, second):
        for name in ("embedding", "norm", "own mask", "after"):
            assert rank[name], name
        assert "expected the same arguments on all ranks" in rank["unequal"]


def test_an_architecture_without_such_parts_is_refused(short: Any) -> None:
    for rank in short[1]:
        assert "GRU has no part that tensor parallelism divides" in rank["GRU"]


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[DeviceMesh]:
    """A mesh of this process alone."""
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_a_part_that_shares_a_weight_stays_whole(mesh: DeviceMesh) -> None:
    model = sl.Transformer(TASKS["sequence-to-sequence"], d_model=8, num_heads=2, num_layers=2)
    batch = batch_of(model.spec, [([4, 5], [6]), ([], [4, 5])])
    first, second = model.eval().encoder.layers
    second.feedforward.inner.weight = first.feedforward.inner.weight
    expected = model(batch)
    parallelize(model, "Transformer", mesh)
    assert second.feedforward.inner.weight is first.feedforward.inner.weight
    assert not isinstance(first.feedforward.outer.weight, DTensor)
    assert isinstance(first.self_attention.projection.weight, DTensor)
    assert isinstance(model.decoder.layers[0].feedforward.inner.weight, DTensor)
    torch.testing.assert_close(model(batch), expected)


class TwoRanks(DeviceMesh):
    """A mesh that has only a size."""

    def __init__(self) -> None:
        pass

    def size(self, mesh_dim: int | None = None) -> int:
        return 2


def test_a_number_of_ranks_that_does_not_fit_is_refused() -> None:
    two = TwoRanks()
    with pytest.raises(ValueError, match=r"tensor_parallel_size that divides num_heads=3, got 2"):
        MultiHeadAttention(6, 3).tensor_parallelize(two)
    with pytest.raises(ValueError, match=r"tensor_parallel_size that divides d_feedforward=9"):
        FeedForwardBlock(4, 9, 0.0).tensor_parallelize(two)
