"""The framework of the benchmarks: rounds, ratios, skipped peers, operations, memory, files."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import seqlearn as sl
from benchmarks import __main__ as entry
from benchmarks import comparison, configs, language, measuring, multi30k, page, peers, pipeline
from benchmarks.comparison import Comparison, Contender, compare
from benchmarks.measuring import count_flops, device_here
from benchmarks.peers import UnavailableError, recurrent, transformers
from benchmarks.peers import language as languages
from benchmarks.statistic import median_ratio
from benchmarks.workloads import Size
from seqlearn.batch import SequenceBatch

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes only where a work says so: it returns its seconds."""
    monkeypatch.setattr(comparison, "time_of", lambda work, item, _: work(item))


def options(tmp_path: Path, *words: str) -> argparse.Namespace:
    parser = comparison.arguments("title")
    return parser.parse_args([*words, "--rounds", "4", "--out", str(tmp_path / "found.json")])


def contender(name: str, seconds: Callable[[Any], float]) -> Contender:
    return Contender(name, lambda: seconds)


def missing() -> Any:
    return peers.peer("a_library_that_is_not_there")


@pytest.mark.usefixtures("ticks")
def test_ratios_are_those_of_one_round(tmp_path: Path) -> None:
    """Rounds of 1 and 100 seconds: a ratio of mean times would be ruled by the long ones."""
    base, twice = contender("base", float), contender("twice", lambda item: item / 2)
    done = Comparison("train", "x", [base, twice], [1, 100], {"size": "tiny"}, memory=False)
    assert compare(done, options(tmp_path)) == 0
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert [row["median"] for row in found["results"]] == [1.0, 2.0]
    assert found["results"][1]["ratios"] == [2.0] * 4
    assert found["baseline"] == "base"
    assert found["workload"] == {"size": "tiny"}
    assert set(found["machine"]) >= {"capability", "threads", "load", "versions", "commit"}


@pytest.mark.usefixtures("ticks")
def test_contenders_take_turns_and_the_first_round_warms_up(tmp_path: Path) -> None:
    calls: list[str] = []

    def noted(name: str) -> Contender:
        return contender(name, lambda _: calls.append(name) or 1.0)

    done = Comparison("train", "x", [noted("a"), noted("b"), noted("c")], [0], memory=False)
    compare(done, options(tmp_path))
    rounds = ["".join(calls[start : start + 3]) for start in range(3, len(calls), 3)]
    assert calls[:3] == ["a", "b", "c"]  # each is called once when it is built
    assert rounds == ["cab", "abc", "bca", "cab", "abc"]


@pytest.mark.usefixtures("ticks")
def test_a_peer_that_is_absent_is_skipped_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = Contender("absent", missing, ("a-library",))
    base = contender("base", float)
    assert (
        compare(Comparison("train", "x", [base, absent], [1], memory=False), options(tmp_path)) == 0
    )
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert "ModuleNotFoundError: No module named" in found["skipped"]["absent"]
    assert found["machine"]["versions"]["a-library"] is None
    assert [row["name"] for row in found["results"]] == ["base"]
    assert "skipped absent: ModuleNotFoundError" in capsys.readouterr().out
    assert (
        compare(Comparison("train", "x", [absent, base], [1], memory=False), options(tmp_path)) == 1
    )


def test_an_import_that_fails_in_another_way_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_peer.py").write_text("import torch\ntorch.gone()\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnavailableError, match=r"AttributeError: .*gone"):
        peers.peer("broken_peer")


@pytest.mark.usefixtures("ticks")
def test_an_error_of_a_contender_is_not_a_reason_to_skip_it(tmp_path: Path) -> None:
    wrong = contender("wrong", lambda item: item.nothing)
    with pytest.raises(AttributeError):
        compare(Comparison("train", "x", [wrong], [1], memory=False), options(tmp_path))


def test_only_names_contenders(tmp_path: Path) -> None:
    done = Comparison("train", "x", [contender("a", float), contender("b", float)], [1])
    with pytest.raises(ValueError, match=r"names of \['b'\], got \['c'\]"):
        compare(done, options(tmp_path, "--only", "c"))


@pytest.mark.usefixtures("ticks")
def test_the_share_of_the_peak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "matrix_multiply_peak", lambda *_: 100.0)
    works = [contender("base", lambda _: 2.0), contender("fast", lambda _: 1.0)]
    done = Comparison("train", "x", works, [1], flops=lambda _: 50, memory=False)
    compare(done, options(tmp_path))
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert [row["mfu"] for row in found["results"]] == [0.25, 0.5]


def test_a_profile_names_the_longest_operation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    matrix = torch.ones(200, 200)
    done = Comparison("train", "x", [Contender("base", lambda: lambda item: item @ item)], [matrix])
    assert compare(done, options(tmp_path, "--profile")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "| `mm` | 200 × 200, 200 × 200 |" in lines[lines.index("base") + 4]
    assert lines[-1].startswith("| all matrix products |")
    assert not (tmp_path / "found.json").exists()


def test_operations_of_layers() -> None:
    with torch.no_grad():
        linear, lstm = torch.nn.Linear(3, 5), torch.nn.LSTM(3, 4, 2, bidirectional=True)
        assert count_flops(linear, torch.ones(7, 3)) == 2 * 7 * 3 * 5
        gates = 2 * 7 * 6 * 16  # of one direction, for each input or hidden unit
        assert count_flops(lstm, torch.ones(7, 6, 3)) == 2 * gates * (3 + 4 + 8 + 4)
    query = torch.ones(2, 4, 6, 8)
    attend = torch.nn.functional.scaled_dot_product_attention
    assert count_flops(lambda q: attend(q, q, q), query) == 2 * 2 * (2 * 4) * 6 * 6 * 8


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_peak_memory_is_what_the_work_holds_at_most() -> None:
    size = 64 << 20
    peak = measuring.peak_memory(
        lambda: lambda size: torch.ones(size, dtype=torch.uint8)[0], [size]
    )
    assert 0.9 * size < peak < 2 * size


# The device


@pytest.mark.parametrize("name", ["cuda:99", "cpu:1", "cuda:-1", "cuda:", "meta", "gpu", ""])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(f"got {name!r}; this machine")):
        device_here(name)


def test_contenders_are_built_on_the_device(tmp_path: Path) -> None:
    """`meta` stands for a GPU: tensors of two devices cannot be added."""

    def adding() -> Callable[[Any], Any]:
        weight = torch.ones(3)
        return lambda item: item + weight

    device = torch.device("meta")
    items = [torch.ones(3, device=device)]
    done = Comparison("train", "x", [Contender("base", adding)], items, memory=False)
    with pytest.raises(RuntimeError, match="meta"):
        compare(done, options(tmp_path))
    assert compare(dataclasses.replace(done, device=device), options(tmp_path)) == 0


SIZE = Size(8, 2, 2, 16)
SIDE = sl.TextSpec(20, 9)
TRANSLATORS = {
    "nn.Transformer": transformers.torch_transformer,
    "nn.LSTM": recurrent.fused_by_hand,
}


@pytest.mark.parametrize("name", [*TRANSLATORS, "nn.TransformerEncoder"])
def test_a_baseline_makes_no_tensor_on_another_device(name: str) -> None:
    """A loss on `meta` fails if a part of it, such as a mask, is made on the CPU."""
    device = torch.device("meta")
    ids, lengths = torch.ones(2, 6, dtype=torch.long, device=device), torch.full((2,), 6)
    with device:
        if name in TRANSLATORS:
            _, loss_of = TRANSLATORS[name](sl.SequenceSpec(SIDE, SIDE), SIZE)
        else:
            _, loss_of = languages.torch_transformer(20, 5, SIZE)
    batch = SequenceBatch(ids, lengths.to(device), ids, lengths.to(device))
    assert loss_of(batch).device == device


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["train", "recurrent", "language"])
def test_a_step_on_a_gpu_is_compared_with_its_peak(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")  # the baseline of language models
    rows = run(monkeypatch, tmp_path, name, "--device", "cuda", "--dtype", "bfloat16")
    assert all(0 < row["mfu"] < 1 and row["peak_bytes"] > 0 for row in rows)


def test_the_interval_of_the_median() -> None:
    found = median_ratio([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.median, found.rounds) == (3.0, 5)
    assert 1.0 <= found.low < 3.0 < found.high <= 5.0
    assert median_ratio([2.0] * 20)[:3] == (2.0, 2.0, 2.0)


def test_padding_is_counted() -> None:
    lengths = torch.tensor([1, 3, 2, 2]).numpy()
    batches = pipeline.greedy(torch.arange(4).numpy(), lengths, 6)
    assert [batch.tolist() for batch in batches] == [[0, 1], [2, 3]]
    assert pipeline.share_of_padding(batches, lengths) == 1 - 8 / 10


# The entry point


def test_the_list_names_every_benchmark(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    assert entry.main() == 0
    listed = {line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]}
    assert listed >= {"train", "recurrent", "attention", "pipeline", "import", "compile", "configs"}
    assert not listed & {"comparison", "machine", "workloads", "fitting", "imports"}
    readme = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"python -m benchmarks (\w+)", readme)) == listed


def names_of_benchmarks() -> set[str]:
    return {path.stem for path in (ROOT / "benchmarks").glob("*.py")}


@pytest.mark.parametrize("name", sorted(entry.descriptions()))
def test_every_benchmark_has_a_title_and_can_be_imported(name: str) -> None:
    module = entry.MODULE_OF.get(name, name)
    assert entry.descriptions()[name]
    try:
        importlib.import_module(f"benchmarks.{module}")
    except ModuleNotFoundError as error:
        if error.name in names_of_benchmarks():
            raise
        pytest.skip(f"needs {error.name}")
    source = (ROOT / "benchmarks" / f"{module}.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 250
    assert f"python -m benchmarks {name}" in source


def test_an_unknown_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "trian"])
    assert entry.main() == 2
    assert "train" in capsys.readouterr().err


# The page


def test_the_figures_of_the_page_are_those_of_the_files() -> None:
    text, results = page.PAGE.read_text(encoding="utf-8"), page.load()
    assert set(page.BLOCK.findall(text)) == set(results), "one block for each file"
    assert page.rendered(text, results) == text, "run python -m benchmarks page --write"
    for name, found in results.items():
        rounds = [row["rounds"] for row in found["results"] if "rounds" in row]
        assert all(number >= 20 for number in rounds), name
        assert "seconds" not in str(found), "a time is not a result"


def test_a_plot_is_drawn_for_each_speed(tmp_path: Path) -> None:
    row = {"name": "seqlearn", "median": 1.5, "low": 1.4, "high": 1.6}
    page.draw("x", {"results": [row], "baseline": "base"}, tmp_path)
    drawn = (tmp_path / "x.svg").read_text(encoding="utf-8")
    assert "<svg" in drawn
    page.draw("y", {"results": [{"name": "seqlearn"}], "baseline": "base"}, tmp_path)
    assert not (tmp_path / "y.svg").exists()


def test_written_results_are_copied_and_replace_earlier_copies(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "renamed.md").touch()
    page.copy_results(folder)
    names = {path.name for path in folder.iterdir()}
    assert {"dates.md", "multi30k-de-en-lstm.csv"} <= names
    assert "renamed.md" not in names
    cited = (folder / "trec.md").read_text(encoding="utf-8")
    assert "([Li & Roth 2002](../bibliography.md#li-roth-2002))" in cited


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> list[dict[str, Any]]:
    """The results of a benchmark that runs once round."""
    path = folder / "found.json"
    words = (*words, "--rounds", "1", "--out", str(path))
    monkeypatch.setattr(sys, "argv", ["benchmarks", *words])
    assert entry.main() == 0
    results: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["results"]
    return results


@pytest.mark.slow
def test_a_training_benchmark_runs_from_start_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--batch-tokens", "64", "--only", "seqlearn", "--no-memory"]
    rows = run(monkeypatch, tmp_path, *words)
    assert "the data is Dates" in capsys.readouterr().out
    assert [row["name"] for row in rows] == ["nn.Transformer", "seqlearn"]
    assert all(row["mfu"] > 0 for row in rows)


def test_language_models_run_from_start_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    rows = run(monkeypatch, tmp_path, "language", "--window", "16", "--no-memory")
    assert [row["name"] for row in rows] == list(language.CONTENDERS)
    assert all(row["mfu"] > 0 for row in rows)


@pytest.mark.parametrize("validation", [False, True])
@pytest.mark.slow
def test_a_compiled_module_is_compared_with_itself(tmp_path: Path, *, validation: bool) -> None:
    """In a process of its own: the compiler cannot trace the run-time checks of types."""
    path = tmp_path / "found.json"
    words = ["compile", "--models", "FeedForward", "--batch-tokens", "64", "--rounds", "1"]
    words += ["--out", str(path), *["--validation"] * validation]
    subprocess.run([sys.executable, "-m", "benchmarks", *words], cwd=ROOT, check=True)
    (row,) = json.loads(path.read_text(encoding="utf-8"))["results"]
    assert row["case"] == "FeedForward"
    assert row["graphs"] >= 1


CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
METRICS = {
    "val/loss": "min",
    "val/exact_match": "max",
    "val/accuracy": "max",
    "val/bleu_lc": "max",
}
"""What configurations monitor, and which values are better."""


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_monitors_what_its_model_logs(path: Path) -> None:
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    callbacks = config["trainer"].get("callbacks", [])
    names = [each["class_path"].rpartition(".")[2] for each in callbacks]
    arguments = [each.get("init_args", {}) for each in callbacks]
    classes = config["data"]["init_args"].get("task") == "sequence-to-vector"
    classes |= config["data"]["class_path"] == "LabelledText"
    target = sl.ClassesSpec(("a", "b")) if classes else sl.TextSpec(9, 4)
    metric = target.make_metrics()
    one = torch.zeros(1, dtype=torch.long)
    metric.update(torch.zeros(1), torch.zeros(1).bool(), torch.ones(1, 1).bool(), one, one)
    logged = {f"val/{name}" for name in metric.compute()}
    logged |= {"val/bleu", "val/bleu_lc"} if "GenerationMetrics" in names else set()
    monitored = [each for each in arguments if "monitor" in each]
    for each in monitored:
        assert each["monitor"] in logged
        assert each.get("mode", "min") == METRICS[each["monitor"]]
    selecting = [n for n, each in zip(names, arguments, strict=True) if "monitor" in each]
    by_name = configs.monitored(path.stem)
    assert (by_name is not None) == ("ModelCheckpoint" in selecting)
    if by_name is not None:  # with a metric nothing is saved in an epoch that is not better
        all_epochs = [
            each
            for name, each in zip(names, arguments, strict=True)
            if name == "ModelCheckpoint" and "monitor" not in each
        ]
        assert [each["filename"] for each in all_epochs] == ["last"]
    if path.stem.startswith("multi30k"):
        assert by_name == "val/bleu_lc"  # the texts are in lower case


def test_the_defaults_reach_nine_tenths_of_the_best_trial() -> None:
    """All rows of the table but the one that its text explains, each with all twelve trials."""
    text = (ROOT / "benchmarks" / "results" / "defaults.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if re.match(r"\| (multi30k|trec) \|", line)
    ]
    sizes = {(row[0], row[1]) for row in rows}
    assert sizes >= {(task, n) for task in ("multi30k", "trec") for n in ("240", "2,000", "20,000")}
    assert all(row[-1] == "12" for row in rows)
    below = [row for row in rows if int(row[7].rstrip("%")) < 90]
    assert [row[:2] + row[3:4] for row in below] == [["trec", "800", "`RNN`"]]
    for task, size in sizes:
        assert len({row[3] for row in rows if row[:2] == [task, size]}) == 6, "architectures"


def test_translations_are_compared_in_the_language_of_the_run(tmp_path: Path) -> None:
    """An option may turn the direction of the configuration."""
    options = {"class_path": "Multi30k", "init_args": {"languages": ["de", "en"]}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": options}), encoding="utf-8")
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    assert multi30k.languages_of(str(checkpoint)) == ("de", "en")
