"""`sl.compare` with processes, a failing model and a report."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from tiny_comparison import Failing, Fixed, Letters

import seqlearn as sl
from seqlearn.comparison import comparing
from seqlearn.comparison.folder import describe_trainer, identify_trainer
from seqlearn.comparison.job import write_json
from seqlearn.comparison.processes import run_tasks
from seqlearn.comparison.timing import measure_times
from seqlearn.comparison.training import with_defaults

TRAINER = {"max_epochs": 1, "accelerator": "cpu"}


def time_here(tasks: Any, jobs: int, progress: Any) -> dict[str, str]:
    """Run tasks in processes, except for the timing: a start takes seconds."""
    if tasks and tasks[0].name == comparing.TIMING:
        measure_times(pickle.loads(tasks[0].payload), lambda _: None)
        return {}
    return run_tasks(tasks, jobs, progress)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sl.Comparison]:
    """A model that works and one that fails, in processes of their own."""
    folder = tmp_path_factory.mktemp("comparison") / "here"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparing, "run_tasks", time_here)
        models = ["GRU", Failing]
        options: dict[str, Any] = {"parameters": 8_000, "jobs": 2, "trainer": TRAINER, "threads": 1}
        yield sl.compare(Letters("class"), models, directory=folder, **options)


def test_a_failure_is_one_row_with_its_reason(compared: sl.Comparison) -> None:
    good, bad = compared.table()
    assert bad["failed"] == "RuntimeError: the thing is broken"
    assert good["failed"] is None
    assert 0 <= good["accuracy"] <= 1
    assert good["accuracy_interval"] is None
    assert abs(good["parameters"] / 8_000 - 1) < 0.05
    log = (compared.folder / "runs" / "Failing-seed0" / "log.txt").read_text(encoding="utf-8")
    assert log.rstrip().endswith("thing is broken")
    assert (
        str(compared).splitlines()[-1]
        == "Failing: failed: seed 0: RuntimeError: the thing is broken"
    )


def test_the_report_is_complete_and_asks_no_host(compared: sl.Comparison) -> None:
    page = (compared.folder / "report.html").read_text(encoding="utf-8")
    assert page.count('<tr class="failed">') == 1
    assert "RuntimeError: the thing is broken" in page
    assert "seqlearn-viewer" in page
    namespaces = {"http://www.w3.org/2000/svg"}
    assert set(re.findall(r"https?://[^\s\"'<>)]+", page)) <= namespaces
    assert not re.search(r"<(?:link|img|script)[^>]+(?:src|href)=", page)
    assert len(set(re.findall(r' id="([^"]+)"', page))) == len(re.findall(r' id="([^"]+)"', page))
    text = (compared.folder / "report.md").read_text(encoding="utf-8")
    assert text == compared.to_markdown()
    assert "| Failing | failed: seed 0: RuntimeError: the thing is broken |" in text
    content = json.loads((compared.folder / "report.json").read_text(encoding="utf-8"))
    assert content == json.loads(compared.to_json()) == compared.content
    assert [row[0] for row in content["times"]["times"]["GRU"]] == [8, 16, 32, 64, 128, 256]
    assert "failed: seed 0" in compared._repr_html_()
    assert sl.Comparison.load(compared.folder).table() == compared.table()


def test_complete_runs_are_not_repeated(
    compared: sl.Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def fail(tasks: Any, jobs: int, progress: Any) -> dict[str, str]:
        started.extend(task.name for task in tasks)
        return {task.name: "still broken" for task in tasks}

    monkeypatch.setattr(comparing, "run_tasks", fail)
    arguments: dict[str, Any] = {"parameters": 8_000, "directory": compared.folder, "threads": 1}
    again = sl.compare(Letters("class"), ["GRU", Failing], trainer=TRAINER, **arguments)
    assert started == ["Failing, seed 0"]
    assert again.table()[0] == compared.table()[0]
    assert again.table()[1]["failed"] == "still broken"
    with pytest.raises(FileExistsError, match=r"GRU-seed0 has the result of a run with another tr"):
        sl.compare(Letters("class"), ["GRU"], trainer=TRAINER | {"max_epochs": 2}, **arguments)
    with pytest.raises(FileExistsError, match="a run with another init_args, data"):
        sl.compare(Letters("series"), ["GRU"], trainer=TRAINER, **arguments)


def test_an_unfinished_run_with_other_settings_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        comparing, "run_tasks", lambda tasks, *_: {t.name: "stopped" for t in tasks}
    )
    folder = tmp_path / "comparison"
    arguments: dict[str, Any] = {"parameters": "given", "directory": folder}
    sl.compare(Letters("class"), [Fixed], trainer=TRAINER, **arguments)
    kept = folder / "runs" / "Fixed-seed0" / "checkpoints" / "running.ckpt"
    write_json(kept, {})
    sl.compare(Letters("class"), [Fixed], trainer=TRAINER, **arguments)
    assert kept.exists()
    sl.compare(Letters("class"), [Fixed], trainer=TRAINER | {"max_epochs": 2}, **arguments)
    assert not kept.exists()


def test_a_model_that_cannot_be_built_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        comparing, "run_tasks", lambda tasks, *_: {t.name: "stopped" for t in tasks}
    )
    models = [("Transformer", {"num_heads": 3, "d_model": 8}), "GRU"]
    found = sl.compare(Letters("class"), models, directory=tmp_path, trainer=TRAINER)
    first, second = found.table()
    assert first["failed"].startswith("ValueError: ")
    assert second["failed"] == "stopped"
    assert found.content["models"][1]["parameters"] == sum(
        p.numel() for p in sl.GRU(Letters("class").spec).encoder.parameters()
    ) + sum(
        p.numel()
        for part in ("head", "source_embedding")
        for p in getattr(sl.GRU(Letters("class").spec), part).parameters()
    )


class _NoTest(Letters):
    def examples(self, split: str) -> Any:
        return super().examples(split) if split == "train" else []


@pytest.mark.parametrize(
    ("data", "arguments", "error", "said"),
    [
        ("class", {"seeds": [0, 0]}, ValueError, "seeds: expected different whole numbers"),
        ("class", {"seeds": []}, ValueError, "at least one, got []"),
        ("class", {"jobs": 0}, ValueError, "jobs"),
        ("class", {"budget": 0.0}, ValueError, "budget: expected minutes above 0, got 0.0"),
        ("class", {"parameters": "equal"}, ValueError, "expected 'first', 'given' or a number"),
        ("class", {"trainer": {"devices": 2}}, ValueError, "leave out devices"),
        ("class", {"budget": 1.0, "trainer": TRAINER}, ValueError, "max_epochs of the Trainer"),
        ("class", {"seeds": 3}, TypeError, "expected a list of whole numbers, got 3; pass [3]"),
        ("class", {"trainer": {"max_epoch": 1}}, TypeError, "did you mean 'max_epochs'?"),
        ("none", {}, ValueError, "neither a test nor a validation split"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments(
    data: str, arguments: dict[str, Any], error: type[Exception], said: str, tmp_path: Path
) -> None:
    module = _NoTest("class") if data == "none" else Letters(data)
    with pytest.raises(error, match=re.escape(said)):
        sl.compare(module, ["GRU"], directory=tmp_path / "folder", **arguments)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious", encoding="utf-8")
    with pytest.raises(FileExistsError, match=r"an empty folder or one of .* with thesis\.tex"):
        sl.compare(Letters("class"), ["GRU"], directory=tmp_path)
    with pytest.raises(FileExistsError, match=r"expected a folder, got the file"):
        sl.compare(Letters("class"), ["GRU"], directory=tmp_path / "thesis.tex")
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_cannot_be_sent_to_a_process(tmp_path: Path) -> None:
    class Local(Letters):
        pass

    with pytest.raises(TypeError, match=r"GRU, seed 0 cannot be sent .* define its classes at the"):
        sl.compare(Local("class"), ["GRU"], directory=tmp_path, trainer=TRAINER)


def test_a_callback_with_other_settings_is_another_trainer() -> None:
    """By its class alone, the runs of the first would be shown as those of the second."""
    given = [
        {"callbacks": [EarlyStopping("val/loss", patience=3)]},
        {"callbacks": [EarlyStopping("val/loss", patience=10)]},
        {"callbacks": [ModelCheckpoint(monitor="val/loss")]},
        {"callbacks": [ModelCheckpoint(monitor="val/bleu", mode="max")]},
        {"max_time": timedelta(hours=1)},
        {"max_time": timedelta(hours=2)},
    ]
    found = [json.dumps(identify_trainer(each)) for each in given]
    assert len(set(found)) == len(given)
    assert found == [json.dumps(identify_trainer(each)) for each in given]
    assert describe_trainer(given[0]) == {"callbacks": ["EarlyStopping"]}


def test_another_limit_takes_the_place_of_ten_epochs() -> None:
    assert with_defaults({})["max_epochs"] == 10
    assert with_defaults({"max_epochs": 3, "max_steps": 50})["max_epochs"] == 3
    assert with_defaults({"max_steps": -1})["max_epochs"] == 10
    for limit in ({"max_steps": 50}, {"max_time": timedelta(hours=1)}):
        assert "max_epochs" not in with_defaults(limit)
