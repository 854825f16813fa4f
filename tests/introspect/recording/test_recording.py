"""`Recording`: labels, selection, plots, files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from seqlearn.introspect import Recording, Tokens


def causal(batch: int, size: int) -> torch.Tensor:
    return torch.ones(batch, 2, size, size).tril() / torch.arange(1, size + 1)[:, None]


@pytest.fixture
def recording() -> Recording:
    made = Recording(
        {
            "encoder.layers.0.self_attention": torch.rand(2, 2, 4, 4) + 0.1,
            "decoder.layers.0.self_attention": causal(2, 3),
            "decoder.layers.0.cross_attention": torch.rand(2, 1, 3, 4) + 0.1,
            "other": torch.rand(5, 1, 2, 2),
        }
    )
    made.label(
        [
            Tokens(list("abcd"), ["<s>", "x", "y"], ["x", "y", "</s>"]),
            Tokens(["\ud800"], ["<s>", "z"], ["z", "</s>"]),
        ]
    )
    return made


def test_axes_are_inferred_from_sizes(recording: Recording) -> None:
    assert recording.axes == {
        "encoder.layers.0.self_attention": ("source", "source"),
        "decoder.layers.0.self_attention": ("target", "target"),
        "decoder.layers.0.cross_attention": ("target", "source"),
    }


def test_axes_of_equally_long_sides_are_inferred_from_causality_and_name() -> None:
    full = torch.full((1, 1, 3, 3), 1 / 3)
    recording = Recording(
        {"encoder.0": full, "decoder.cross": full, "decoder.self": causal(1, 3)[:, :1]}
    )
    recording.label([Tokens(list("abc"), list("xyz"), list("yz."))])
    assert recording.axes == {
        "encoder.0": ("source", "source"),
        "decoder.cross": ("target", "source"),
        "decoder.self": ("target", "target"),
    }
    assert recording.labels("decoder.cross") == (list("yz."), list("abc"))
    assert recording.labels("decoder.self") == (list("xyz"), list("xyz"))


def test_labels_for_another_number_of_examples_are_refused(recording: Recording) -> None:
    with pytest.raises(ValueError, match=r"tokens for \[2, 5\] examples, got 3"):
        recording.label([Tokens()] * 3)


def test_queries_leave_out_padding_and_rows_with_nothing_to_see(recording: Recording) -> None:
    recording.attention["decoder.layers.0.cross_attention"][0, :, 1] = 0
    found = recording.queries("decoder.layers.0.cross_attention")
    assert found.tolist() == [[True, False, True], [True, True, False]]
    assert recording.queries("other").all()


def test_select_cuts_padding(recording: Recording) -> None:
    one = recording.select(1)
    assert one.attention["encoder.layers.0.self_attention"].shape == (1, 2, 1, 1)
    assert one.attention["decoder.layers.0.cross_attention"].shape == (1, 1, 2, 1)
    assert one.source == [["\ud800"]]
    assert one.target == [["z", "</s>"]]
    assert "other" not in one.attention
    assert one.labels("decoder.layers.0.cross_attention") == (["z", "</s>"], ["\ud800"])
    with pytest.raises(IndexError, match="from 0 to 1, got 2"):
        recording.select(2)


def test_select_modules_and_a_head(recording: Recording) -> None:
    decoder = recording.select(modules="decoder.*")
    assert list(decoder.attention) == [
        "decoder.layers.0.self_attention",
        "decoder.layers.0.cross_attention",
    ]
    assert list(decoder.axes) == list(decoder.attention)
    assert decoder.tokens == recording.tokens
    head = recording.select(1, modules=["decoder.*"], head=1)
    assert list(head.attention) == ["decoder.layers.0.self_attention"]  # the other one has one head
    whole = recording.attention["decoder.layers.0.self_attention"]
    assert torch.equal(head.attention["decoder.layers.0.self_attention"], whole[1:2, 1:2, :2, :2])
    with pytest.raises(ValueError, match=r"nothing of 'cross' was recorded; recorded: \['enc"):
        recording.select(modules="cross")
    with pytest.raises(IndexError, match="head from 0 to 1, got 2"):
        recording.select(head=2)


def test_select_cuts_what_belongs_to_attention(recording: Recording) -> None:
    cross, vectors = torch.rand(2, 2, 3, 4), torch.rand(2, 2, 3, 6)
    recording.extra = {"scores": {"cross": cross}, "queries": {"cross": vectors}}
    recording.extra_axes = {
        "scores": {"cross": ("target", "source")},
        "queries": {"cross": ("target",)},
    }
    recording.extra["of an unknown kind"] = {"cross": vectors}
    recording.extra["keys"] = {"their mean": vectors.mean(1)}  # as a kind may expose them
    one = recording.select(1, head=1).extra
    assert torch.equal(one["scores"]["cross"], cross[1:2, 1:2, :2, :1])
    assert torch.equal(one["queries"]["cross"], vectors[1:2, 1:2, :2])
    assert torch.equal(one["of an unknown kind"]["cross"], vectors[1:2])
    assert torch.equal(one["keys"]["their mean"], vectors.mean(1)[1:2])
    recording.extra["scores"]["other"] = torch.rand(2, 1, 3, 4)
    assert list(recording.select(head=1).extra["scores"]) == ["cross"]


def test_a_mask_is_where_the_recording_is(recording: Recording) -> None:
    assert recording.mask("source").device.type == "cpu"
    recording.states["encoder"] = torch.empty(2, 4, 3, device="meta")
    mask = recording.mask("source")
    assert (mask.device.type, mask.shape) == ("meta", (2, 4))


def test_plot_shows_one_example_and_its_labels(recording: Recording) -> None:
    figure = recording.plot("decoder.layers.0.cross_attention", example=0)
    (panel, _) = figure.axes
    assert panel.images[0].get_array().shape == (3, 4)
    assert [label.get_text() for label in panel.texts] == [*"abcd", "x", "y", "</s>"]
    assert len(recording.plot("decoder.layers.0.self_attention", 1).axes) == 3
    (panel, _) = recording.plot("decoder.layers.0.self_attention", 1, head=1).axes
    assert panel.images[0].get_array().shape == (2, 2)
    assert panel.images[0].get_array().tolist() == [[1, 0], [0.5, 0.5]]


def test_plot_of_what_is_not_there_is_a_clear_error(recording: Recording) -> None:
    with pytest.raises(ValueError, match=r"'nowhere' was recorded; recorded: \['encoder"):
        recording.plot("nowhere")
    with pytest.raises(IndexError, match="example from 0 to 1, got 7"):
        recording.plot("decoder.layers.0.cross_attention", example=7)
    with pytest.raises(IndexError, match="head from 0 to 0, got 4"):
        recording.plot("decoder.layers.0.cross_attention", head=4)


def test_saved_and_loaded_is_the_same(recording: Recording, tmp_path: Path) -> None:
    recording.attention["half"] = torch.rand(2, 1, 1, 0).bfloat16()
    path = tmp_path / "run.safetensors"
    recording.save(path)
    loaded = Recording.load(path)
    assert list(loaded.attention) == list(recording.attention)
    for name, weights in recording.attention.items():
        assert loaded.attention[name].dtype == weights.dtype
        assert torch.equal(loaded.attention[name], weights)
    assert loaded.tokens == recording.tokens
    assert loaded.axes == recording.axes
    recording.select(0).save(path)  # overwrites the file; the tensors are views of larger ones
    assert torch.equal(
        Recording.load(path).attention["decoder.layers.0.cross_attention"],
        recording.attention["decoder.layers.0.cross_attention"][:1],
    )
    assert [file.name for file in tmp_path.iterdir()] == ["run.safetensors"]


def test_an_empty_recording_can_be_saved(tmp_path: Path) -> None:
    Recording().save(tmp_path / "none.safetensors")
    assert Recording.load(tmp_path / "none.safetensors").attention == {}


def test_damaged_and_foreign_files_are_refused(recording: Recording, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    recording.save(path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:40], whole[:-8], whole.replace(b"target", b'tar"et', 1)):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"run\.safetensors: expected a recording"):
            Recording.load(path)
    save_file({"attention/a": torch.ones(1)}, path)
    with pytest.raises(ValueError, match="its format is None"):
        Recording.load(path)
    save_file({}, path, metadata={"format": "seqlearn.recording/4"})
    with pytest.raises(ValueError, match="sha256"):
        Recording.load(path)
    with pytest.raises(FileNotFoundError):
        Recording.load(tmp_path / "absent")
    with pytest.raises(OSError, match=r"run\.safetensors"):
        recording.save(path / "new.safetensors")


def test_a_missing_folder_is_created(recording: Recording, tmp_path: Path) -> None:
    recording.save(tmp_path / "new" / "run.safetensors")
    assert Recording.load(tmp_path / "new" / "run.safetensors").axes == recording.axes


def test_repr_is_short(recording: Recording) -> None:
    assert "'decoder.layers.0.cross_attention': (2, 1, 3, 4)" in repr(recording)
    assert len(repr(recording)) < 300


def test_what_bertviz_takes(recording: Recording) -> None:
    found = recording.to_bertviz(1)
    shapes = {name: [tuple(w.shape) for w in found[name]] for name in found if "tokens" not in name}
    assert shapes == {
        "encoder_attention": [(1, 2, 1, 1)],
        "decoder_attention": [(1, 2, 2, 2)],
        "cross_attention": [(1, 1, 2, 1)],
    }
    assert found["encoder_tokens"] == ["\ud800"]
    assert found["decoder_tokens"] == ["<s>", "z"]
    alone = Recording({"a": torch.ones(1, 2, 3, 3), "b": torch.ones(1, 2, 3, 3)})
    alone.tokens = [Tokens()]
    with pytest.raises(ValueError, match="label"):
        alone.to_bertviz()
    alone.label([Tokens(source=list("abc"))])
    found = alone.to_bertviz()
    assert found["tokens"] == list("abc")
    assert len(found["attention"]) == 2


def test_states_and_gates_are_drawn_as_strips() -> None:
    gates = {"reset": torch.rand(2, 3, 4), "update": torch.rand(2, 3, 4)}
    steps = Recording(states={"cell": torch.randn(2, 3, 4)}, gates={"cell": gates})
    steps.label([Tokens(source=list("abc")), Tokens(source=list("d"))])
    panels = [panel for panel in steps.plot("cell").axes if panel.images]
    assert [panel.get_ylabel() for panel in panels][:3] == ["states", "reset", "update"]
    assert panels[0].images[0].get_array().shape == (4, 3)
    (panel, *_) = steps.plot("cell", example=1).axes
    assert panel.images[0].get_array().shape == (4, 1)
    with pytest.raises(IndexError, match="example from 0 to 1, got 2"):
        steps.plot("cell", example=2)
