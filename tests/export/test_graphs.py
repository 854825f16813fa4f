"""ONNX and torch.export: exported graphs compute what the model computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported_models import MODELS, OPTIONS, TASKS, TEXTS, inputs_of, make
from torch import nn

import seqlearn as sl
from seqlearn.batch import UNKNOWN
from seqlearn.cli import main
from seqlearn.cli.plugins import subclasses
from seqlearn.export import ExportedModel, load_exported

onnx = pytest.mark.skipif(
    not all(map(sl.export.is_installed, ("onnx", "onnxruntime", "onnxscript"))),
    reason="needs onnx, onnxruntime and onnxscript: pip install '.[export]'",
)


FED = ("input feeding", "texts")


def assert_equal(model: sl.SequenceModule, exported: Any, options: list[dict[str, Any]]) -> None:
    """Compare all answers."""
    sources = inputs_of(model.spec)
    if "classify" in model.spec.target.methods:
        labels, probabilities = model.classify(sources)
        found = exported.classify(sources)
        assert found[0] == labels
        np.testing.assert_allclose(found[1], probabilities, atol=1e-5)
    elif not model.spec.target.needs_decoder:
        for expected, got in zip(model.predict(sources), exported.predict(sources), strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-5)
    else:
        needed = {} if sources else {"prompts": OPTIONS[-1]["prompts"]}
        texts = set()
        for given in (each | needed for each in options):
            expected = model.generate(sources, **given)
            assert exported.generate(sources, **given) == expected, given
            texts |= set(map(str, expected))
        assert len(texts) > len(options), "the texts should differ"


@onnx
@pytest.mark.parametrize(
    ("name", "task"),
    [("FeedForward", "language model"), pytest.param(*FED, marks=pytest.mark.slow)],
)
def test_onnx_equals_the_model(name: str, task: str, tmp_path: Path) -> None:
    model = make(name, TASKS[task])
    assert model.export(tmp_path / "out") == tmp_path / "out"
    assert_equal(model, load_exported(tmp_path / "out"), [*OPTIONS[:2], *OPTIONS[-2:]])


@pytest.mark.slow
@pytest.mark.parametrize("format_name", ["onnx", "torch-export", "ctranslate2"])
def test_no_export_writes_unknown_where_training_never_saw_it(
    format_name: str, tmp_path: Path
) -> None:
    for package in {"torch-export": ()}.get(format_name, ("ctranslate2", "onnx", "onnxscript")):
        pytest.importorskip(package, reason="needs pip install '.[export]'")
    model = make("Transformer", TEXTS)
    with torch.no_grad():
        model.head.bias[UNKNOWN] = 30.0
    model.export(tmp_path / "out", format_name)
    exported = load_exported(tmp_path / "out")
    for given in OPTIONS[:2]:
        found = exported.generate(inputs_of(TEXTS), **given)
        assert any(found)
        assert not any(UNKNOWN in text for text in found)
        if format_name != "ctranslate2":  # it searches in a way of its own
            assert found == model.generate(inputs_of(TEXTS), **given)


@onnx
@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("format_name", ["onnx", "torch-export"])
def test_every_architecture_equals_its_export(
    name: str, task: str, format_name: str, tmp_path: Path
) -> None:
    if TASKS[task].source is None and name in ("AttentionSeq2Seq", "input feeding"):
        pytest.skip("AttentionSeq2Seq attends to a source, which a language model has not")
    model = make(name, TASKS[task])
    model.export(tmp_path / "out", format_name)
    assert_equal(model, load_exported(tmp_path / "out"), OPTIONS)


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec")
@pytest.mark.parametrize(
    ("name", "task"),
    [pytest.param("RNN", "from vectors", marks=pytest.mark.slow), ("Transformer", "texts")],
)
def test_torch_export_equals_the_model(name: str, task: str, tmp_path: Path) -> None:
    model = make(name, TASKS[task])
    model.export(tmp_path / "out", "torch-export")
    assert_equal(model, load_exported(tmp_path / "out"), [*OPTIONS[:2], *OPTIONS[-2:]])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[sl.SequenceModule, ExportedModel]:
    """A Transformer, and its export with everything that it can return."""
    folder = tmp_path_factory.mktemp("recorded") / "out"
    model = make("Transformer", TEXTS)
    model.export(folder, record=("attention", "states"), head_mask=True)
    return model, ExportedModel(folder)


def test_a_class_is_found_by_its_name_after_an_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tracing makes classes of the same name, which may stay in memory."""
    made = make("GRU", TEXTS).export(tmp_path / "out", "torch-export")
    assert made.is_dir()
    assert [each for each in subclasses(sl.SequenceModule) if each.__name__ == "GRU"] == [sl.GRU]
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--model", "GRU", "--data", "Dates", "--print_config"])
    assert "class_path: seqlearn.GRU" in capsys.readouterr().out


@onnx
def test_a_recorded_export_generates_as_the_model(
    recorded: tuple[sl.SequenceModule, ExportedModel],
) -> None:
    assert_equal(*recorded, OPTIONS)


@onnx
def test_optional_outputs_are_those_of_a_recording(
    recorded: tuple[sl.SequenceModule, ExportedModel],
) -> None:
    model, exported = recorded
    sources, targets = [[4, 5, 6], [7, 8]], [[5, 6], [9, 4]]
    with sl.record(model, what=("attention", "states")) as recording:
        model.score(sources, targets)
    found = exported.outputs(sources, targets)
    for kind, tensors in (("attention", recording.attention), ("states", recording.states)):
        assert tensors
        for name, expected in tensors.items():
            got = found[f"{kind}/{name}"]
            # A recording of `score` goes without the last token, which predicts the end symbol.
            for row, source in enumerate(sources):
                one, other = np.asarray(expected[row]), got[row]
                rows = min(one.shape[-2], other.shape[-2], len(source) if "encoder" in name else 9)
                columns = min(one.shape[-1], other.shape[-1])
                np.testing.assert_allclose(
                    other[..., :rows, :columns], one[..., :rows, :columns], atol=1e-5, err_msg=name
                )


@onnx
@pytest.mark.parametrize(
    "name", ["encoder.layers.0.self_attention", "decoder.layers.1.cross_attention"]
)
def test_a_head_mask_removes_a_head(
    name: str, recorded: tuple[sl.SequenceModule, ExportedModel]
) -> None:
    _, exported = recorded
    sources, targets = [[4, 5, 6], [7, 8]], [[5, 6], [9, 4]]
    plain = exported.outputs(sources, targets)["logits"]
    masked = exported.outputs(sources, targets, head_mask={name: [0.0, 1.0]})["logits"]
    without = make("Transformer", TEXTS)
    output: Any = without.get_submodule(name).output
    with torch.no_grad():
        output.weight[:, :4] = 0.0  # the first of two heads, each four wide
        batch = sl.SequenceBatch(
            torch.tensor([[4, 5, 6], [7, 8, 0]]), torch.tensor([3, 2]),
            torch.tensor([[2, 5, 6, 3], [2, 9, 4, 3]]), torch.tensor([4, 4]),
        )  # fmt: skip
        expected = without(batch)[:, -1]
    np.testing.assert_allclose(masked[:, 0], expected, atol=1e-5)
    assert np.abs(masked - plain).max() > 1e-3
    with pytest.raises(ValueError, match=r"expected names among encoder\.layers\.0.*got 'no'"):
        exported.outputs(sources, targets, head_mask={"no": [1.0, 1.0]})


@onnx
@pytest.mark.parametrize(
    ("name", "task"),
    [("GRU", "classes"), pytest.param("LSTM", "texts", marks=pytest.mark.slow)],
)
def test_gates_and_states_of_a_recurrent_model(name: str, task: str, tmp_path: Path) -> None:
    model = make(name, TASKS[task])
    model.export(tmp_path / "out", record=["gates", "states"])
    exported = load_exported(tmp_path / "out")
    assert isinstance(exported, ExportedModel)
    assert_equal(model, exported, OPTIONS)
    with sl.record(model, what=("gates", "states")) as recording:
        model.predict([[4, 5, 6]]) if task == "classes" else model.score([[4, 5, 6]], [[5, 6]])
    found = exported.outputs([[4, 5, 6]], None if task == "classes" else [[5, 6]])
    assert recording.gates
    for part, gates in recording.gates.items():
        for gate, expected in gates.items():
            got = found[f"gates/{part}/{gate}"]
            np.testing.assert_allclose(got, np.asarray(expected), atol=1e-5, err_msg=part)
    for part, states in recording.states.items():
        got = found[f"states/{part}"]
        np.testing.assert_allclose(got, np.asarray(states).reshape(got.shape), atol=1e-5)


@onnx
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec")
@pytest.mark.parametrize("format_name", ["onnx", "torch-export"])
@pytest.mark.parametrize("name", ["AttentionSeq2Seq", "input feeding", "Transformer"])
def test_attention_of_every_format_is_that_of_a_recording(
    name: str, format_name: str, tmp_path: Path
) -> None:
    model = make(name, TEXTS)
    model.export(tmp_path / "out", format_name, record=["attention"])
    targets = None if name == "input feeding" else [[5, 6]]  # it reads one token in a step
    found = load_exported(tmp_path / "out").outputs([[4, 5, 6]], targets)
    with sl.record(model, what=("attention",)) as recording:
        model.score([[4, 5, 6]], [[5, 6]])
    assert recording.attention
    for part, expected in recording.attention.items():
        got = found[f"attention/{part}"]
        rows, columns = got.shape[-2], min(got.shape[-1], expected.shape[-1])
        wanted = np.asarray(expected)[..., :rows, :columns]
        np.testing.assert_allclose(got[..., :columns], wanted, atol=1e-5, err_msg=part)


@onnx
def test_the_folder_runs_without_seqlearn_and_torch(
    tmp_path: Path, recorded: tuple[sl.SequenceModule, ExportedModel]
) -> None:
    model, exported = recorded
    code = f"""
import sys
for name in ("seqlearn", "torch", "lightning"):
    sys.modules[name] = None  # an import of it raises
sys.path.insert(0, {str(exported.folder)!r})
from runtime import ExportedModel
model = ExportedModel({str(exported.folder)!r})
print(model.generate([[4, 5, 6], []], strategy="beam", beam_size=2))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, encoding="utf-8",
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = model.generate([[4, 5, 6], []], strategy="beam", beam_size=2)
    assert done.stdout.strip() == str(expected)


@onnx
def test_a_subclass_that_the_graphs_do_not_see_is_refused(tmp_path: Path) -> None:
    class Louder(sl.RNN):
        def decode(self, *arguments: Any) -> Any:
            hidden, state = super().decode(*arguments)
            return 2 * hidden, state

    with pytest.raises(TypeError, match="Louder overrides decode"):
        Louder(TEXTS, d_model=4).export(tmp_path / "out")

    class Mine(nn.Module):
        def forward(self, inputs: Any, memory: Any, state: Any = None) -> Any:
            return inputs, state

    model = sl.RNN(TEXTS, d_model=4)
    model.decoder = Mine()
    with pytest.raises(TypeError, match=r"expected a decoder of FeedForward.*got Mine"):
        model.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()
