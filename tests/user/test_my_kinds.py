"""A user registers recorded kinds from a file of their own, and records, selects and saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from my_kinds import LAST, NOVELTY, SIMILARITY, Probed

import seqlearn as sl
from seqlearn import instrumentation
from seqlearn.batch import START
from seqlearn.introspect import RecordedKind, Recording, register_kind
from seqlearn.testing import TASKS

WHAT = ("attention", "states", "novelty", "last logits", "similarity")


@pytest.fixture
def recording() -> Recording:
    torch.manual_seed(0)
    model = Probed(TASKS["sequence-to-sequence"], d_model=4, num_layers=1).eval()
    with sl.record(model, what=WHAT) as found:
        model.generate(
            [[4, 5, 6], [7]], strategy="beam", beam_size=2, max_new_tokens=3, prompts=[[], []]
        )
    return found


def test_steps_are_concatenated_along_the_best_hypothesis(recording: Recording) -> None:
    """And equal those of a teacher-forced forward pass over it."""
    torch.manual_seed(0)
    model = Probed(TASKS["sequence-to-sequence"], d_model=4, num_layers=1).eval()
    for row, source in enumerate([[4, 5, 6], [7]]):
        one = recording.select(row)
        fed = [START, *map(int, one.tokens[0].decoder_input[1:])]
        with torch.no_grad():
            memory = model.encode(torch.tensor([source]), torch.tensor([len(source)]))
            hidden, _ = model.decode(torch.tensor([fed]), memory)
            logits = model.head(hidden)
        torch.testing.assert_close(
            one["novelty"]["out"], hidden.norm(dim=-1, keepdim=True).exp(), atol=1e-5, rtol=1e-5
        )
        torch.testing.assert_close(one["last logits"]["head"], logits[:, -1:], atol=1e-5, rtol=1e-5)
        similarity = hidden @ memory.states.mT
        found = one["similarity"]["cross"][..., : len(source)]
        torch.testing.assert_close(found, similarity, atol=1e-5, rtol=1e-5)


def test_axes_are_those_that_were_stated(recording: Recording) -> None:
    assert recording.extra_axes == {
        "novelty": {"out": ("target",)},
        "last logits": {"head": ("pooled",)},
        "similarity": {"cross": ("target", "source")},
    }
    assert list(recording.modules)[-3:] == ["out", "head", "cross"]
    assert "novelty: {'out': " in repr(recording)


def test_they_are_selected_saved_and_drawn(recording: Recording, tmp_path: Path) -> None:
    recording.save(tmp_path / "mine.safetensors")
    loaded = Recording.load(tmp_path / "mine.safetensors")
    assert loaded.extra_axes == recording.extra_axes
    for kind, tensors in recording.extra.items():
        for name, tensor in tensors.items():
            assert torch.equal(loaded[kind][name], tensor)
    assert recording.select(modules="out").extra["similarity"] == {}
    panels = recording.plot("out", example=1).axes
    assert panels[0].get_ylabel() == "novelty"


def test_a_kind_that_was_not_recorded_is_named(recording: Recording) -> None:
    with pytest.raises(KeyError, match=r"nothing of kind 'norms' was recorded; kinds: \['att"):
        recording["norms"]
    assert recording["states"] is recording.states


def test_a_kind_is_registered_once() -> None:
    assert register_kind(NOVELTY) is NOVELTY
    with pytest.raises(ValueError, match="'last logits', which is registered already"):
        register_kind(RecordedKind(LAST.name, SIMILARITY.axes))
    with pytest.raises(ValueError, match="three or four axes"):
        register_kind(RecordedKind("flat", ("batch", "width")))
    model = torch.nn.Identity()
    with (
        pytest.raises(ValueError, match="register a kind of your own"),
        sl.record(model, what=["flat"]),
    ):
        pass


def test_axes_of_another_number_are_refused() -> None:
    with pytest.raises(ValueError, match=r"axes of novelty as \(steps,\) or \(queries, keys\)"):
        sl.probe("out", torch.ones(1, 2, 3), "novelty", axes=("target",) * 3)
    with (
        pytest.raises(ValueError, match="expected novelty of 'out' as batch time width"),
        sl.record(torch.nn.Identity(), what=["novelty"]),
    ):
        sl.probe("out", torch.ones(3), "novelty")


def test_a_kind_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is for users
    axes = SIMILARITY.axes
    wrong: list[tuple[Any, str]] = [
        ("norm", "expected a RecordedKind"),
        (RecordedKind("", axes), "not empty as the name"),
        (RecordedKind(3, axes), "not empty as the name"),
        (RecordedKind("n", ["batch", "time", "width"]), "expected axes as a tuple of names"),
        (RecordedKind("n", "btw"), "expected axes as a tuple of names"),
        (RecordedKind("n", axes, "first"), "expected over_steps 'concatenate'"),
        (RecordedKind("n", axes, expose=3), "expected expose to be a function"),
    ]
    for kind, message in wrong:
        with pytest.raises((TypeError, ValueError), match=message):
            register_kind(kind)


def test_a_probe_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is for users
    with pytest.raises(ValueError, match=r"probe 'out': .*'gates', .*'novelty'.* got 'novelti'"):
        sl.probe("out", torch.ones(1, 2, 3), "novelti")
    for wrong in ([1.0], {"gate": 1.0}):
        with pytest.raises(TypeError, match="probe 'out': expected a tensor or a dictionary"):
            sl.probe("out", wrong, "gates")


def test_a_result_for_fewer_outputs_is_an_error() -> None:
    def decode() -> None:
        with sl.record(torch.nn.Identity()), instrumentation.generation([0, 1], 2, None, None):
            instrumentation.decoding_step(None)
            instrumentation.end_decoding([[(0, 0)]], [[2, 5]])

    with pytest.raises(ValueError, match="expected 2 beam_paths and tokens, got 1 and 1"):
        decode()
