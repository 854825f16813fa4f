"""One run of a comparison, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from tiny_comparison import TASKS, Letters, Stop

import seqlearn as sl
from seqlearn.comparison.evaluation import by_length, length_groups, memory
from seqlearn.comparison.job import Job, read_json
from seqlearn.comparison.timing import Timing, measure_times
from seqlearn.comparison.training import build_model
from seqlearn.comparison.worker import run
from seqlearn.data.sources.recall import RecallTask

OPTIONS: dict[str, Any] = {"max_epochs": 2, "accelerator": "cpu"}


def job(folder: Path, task: str = "text", **changes: Any) -> Job:
    options = {"d_model": 8, "bidirectional": False}
    given: dict[str, Any] = {"trainer": OPTIONS}
    return Job("GRU", sl.GRU, options, 1, Letters(task), folder, **(given | changes))


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    """What a repeated run must reproduce."""
    plain = json.loads(json.dumps(result))
    training = plain["training"]
    for name in ("cpu_seconds", "wall_seconds", "seconds"):
        del training[name]
    for points in (training["losses"], training["validations"]):
        for point in points:
            point[1] = 0.0
    return plain


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_measured(task: str, tmp_path: Path) -> None:
    result = run(job(tmp_path, task), lambda _: None)
    assert result == read_json(tmp_path / "result.json")
    assert result["split"] == "test"
    assert result["roles"] == {"recurrent": True, "attention": False}
    assert result["training"]["epochs"] == 2
    assert result["training"]["checkpoint"] == "trained.ckpt", "relative, so that folders can move"
    assert result["training"]["seconds"] > 0
    assert [len(point[2]) > 0 for point in result["training"]["validations"]] == [True, True]
    for key in ("gradient_before", "gradient", "by_length", "samples", "recording"):
        assert "error" not in result[key], (key, result[key])
    assert len(result["gradient"]["curve"]) == (7 if task == "language model" else 6)
    assert sum(group["examples"] for group in result["by_length"]["groups"]) == 20
    assert [len(sample) for sample in result["samples"]] == [3] * 6
    assert sl.Recording.load(tmp_path / "recording.safetensors").states
    assert "memory" not in result
    wanted = {"text": "exact_match", "class": "accuracy", "series": "accuracy"}
    if task in wanted:
        groups = result["by_length"]["groups"]
        right = sum(group["right"] * group["examples"] for group in groups) / 20
        assert right == pytest.approx(result["figures"][wanted[task]], abs=1e-6)
    if task == "vector":
        groups = result["by_length"]["groups"]
        loss = sum(group["loss"] * group["examples"] for group in groups) / 20
        assert loss == pytest.approx(result["figures"]["loss"], rel=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_stopped_run_continues_as_if_it_had_not(tmp_path: Path) -> None:
    whole = run(job(tmp_path / "whole"), lambda _: None)
    stop = Stop(whole["training"]["steps"] // 2, tmp_path / "sent")
    stopped = job(tmp_path / "stopped", trainer=OPTIONS | {"callbacks": [stop]})
    with pytest.raises(SystemExit) as ended:
        run(stopped, lambda _: None)
    assert ended.value.code == 143
    assert not stopped.result.exists()
    continued = run(stopped, lambda _: None)
    assert without_times(continued) == without_times(whole)
    weights = [torch.load(each / "trained.ckpt") for each in (tmp_path / "whole", stopped.folder)]
    for name, tensor in weights[0]["state_dict"].items():
        assert torch.equal(tensor, weights[1]["state_dict"][name]), name
    before = stopped.result.stat().st_mtime_ns
    assert run(stopped, lambda _: None) == continued
    assert stopped.result.stat().st_mtime_ns == before


def test_a_seed_decides_the_weights(tmp_path: Path) -> None:
    one, same, other = (
        build_model(Job("GRU", sl.GRU, {"d_model": 8}, seed, Letters("class"), tmp_path))
        for seed in (1, 1, 2)
    )
    assert (one.recipe.seed, other.recipe.seed) == (1, 2)
    assert torch.equal(one.head.weight, same.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_budget_is_planned_once(tmp_path: Path) -> None:
    trainer = {"accelerator": "cpu"}
    made = job(tmp_path, "class", trainer=trainer, minutes=0.3 / 60, detailed=False)
    result = run(made, lambda _: None)
    plan = read_json(tmp_path / "plan.json")
    assert result["training"]["steps"] == plan["steps"]
    assert plan["steps"] == max(1, round(0.3 / plan["seconds_per_step"]))
    assert 0.05 < result["training"]["seconds"] < 3.0
    assert len(result["training"]["validations"]) <= 11
    assert "samples" not in result


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_best_weights_are_evaluated_if_a_metric_is_monitored(tmp_path: Path) -> None:
    best = ModelCheckpoint(tmp_path / "best", monitor="val/loss", mode="min")
    made = job(tmp_path / "run", "class", trainer=OPTIONS | {"callbacks": [best]})
    training = run(made, lambda _: None)["training"]
    assert training["best"]
    assert Path(training["checkpoint"]) == Path(best.best_model_path)
    assert Path(training["checkpoint"]).parent == tmp_path / "best"


@pytest.mark.parametrize("task", ["sequence-to-vector", "language-modeling"])
def test_memory_is_measured_at_other_distances(task: RecallTask) -> None:
    data = sl.data.Recall(
        4, task=task, languages=["de", "fr"], train_examples=60, held_out_examples=12
    )
    model = sl.FeedForward(data.spec, d_model=4, window=18)  # reads a distance of 7 at most
    found = memory(model, data)
    assert found["trained"] == 4
    assert [distance for distance, _ in found["points"]] == [0, 1, 3, 4, 10]
    shares = [share for _, share in found["points"]]
    assert all(0 <= share <= 1 for share in shares[:4])
    if task == "sequence-to-vector":
        assert shares[4]["error"].startswith("ValueError: FeedForward reads at most window=18")
    else:
        assert shares[4] == 0.0  # an untrained model names no language


def test_groups_of_lengths_are_about_equal() -> None:
    lengths = torch.arange(1, 101).numpy()
    assert [high - low + 1 for low, high in length_groups(lengths)] == [20] * 5


def test_equal_lengths_are_no_groups() -> None:
    class Same(Letters):
        def examples(self, split: str) -> Any:
            return [("ab", "ba"), ("cd", "dc")]

    data = Same()
    assert by_length(sl.GRU(data.spec, d_model=4), data, "test") == {
        "error": "all examples have the length 2"
    }


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_times_of_all_models_and_why_one_is_missing(tmp_path: Path) -> None:
    spec = Letters().spec
    models = []
    for name, model in (
        ("GRU", sl.GRU(spec, d_model=4)),
        ("FeedForward", sl.FeedForward(spec, d_model=4, window=8)),
    ):
        path = tmp_path / f"{name}.ckpt"
        save(model, path)
        models.append((name, type(model), str(path)))
    timing = Timing(tuple(models), (8, 16), 1, "cpu", tmp_path / "times.json")
    found = measure_times(timing, lambda _: None)
    for length, middle, least, most in found["times"]["GRU"]:
        assert length in (8, 16)
        assert 0 < least <= middle <= most
    assert len(found["times"]["FeedForward"][0]) == 4
    length, reason = found["times"]["FeedForward"][1]
    assert length == 16
    assert reason.startswith("ValueError: FeedForward reads at most window=8 tokens")
    assert found == read_json(tmp_path / "times.json")
    assert measure_times(timing, lambda _: None) == found


class Denormal(sl.GRU):
    """Asks whether the product of two small numbers is zero."""

    zeros: ClassVar[list[bool]] = []

    def compute_loss(self, batch: sl.SequenceBatch) -> Any:
        self.zeros.append(not bool(torch.full((), 2e-38) * 0.5))
        return super().compute_loss(batch)


def test_a_vanished_gradient_does_not_make_steps_slow(tmp_path: Path) -> None:
    can = torch.set_flush_denormal(True)
    torch.set_flush_denormal(False)
    path = tmp_path / "model.ckpt"
    save(Denormal(Letters().spec, d_model=4), path)
    timing = Timing((("GRU", Denormal, str(path)),), (8,), 1, "cpu", tmp_path / "times.json")
    assert measure_times(timing, lambda _: None)["denormals_are_zero"] == can
    assert set(Denormal.zeros) == {can}
    assert bool(torch.full((), 2e-38) * 0.5)  # as before


def save(model: sl.SequenceModule, path: Path) -> None:
    """Write a checkpoint without training."""
    trainer = L.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path)
