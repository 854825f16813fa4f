"""The options of `record`; loops over time, and vectors without a time axis."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import seqlearn as sl
from seqlearn.batch import END, START, SequenceBatch, pad
from seqlearn.instrumentation import emit, time_loop
from seqlearn.introspect import Recording, record
from seqlearn.models import LSTM, AttentionSeq2Seq, Transformer
from seqlearn.spec import SequenceSpec, TextSpec

SPEC = SequenceSpec(TextSpec(12, 6), TextSpec(12, 6))
BATCH = SequenceBatch(
    *pad([[4, 5, 6, 7, 8], [9, 10]]), *pad([[START, 4, 5, 6, END], [START, 7, END]])
)


def transformer() -> Transformer:
    torch.manual_seed(1)
    return Transformer(SPEC, d_model=8, num_layers=2, num_heads=2).eval()


def test_only_some_modules() -> None:
    model = transformer()
    with record(model, modules=["decoder.*.cross_attention", "encoder.layers.1"]) as recording:
        model(BATCH)
    assert list(recording.attention) == [
        "decoder.layers.0.cross_attention",
        "decoder.layers.1.cross_attention",
    ]
    assert list(recording.states) == ["encoder.layers.1"]
    with pytest.warns(
        UserWarning, match=r"matches modules=\['nowhere'\]; these did: \['decoder\.lay"
    ):
        _record_nowhere(model)


def _record_nowhere(model: nn.Module) -> None:
    with record(model, modules=["nowhere"]):
        model(BATCH)


def test_another_dtype_and_where_it_was_computed() -> None:
    model = transformer()
    with record(model, dtype=torch.bfloat16, device=None) as recording:
        model(BATCH)
    tensors = [*recording.attention.values(), *recording.states.values()]
    assert {tensor.dtype for tensor in tensors} == {torch.bfloat16}


@pytest.mark.parametrize("generates", [False, True])
def test_the_greatest_of_each_row(*, generates: bool) -> None:
    model = transformer()

    def run() -> None:
        if generates:
            sources = [[4, 5, 6, 7, 8], [9, 10]]
            model.generate(sources, max_new_tokens=6, strategy="beam", beam_size=2)
        else:
            model(BATCH)

    with record(model) as whole:
        run()
    with record(model, top_k=2) as top:
        run()
    assert list(top.attention) == list(whole.attention)
    assert top.axes == whole.axes
    for name, weights in whole.attention.items():
        kept = torch.zeros_like(weights)
        found, places = weights.topk(min(2, weights.shape[-1]), -1)
        kept.scatter_(-1, places, found)
        assert torch.equal(top.attention[name], kept), name
    assert top.select(1).attention["decoder.layers.0.cross_attention"].shape[-1] == 2


def test_the_greatest_are_saved_as_they_are_kept(tmp_path: object) -> None:
    model = transformer()
    with record(model, top_k=2) as top:
        model(BATCH)
    top.save(f"{tmp_path}/run.safetensors")
    loaded = Recording.load(f"{tmp_path}/run.safetensors")
    for name, weights in top.attention.items():
        assert torch.equal(loaded.attention[name], weights)
    assert loaded.axes == top.axes


def test_states_gates_and_times_are_saved(tmp_path: object) -> None:
    model = LSTM(SPEC, d_model=4).eval()
    with record(model) as recording:
        model(BATCH)
    recording.save(f"{tmp_path}/run.safetensors")
    loaded = Recording.load(f"{tmp_path}/run.safetensors")
    assert loaded.time_axis == recording.time_axis
    assert loaded.tokens == recording.tokens
    assert list(loaded.states) == list(recording.states)
    for name, gates in recording.gates.items():
        assert list(loaded.gates[name]) == ["input", "forget", "output", "candidate", "cell"]
        for gate, steps in gates.items():
            assert torch.equal(loaded.gates[name][gate], steps)
    assert "gates: {'encoder.layers.0': input, forget" in repr(loaded)


def test_a_limit_names_what_went_beyond_it_and_leaves_the_model() -> None:
    model = transformer()
    with (
        pytest.raises(MemoryError, match=r"max_bytes=600 at states of 'encoder\.layers\.1'; rec"),
        record(model, what=("states",), max_bytes=600),
    ):
        model(BATCH)
    assert model(BATCH).isfinite().all()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"top_k": 0}, ValueError, "top_k of at least 1, got 0"),
        ({"modules": "decoder"}, TypeError, r"one string; pass \['decoder'\]"),
    ],
)
def test_options_out_of_range(
    options: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words), record(nn.Identity(), **options):
        pass


def test_a_loop_over_time_is_one_history() -> None:
    with record(nn.Identity()) as recording:
        for _ in range(2):
            with time_loop():
                for step in range(3):
                    sl.probe("mine", torch.full((2, 1, step + 1), 1.0))
                    sl.probe("cell", torch.full((2, 1, 4), float(step)), kind="states")
    assert recording.attention["mine"].shape == (4, 1, 3, 3)
    assert torch.equal(recording.attention["mine"][0, 0], torch.ones(3, 3).tril())
    assert recording.states["cell"].shape == (4, 3, 4)
    assert recording.states["cell"][0, :, 0].tolist() == [0, 1, 2]


def test_a_loop_that_fails_leaves_the_next_call_alone() -> None:
    model = AttentionSeq2Seq(SPEC, d_model=4, input_feeding=True).eval()
    attentional_hidden, calls = model.decoder.attentional_hidden, []

    def fail(*_: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise ZeroDivisionError

    hook = attentional_hidden.register_forward_pre_hook(fail)
    with record(model) as recording:
        with pytest.raises(ZeroDivisionError):
            model(BATCH)
        hook.remove()
        model(BATCH)
    assert recording.attention["decoder.attentional_hidden.attention"].shape == (2, 1, 4, 5)
    assert len(recording.tokens) == 2


def test_a_vector_for_each_example_has_no_time() -> None:
    model = LSTM(SPEC, d_model=4).eval()
    with record(model) as recording:
        model(BATCH)
    assert recording.states["encoder.context"].shape == (2, 1, 4)
    assert "encoder.context" not in recording.time_axis


def test_states_and_gates_with_wrong_axes() -> None:
    with (
        pytest.raises(ValueError, match=r"states of 'mine' as batch time width .* \(3,\)"),
        record(nn.Identity()),
    ):
        emit("states", "mine", lambda: torch.ones(3))


def test_classes_are_recorded_in_the_callers_order() -> None:
    spec = SequenceSpec(TextSpec(12, 6), sl.ClassesSpec(("a", "b")))
    model = AttentionSeq2Seq(spec, d_model=4).eval()
    with record(model) as recording:
        model.classify([[4, 5, 6], [7], [8, 9]])
    assert recording.source == [["4", "5", "6"], ["7"], ["8", "9"]]
    name = "encoder.attentional_hidden.attention"
    assert recording.axes[name] == ("pooled", "source")
    assert recording.labels(name, 2) == (["pooled"], ["8", "9"])
    assert (recording.attention[name] > 0).sum(-1).flatten().tolist() == [3, 1, 2]


def test_labels_given_later_tell_the_times() -> None:
    recording = Recording(states={"encoder.0": torch.ones(1, 3, 2), "b": torch.ones(1, 2, 2)})
    recording.label([sl.introspect.Tokens(list("abc"), list("xy"), list("y."))])
    assert recording.time_axis == {"encoder.0": "source", "b": "target"}
    assert recording.mask("target").tolist() == [[True, True]]
    recording.label([sl.introspect.Tokens(None, list("xy"), list("y."))])
    with pytest.raises(ValueError, match="the source tokens of example 0 are not known"):
        recording.mask("source")
