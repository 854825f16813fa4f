"""What runs an exported folder: its options, its files, and the errors for wrong inputs."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported_models import MODELS, TASKS, TEXTS, make
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

import seqlearn as sl
from seqlearn.export import ExportedModel, load_exported
from seqlearn.export.folder import check_strategy, config_of, write_config
from seqlearn.export.graphs import make_graphs
from seqlearn.export.onnx_runner import OnnxRunner
from seqlearn.export.options import search_options
from seqlearn.export.runtime import default_threads
from seqlearn.export.search import MAX_BATCH_ROWS, MAX_BATCH_TOKENS, batches
from seqlearn.export.sides import Side, answer_lines
from seqlearn.export.torch_export_format import TorchRunner
from seqlearn.nn import LearnedPositions

SAVED = asdict(sl.GenerationConfig(max_new_tokens=16))
BEAM = {"strategy": "beam"}
ONE = {"num_return_sequences": 1}


def without_graphs(
    folder: Path, name: str, task: str, *, format_name: str = "onnx", **graphs: Any
) -> Path:
    """The folder of an export that has `export.json` alone."""
    model = make(name, TASKS[task])
    write_config(folder, config_of(model, format_name) | {"graphs": graphs})
    return folder


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"early_stopping": "sometimes"} | BEAM, ValueError, "early_stopping True, False or 'nev"),
        ({"repetition_penalty": 0}, ValueError, "expected repetition_penalty above 0"),
        ({"repetition_penalty": -1.0}, ValueError, "expected repetition_penalty above 0"),
        ({"repetition_penalty": "1"}, TypeError, "repetition_penalty: expected a number, got '1'"),
        ({"min_new_tokens": 9, "max_new_tokens": 3}, ValueError, "at most max_new_tokens=3, got 9"),
        ({"min_new_tokens": 17}, ValueError, "at most max_new_tokens=16, got 17"),
        ({"min_new_tokens": -1}, ValueError, "expected min_new_tokens of at least 0"),
        ({"max_new_tokens": 0}, ValueError, "expected max_new_tokens of at least 1"),
        ({"no_repeat_ngram_size": 2.0}, TypeError, "no_repeat_ngram_size: expected a whole number"),
        ({"length_penalty": float("nan")} | BEAM, ValueError, "expected a finite length_penalty"),
        ({"length_penalty": "a"} | BEAM, TypeError, "length_penalty: expected a number, got 'a'"),
        ({"beam_size": True} | BEAM, TypeError, "beam_size: expected a whole number"),
        ({"beam_size": 0} | BEAM, ValueError, "expected beam_size of at least 1"),
        ({"num_return_sequences": 1.5} | BEAM, TypeError, "num_return_sequences: expected a whole"),
        ({"num_return_sequences": 0} | BEAM, ValueError, "num_return_sequences of at least 1"),
        ({"num_return_sequences": 5} | BEAM, ValueError, "from 1 to 4 .the beam size., got 5"),
    ],
)  # fmt: skip
def test_options_that_the_model_refuses_are_refused(
    given: dict[str, Any], error: Any, message: str
) -> None:
    model = make("RNN", TEXTS)
    model.generation = sl.GenerationConfig(max_new_tokens=16)
    with pytest.raises(error):
        model.generate([[4]], **given)
    options = ONE | given
    count = options.pop("num_return_sequences")
    with pytest.raises(error, match=message):
        search_options(SAVED, options, count)


def test_options_may_be_numbers_of_numpy() -> None:
    given = BEAM | {"beam_size": np.int64(2), "length_penalty": np.float32(0.5)}
    given |= {"early_stopping": np.bool_(True)}
    found = search_options(SAVED, given, 2)
    assert (found["beam_size"], found["length_penalty"], found["early_stopping"]) == (2, 0.5, True)
    assert type(found["beam_size"]) is int


@pytest.mark.parametrize(
    ("value", "threads"), [(None, 0), ("", 0), ("3", 3), ("4,2", 4), (" 2 , 1", 2), ("many", 0)]
)
def test_threads_are_the_first_number_of_the_variable(
    value: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if value is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert default_threads() == threads


@pytest.mark.parametrize("content", [b'{"version": "seqlearn', b"", b"[1]", b'{"a": "\xff"}'])
def test_a_damaged_configuration_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "export.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"export\.json: expected the JSON .* damaged .* again"):
        load_exported(tmp_path)


@pytest.mark.parametrize("format_name", ["onnx", "torch-export"])
def test_a_missing_file_is_named(format_name: str, tmp_path: Path) -> None:
    graphs = {name: {"file": f"{name}.bin"} for name in ("encoder", "best")}
    without_graphs(tmp_path, "RNN", "texts", format_name=format_name, **graphs)
    (tmp_path / "encoder.bin").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"expected the file best\.bin, which belongs to"):
        load_exported(tmp_path)


def test_a_text_with_a_reserved_symbol_is_refused_as_by_the_model() -> None:
    words = {"<pad>": 0, "<unk>": 1, "<s>": 2, "</s>": 3, "a": 4}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken("</s>", special=True)])
    spec = sl.TextSpec(5, 4, tokenizer=tokenizer.to_str())
    side = Side(spec.to_dict() | {"kind": "text"})
    assert side.encode(["a", "a a"], "source") == [[4], [4, 4]]
    with pytest.raises(ValueError, match="without padding"):
        spec.encode(["a", "a </s> a"])
    with pytest.raises(ValueError, match="source 2: the tokenizer encodes a part of 'a </s> a' as"):
        side.encode(["a", "a </s> a"], "source")


def test_a_batch_has_a_limit_of_rows_and_of_tokens() -> None:
    lengths = [20_000, *[4_000] * 10, *[20] * 600, 0]
    encoded = [range(length) for length in lengths]
    starts = [[2]] * len(encoded)
    for rows_each in (1, 5):
        found = list(batches(encoded, starts, rows_each, lengths=True))
        assert sorted(row for batch in found for row in batch) == list(range(len(encoded)))
        for batch in found:
            longest = 1 + max(lengths[row] for row in batch)
            assert len(batch) * rows_each <= MAX_BATCH_ROWS
            assert len(batch) == 1 or len(batch) * rows_each * longest <= MAX_BATCH_TOKENS
        assert found[-1] == [0]
    assert max(map(len, batches(encoded, starts, 1, lengths=True))) == MAX_BATCH_ROWS


@pytest.mark.parametrize(
    ("name", "task", "sources", "targets", "message"),
    [
        ("RNN", "texts", [], None, "outputs needs at least one source or target, got none"),
        ("RNN", "language model", None, [], "outputs needs at least one source or target"),
        ("RNN", "texts", [[4], [5]], [[4]], "expected 2 targets, one per source, got 1"),
        ("RNN", "texts", [[4], [5]], [[4], [4, 5, 6]], "targets of one length in tokens, got 1 an"),
        ("input feeding", "texts", [[4]], [[5]], "feeds its outputs back .input feeding."),
        ("RNN", "classes", [[4]], [[5]], "no decoder that reads targets; leave targets out"),
    ],
)
def test_outputs_refuses_targets_that_it_cannot_read(
    name: str, task: str, sources: Any, targets: Any, message: str, tmp_path: Path
) -> None:
    one_token = name == "input feeding"
    graphs = {} if task == "classes" else {"decoder": {"one_token": one_token, "head_mask": None}}
    exported = ExportedModel(without_graphs(tmp_path, name, task, **graphs), runners={})
    with pytest.raises(ValueError, match=message):
        exported.outputs(sources, targets)


def test_predict_of_a_language_model_names_generate(tmp_path: Path) -> None:
    folder = without_graphs(tmp_path, "RNN", "language model", decoder={})
    with pytest.raises(ValueError, match=r"a language model has none; use generate\(prompts="):
        ExportedModel(folder, runners={}).predict(["a"])


def test_a_language_model_continues_each_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1,1")
    pytest.importorskip("onnxscript", reason="needs onnxscript, of the extra export")
    data = sl.data.TextPairs([("May", "1. Mai 2020")] * 4, target=sl.data.Text("char"))
    data.setup("fit")
    model = sl.RNN(sl.SequenceSpec(None, data.spec.target), d_model=4).eval()
    folder = model.export(tmp_path / "out")
    texts = ["1. M", "", "20"]
    command = [sys.executable, str(folder / "runtime.py")]
    given = "\n".join(texts).encode() + b"\n"
    done = subprocess.run(command, input=given, capture_output=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    first, last = model.generate(prompts=["1. M", "20"])
    assert first.startswith("1. M")
    assert done.stdout.decode().split("\n") == [first, "", last, ""]
    assert not done.stderr, "onnxruntime has nothing to complain about"


@pytest.mark.parametrize("format_name", ["onnx", "torch-export"])
def test_a_saved_strategy_that_samples_is_not_exported(format_name: str, tmp_path: Path) -> None:
    model = make("RNN", TEXTS)
    model.generation = sl.GenerationConfig("sample", top_k=2)
    said = r"this RNN is 'sample'; set model\.generation = GenerationConfig\('greedy'\) or"
    with pytest.raises(ValueError, match=said):
        model.export(tmp_path / "out", format_name)
    assert not (tmp_path / "out").exists()


def test_a_strategy_that_a_model_does_not_use_is_no_obstacle() -> None:
    model = make("RNN", TASKS["classes"])
    model.generation = sl.GenerationConfig("sample")
    check_strategy(model)


def test_only_kinds_that_exist_are_recorded() -> None:
    model = make("Transformer", TEXTS)
    with pytest.raises(TypeError, match=r"expected a list of kinds among 'attention', .*string"):
        make_graphs(model, "attention")
    with pytest.raises(ValueError, match="'states', 'gates', got 'atention'"):
        make_graphs(model, ["states", "atention"])


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec")
@pytest.mark.parametrize("format_name", ["onnx", "torch-export"])
def test_a_kind_that_the_model_does_not_compute_is_named(format_name: str, tmp_path: Path) -> None:
    if format_name == "onnx":
        pytest.importorskip("onnxscript", reason="needs onnxscript, of the extra export")
    model = MODELS["RNN"](TASKS["classes"])
    with pytest.raises(ValueError, match=r"record: RNN computes no attention .* leave 'attention'"):
        model.export(tmp_path / "out", format_name, record=["states", "attention"])
    assert not (tmp_path / "out").exists()


def test_lengths_of_targets_and_of_head_masks_are_checked(tmp_path: Path) -> None:
    model: Any = make("Transformer", TEXTS)
    model.decoder.positions = LearnedPositions(6, 8)
    model.export(tmp_path / "out", "torch-export", head_mask=True)
    exported = load_exported(tmp_path / "out")
    name = "encoder.layers.0.self_attention"
    assert exported.outputs([[4]], [[4] * 5], head_mask={name: [0.0, 1.0]})
    with pytest.raises(ValueError, match=r"at most 6 positions, got 7 with the start symbol"):
        exported.outputs([[4]], [[4] * 6])
    with pytest.raises(ValueError, match=rf"expected 2 weights for {name}, one for each head, got"):
        exported.outputs([[4]], head_mask={name: [0.0]})


def test_an_answer_is_one_line() -> None:
    """Also where a model generates line breaks, and where it predicts numbers."""
    answers: list[Any] = ["two\nlines\r\nmore", [4, 5], np.array([0.5, -2.0])]
    given = ["a", "", "b", "c"]
    assert answer_lines(lambda _: answers, given) == ["two lines more", "", "4 5", "0.5 -2.0"]


def test_a_damaged_graph_is_named(tmp_path: Path) -> None:
    file = tmp_path / "encoder.onnx"
    file.write_bytes(b"no graph")
    with pytest.raises(ValueError, match=r"encoder\.pt2: expected a program that torch 2"):
        TorchRunner(file.rename(tmp_path / "encoder.pt2"), {})
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install '.[export]'")
    file.write_bytes(b"no graph")
    said = r"encoder\.onnx: expected a graph .* load with CPUExecutionProvider, got the error"
    with pytest.raises(ValueError, match=said):
        OnnxRunner(file)
    with pytest.raises(ValueError, match=r"can load with Nonesuch, got"):
        OnnxRunner(file, ["Nonesuch"])


class Constant:
    """Stands for a graph: the same vectors for all sources."""

    def __call__(self, feed: Any, fetch: Any) -> list[Any]:
        return [np.array([[1.0, -2.0]], np.float32)]

    def to_numpy(self, value: Any) -> Any:
        return value


def test_vectors_are_predicted_in_the_units_of_the_data(tmp_path: Path) -> None:
    target = sl.VectorSpec(2, mean=(10.0, -3.0), std=(2.0, 0.5))
    model = sl.RNN(sl.SequenceSpec(sl.TextSpec(9, 8), target), d_model=4)
    graph = {"outputs": ["outputs"], "head_mask": None}
    write_config(tmp_path, config_of(model, "onnx") | {"graphs": {"encoder": graph}})
    exported = ExportedModel(tmp_path, runners={"encoder": Constant()})
    assert [one.tolist() for one in exported.predict([[4]])] == [[12.0, -4.0]]
    (expected,) = model.spec.target.decode_outputs(torch.tensor([[1.0, -2.0]]))
    assert expected.tolist() == [12.0, -4.0]
    assert exported.outputs([[4]])["outputs"].tolist() == [[1.0, -2.0]]  # what it computes


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec")
@pytest.mark.parametrize(
    "format_name", ["torch-export", pytest.param("onnx", marks=pytest.mark.slow)]
)
def test_logits_that_are_no_numbers_are_an_error(format_name: str, tmp_path: Path) -> None:
    """As in `generate`; a token that is chosen among them would be arbitrary."""
    if format_name == "onnx":
        pytest.importorskip("onnxscript", reason="needs onnxscript, of the extra export")
    model = make("Transformer", TASKS["from vectors"])
    model.export(tmp_path / "out", format_name)
    exported = load_exported(tmp_path / "out")
    sources = [[0.0, 1.0, 2.0], [3e38, -3e38, 3e38]]  # in single precision the sum is infinite
    for given in ({}, {"min_new_tokens": 2}, BEAM, BEAM | {"min_new_tokens": 2}):
        with pytest.raises(ValueError, match="the model's logits are NaN"):
            model.generate(sources, **given)
        with pytest.raises(ValueError, match="logits are NaN or infinite at decoding step 1; exp"):
            exported.generate(sources, **given)
        assert exported.generate(sources[:1], **given) == model.generate(sources[:1], **given)


@pytest.mark.parametrize(
    ("target", "method"), [(sl.ClassesSpec(("a", "b")), "classify"), (sl.VectorSpec(2), "predict")]
)
def test_outputs_that_are_no_numbers_are_an_error(
    target: Any, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = sl.RNN(sl.SequenceSpec(sl.TextSpec(9, 8), target), d_model=4)
    graph = {"outputs": ["outputs"], "head_mask": None}
    write_config(tmp_path, config_of(model, "onnx") | {"graphs": {"encoder": graph}})
    exported = ExportedModel(tmp_path, runners={"encoder": Constant()})
    predict = getattr(exported, method)
    ruled_out = -math.inf if method == "classify" else 0.0
    for wrong in (math.nan, math.inf):
        found = [np.array([[ruled_out, 1.0], [1.0, wrong]], np.float32)]
        monkeypatch.setattr(Constant, "__call__", lambda *_, found=found: found)
        with pytest.raises(ValueError, match=r"outputs for source 2 of 2 are NaN or infinite; use"):
            predict([[4], [5]])
        monkeypatch.setattr(Constant, "__call__", lambda *_, found=found: [found[0][:1]])
        assert predict([[4]])


def test_a_model_that_diverged_is_not_exported(tmp_path: Path) -> None:
    model = make("RNN", TEXTS)
    with torch.no_grad():
        model.head.bias[5] = float("nan")
    with pytest.raises(ValueError, match="outputs of this RNN are NaN or infinite; export a check"):
        model.export(tmp_path / "out", "torch-export")
