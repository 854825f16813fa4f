"""`record`: forward passes, generation, and what it must not change."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo import eval_frame

from seqlearn.batch import END, START, SequenceBatch, pad
from seqlearn.instrumentation import GenerationResult, active_listeners, emit, probe
from seqlearn.introspect import Tokens, record
from seqlearn.models import Transformer
from seqlearn.spec import SequenceSpec, TextSpec


class Mixer(nn.Module):
    """Self-attention with a causal or a padding mask, which reports its weights."""

    def __init__(self, d_model: int = 8, heads: int = 2, *, causal: bool = False) -> None:
        super().__init__()
        self.projection = nn.Linear(d_model, 2 * d_model)
        self.heads, self.causal = heads, causal

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        batch, time, _ = inputs.shape
        parts = self.projection(inputs).view(batch, time, 2, self.heads, -1)
        query, key = parts.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-2, -1)
        if self.causal:
            scores = scores.masked_fill(torch.ones(time, time).triu(1).bool(), -1e9)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None], -1e9)
        emit("attention", self, lambda: scores.softmax(-1))
        return nn.functional.dropout(scores.softmax(-1), 0.5, self.training).mean(1) @ inputs


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Mixer(), Mixer(causal=True)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.second(self.first(inputs))


def weights_of(*values: float, heads: int = 1, query: int = 1, key: int = 2) -> Tensor:
    """Weights with a different value in each row."""
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, heads, query, key).clone()


def notify(method: str, *arguments: object) -> None:
    for listener in active_listeners():
        getattr(listener, method)(*arguments)


def end(beam_paths: Sequence[object], tokens: Sequence[Sequence[int]]) -> None:
    notify("generation_end", GenerationResult(beam_paths, tokens))


def chunk(
    outputs: Sequence[int],
    source: Tensor | None = None,
    lengths: Tensor | None = None,
    *,
    steps: int = 2,
    total: int | None = None,
) -> None:
    """Generate outputs without reordering; every weight is the output's position plus 1."""
    values = [float(position + 1) for position in outputs]
    notify("generation_start", outputs, len(outputs) if total is None else total, source, lengths)
    emit("attention", "encoder", lambda: weights_of(*values, query=2))
    for step in range(steps):
        notify("decoding_step", None)
        emit("attention", "cross", lambda: weights_of(*values))
        keys = step + 1
        emit("attention", "self", lambda keys=keys: weights_of(*values, key=keys))
    fed = [[2, *[10 + position] * (steps - 1)] for position in outputs]
    end([[(steps - 1, row)] for row in range(len(outputs))], fed)


# Forward passes


def test_keys_are_module_names_and_rows_sum_to_one() -> None:
    model = Pair()
    with record(model) as recording:
        model(torch.randn(3, 5, 8))
    assert list(recording.attention) == ["first", "second"]
    weights = recording.attention["second"]
    assert weights.shape == (3, 2, 5, 5)
    assert torch.allclose(weights.sum(-1), torch.ones(3, 2, 5))
    assert not weights.triu(1).any()
    assert not weights.requires_grad
    assert recording.tokens == [Tokens()] * 3


def test_forward_calls_follow_one_another_padded_with_zeros() -> None:
    model = Mixer()
    short, long = torch.randn(2, 3, 8), torch.randn(1, 4, 8)
    with record(model) as both:
        model(short)
        model(long)
    with record(model) as alone:
        model(short)
    weights = both.attention[""]
    assert weights.shape == (3, 2, 4, 4)
    assert torch.equal(weights[:2, :, :3, :3], alone.attention[""])
    assert not weights[:2, :, 3:].any()
    assert not weights[:2, :, :, 3:].any()
    assert weights[2].bool().all()


@pytest.mark.parametrize("training", [False, True])
def test_recording_changes_no_output_and_no_random_state(*, training: bool) -> None:
    model = Pair().train(training)
    inputs = torch.randn(2, 4, 8)
    torch.manual_seed(1)
    expected, state = model(inputs), torch.get_rng_state()
    torch.manual_seed(1)
    with record(model) as recording:
        found = model(inputs)
    assert torch.equal(found, expected)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.allclose(recording.attention["first"].sum(-1), torch.ones(2, 2, 4))
    found.sum().backward()  # the graph is that of the model
    assert all(not module._forward_hooks for module in model.modules())


def test_what_is_kept_is_a_copy_and_no_inference_tensor() -> None:
    weights = torch.full((1, 1, 1, 2), 0.5)
    model = nn.Identity()
    with record(model) as recording, torch.inference_mode():
        probe("mine", weights)
        weights += 1
    assert torch.equal(recording.attention["mine"], torch.full((1, 1, 1, 2), 0.5))
    assert not recording.attention["mine"].is_inference()


def test_the_dtype_computed_is_kept() -> None:
    model = Mixer().bfloat16()
    with record(model) as recording:
        model(torch.randn(1, 2, 8, dtype=torch.bfloat16))
    assert recording.attention[""].dtype == torch.bfloat16


def test_weights_without_heads_and_wrong_axes() -> None:
    with record(nn.Identity()) as recording:
        probe("mine", torch.ones(2, 3, 1))
    assert recording.attention["mine"].shape == (2, 1, 3, 1)
    with (
        pytest.raises(ValueError, match=r"'mine' as batch heads query key .* \(2, 3\)"),
        record(nn.Identity()),
    ):
        probe("mine", torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"'mine' reported attention with \[1, 2\] heads"):
        _heads_in_turn()


def _heads_in_turn() -> None:
    with record(nn.Identity()):
        probe("mine", torch.ones(1, 1, 1, 1))
        probe("mine", torch.ones(1, 2, 1, 1))


def test_modules_outside_the_model_and_other_kinds_are_not_recorded() -> None:
    model, other = Mixer(), Mixer()
    with record(model) as recording:
        other(torch.randn(1, 2, 8))
        model(torch.randn(1, 2, 8))
        probe("hidden", torch.ones(1, 2, 3), kind="states")
    assert list(recording.attention) == [""]
    assert len(recording.attention[""]) == 1


def test_nested_recordings_both_hear() -> None:
    model = Mixer()
    with record(model) as outer:
        model(torch.randn(1, 2, 8))
        with record(model) as inner:
            model(torch.randn(1, 3, 8))
        model(torch.randn(1, 2, 8))
    assert len(outer.attention[""]) == 3
    assert torch.equal(outer.attention[""][1:2], inner.attention[""])


def test_an_exception_leaves_no_listener_and_an_empty_recording() -> None:
    model = Mixer()
    with pytest.raises(ZeroDivisionError), record(model) as recording:  # noqa: PT012
        model(torch.randn(1, 2, 8))
        raise ZeroDivisionError
    assert active_listeners() == ()
    assert recording.attention == {}


def test_only_this_thread_is_recorded() -> None:
    model = Mixer()
    with record(model) as recording:
        thread = threading.Thread(target=model, args=(torch.randn(4, 2, 8),))
        thread.start()
        thread.join()
        model(torch.randn(1, 2, 8))
    assert len(recording.attention[""]) == 1


def test_two_threads_that_record_in_turn_leave_compiled_models_compiled() -> None:
    """The first to start ends first; each records its own thread."""
    first, second = threading.Event(), threading.Event()
    recorded: dict[str, int] = {}
    model = Mixer()

    def begins_first() -> None:
        with record(model) as recording:
            model(torch.randn(1, 2, 8))
            first.set()
            second.wait(300)
        recorded["first"] = len(recording.attention[""])

    def ends_last() -> None:
        first.wait(300)
        with record(model) as recording:
            second.set()
            threads[0].join(20)
            model(torch.randn(3, 2, 8))
        recorded["second"] = len(recording.attention[""])

    threads = [threading.Thread(target=run) for run in (begins_first, ends_last)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert recorded == {"first": 1, "second": 3}
    assert eval_frame._stance.stance == "default"


def test_nothing_recorded_is_a_warning_that_says_how_to_join() -> None:
    with pytest.warns(UserWarning, match=r"nothing from Linear.*sl\.probe") as caught:
        _record_nothing()
    assert caught[0].filename == __file__


def _record_nothing() -> None:
    model = nn.Linear(2, 2)
    with record(model) as recording:
        model(torch.randn(1, 2))
    assert recording.attention == {}


@pytest.mark.parametrize("what", ["attention", (), ("attention", "gatse")])
def test_an_unknown_kind_is_refused(what: Sequence[str]) -> None:
    with (
        pytest.raises(ValueError, match=r"names among \('attention', 'states', 'gates'.*\), got"),
        record(nn.Identity(), what),
    ):
        pass


# Generation


def test_generation_follows_each_output_back_through_rows_that_leave() -> None:
    """Output 1 ends after one step, output 0 after two, output 2 after three."""
    with record(nn.Identity()) as recording:
        notify("generation_start", [0, 1, 2], 3, None, None)
        notify("decoding_step", None)
        emit("attention", "self", lambda: weights_of(0.1, 1.1, 2.1, key=1))
        notify("decoding_step", torch.tensor([0, 2]))
        emit("attention", "self", lambda: weights_of(0.2, 2.2, key=2))
        notify("decoding_step", torch.tensor([1]))
        emit("attention", "self", lambda: weights_of(2.3, key=3))
        end([[(1, 0)], [(0, 1)], [(2, 0)]], [[2, 7], [2], [2, 8, 9]])
    weights = recording.attention["self"][:, 0]
    expected = torch.tensor(
        [
            [[0.1, 0, 0], [0.2, 0.2, 0], [0, 0, 0]],
            [[1.1, 0, 0], [0, 0, 0], [0, 0, 0]],
            [[2.1, 0, 0], [2.2, 2.2, 0], [2.3, 2.3, 2.3]],
        ]
    )
    assert torch.equal(weights, expected)
    assert [tokens.decoder_input for tokens in recording.tokens] == [
        ["2", "7"],
        ["2"],
        ["2", "8", "9"],
    ]
    assert recording.target == [["7", "3"], ["3"], ["8", "9", "3"]]
    assert recording.axes == {"self": ("target", "target")}


def test_generation_follows_the_best_hypothesis_of_a_beam() -> None:
    """Two rows per sentence; the best hypothesis moves from one row to the other."""
    with record(nn.Identity()) as recording:
        notify("generation_start", [0], 1, None, None)
        notify("decoding_step", None)
        emit("attention", "cross", lambda: weights_of(0.1))
        notify("decoding_step", torch.tensor([0, 0]))
        emit("attention", "cross", lambda: weights_of(0.2, 0.3))
        notify("decoding_step", torch.tensor([1, 1]))
        emit("attention", "cross", lambda: weights_of(0.4, 0.5))
        end([[(2, 1), (2, 0)]], [[2, 5, 6, 7]])
    assert torch.equal(recording.attention["cross"][0, 0, :, 0], torch.tensor([0.1, 0.3, 0.5]))


def test_a_prompt_gives_several_queries_in_one_step_and_the_limit_ends_without_an_end() -> None:
    with record(nn.Identity()) as recording:
        notify("generation_start", [0], 1, None, None)
        notify("decoding_step", None)
        emit("attention", "self", lambda: weights_of(0.5, query=3, key=3))
        notify("decoding_step", None)
        emit("attention", "self", lambda: weights_of(0.25, key=4))
        end([[(1, 0)]], [[2, 5, 6, 7, 8]])
    assert recording.attention["self"].shape == (1, 1, 4, 4)
    assert not recording.attention["self"][0, 0, :3, 3].any()
    assert recording.tokens == [Tokens(None, ["2", "5", "6", "7"], ["5", "6", "7", "8"])]


def test_chunks_are_put_into_the_callers_order_and_calls_stay_apart() -> None:
    with record(nn.Identity()) as recording:
        chunk([2, 0], total=3)
        chunk([1], steps=3, total=3)
        chunk([1], total=2)
        chunk([0], total=2)
        probe("encoder", weights_of(9.0))
        chunk([0])
    first = recording.attention["cross"][:, 0, 0, 0]
    assert first.tolist() == [1, 2, 3, 1, 2, 1]
    assert recording.attention["encoder"][:, 0, 0, 0].tolist() == [1, 2, 3, 1, 2, 9, 1]
    assert recording.attention["cross"].shape == (6, 1, 3, 2)
    fed = [tokens.decoder_input for tokens in recording.tokens]
    assert fed[:3] == [["2", "10"], ["2", "11", "11"], ["2", "12"]]
    assert fed[5:] == [None, ["2", "10"]]


def test_a_generation_that_fails_leaves_nothing() -> None:
    size = sum(weights.nbytes for weights in (weights_of(1.0, query=2), weights_of(1.0)) * 2)
    with record(nn.Identity(), max_bytes=6 * size) as recording:
        for _ in range(20):
            chunk([2, 0], total=4)
            notify("generation_start", [3], 4, None, None)
            emit("attention", "encoder", lambda: weights_of(9.0, query=2))
            notify("generation_end", None)
            chunk([0, 1], total=4)  # and nothing says that the call has failed after it
        chunk([1], total=2)
        chunk([0], total=2)
        with pytest.raises(MemoryError):
            probe("encoder", torch.ones(1, 1, 99, 99))
        chunk([0, 1], total=2)
        chunk([0, 1], total=4)
    assert recording.attention["cross"][:, 0, 0, 0].tolist() == [1, 2, 1, 2]
    assert recording.attention["encoder"][:, 0, 0, 0].tolist() == [1, 2, 1, 2]
    assert len(recording.tokens) == 4


def test_self_attention_has_no_keys_after_the_longest_result() -> None:
    with record(nn.Identity()) as recording:
        notify("generation_start", [0, 1], 2, None, None)
        for step in range(5):
            notify("decoding_step", None)
            keys = step + 1
            emit("attention", "self", lambda keys=keys: weights_of(1.0, 2.0, key=keys))
        end([[(2, 0)], [(1, 1)]], [[2, 10, 10], [2, 11]])
    assert recording.attention["self"].shape == (2, 1, 3, 3)
    assert recording.axes["self"] == ("target", "target")


def test_source_and_target_are_named_by_the_spec_of_the_model() -> None:
    side = SimpleNamespace(tokens=lambda ids: [f"<{i}>" for i in ids])
    model = nn.Identity()
    model.spec = SimpleNamespace(source=side, target=side)  # type: ignore[assignment]
    with record(model) as recording:
        chunk([1, 0], torch.tensor([[4, 5], [6, 0]]), torch.tensor([2, 1]))
    assert recording.source == [["<6>"], ["<4>", "<5>"]]
    assert recording.target == [["<10>", "<3>"], ["<11>", "<3>"]]
    assert recording.axes == {
        "encoder": ("source", "source"),
        "cross": ("target", "source"),
        "self": ("target", "target"),
    }
    assert recording.labels("cross", 0) == (["<10>", "<3>"], ["<6>"])
    assert recording.labels("self", 0) == (["<2>", "<10>"], ["<2>", "<10>"])
    assert recording.labels("encoder", 1) == (["<4>", "<5>"], ["<4>", "<5>"])


@pytest.mark.parametrize(("width", "axes"), [(1, None), (3, ("target", "target"))])
def test_axes_that_cannot_be_inferred_stay_unknown(width: int, axes: object) -> None:
    with record(nn.Identity()) as recording:
        chunk([0], torch.ones(1, width, dtype=torch.long), torch.tensor([width]), steps=1)
    assert recording.axes.get("self") == axes
    assert "encoder" not in recording.axes  # it reported two queries and keys
    assert recording.labels("encoder") == (None, None)


def test_a_vector_source_is_one_token() -> None:
    with record(nn.Identity()) as recording:
        chunk([0], torch.randn(1, 3))
    assert recording.source == [["vector"]]


def test_a_source_that_is_not_encoded_row_by_row_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'encoder' for 2 sources, got \[1\] rows"):
        _encode_too_few()


def _encode_too_few() -> None:
    with record(nn.Identity()):
        notify("generation_start", [0, 1], 2, None, None)
        probe("encoder", weights_of(1.0))
        end([[], []], [[2], [2]])


def transformer() -> Transformer:
    spec = SequenceSpec(TextSpec(12, 6), TextSpec(12, 6))
    torch.manual_seed(1)
    model = Transformer(spec, d_model=8, num_layers=2, num_heads=2).eval()
    model.head.weight.data *= 3  # texts of different lengths, some cut at the limit
    return model


def test_generate_of_the_transformer_is_what_its_forward_call_attends_to() -> None:
    """A forward pass over the generated texts records the same, with and without a cache."""
    model = transformer()
    sources = [[4, 5, 6, 7], [8], [], [9, 10, 11]]
    unrecorded = model.generate(sources, max_new_tokens=5)
    with record(model) as generated:
        answers = model.generate(sources, max_new_tokens=5)
    assert answers == unrecorded
    assert generated.source == [[str(i) for i in ids] for ids in sources]
    assert len(generated.attention) == 6
    for row, (ids, answer) in enumerate(zip(sources, answers, strict=True)):
        one = generated.select(row)
        source, lengths = pad([ids])
        fed = [START, *answer, END][: len(one.tokens[0].decoder_input or []) + 1]
        target, target_lengths = pad([fed])
        with record(model) as forward, torch.no_grad():
            model(SequenceBatch(source, lengths, target, target_lengths))
        assert list(forward.attention) == list(one.attention)
        for name, weights in forward.attention.items():
            assert torch.allclose(weights, one.attention[name], atol=1e-6), name
            visible = (weights != 0).any(-1)
            assert torch.allclose(weights.sum(-1)[visible], torch.ones(()))
    assert generated.axes["encoder.layers.0.self_attention"] == ("source", "source")
    assert generated.axes["decoder.layers.1.self_attention"] == ("target", "target")
    assert generated.axes["decoder.layers.1.cross_attention"] == ("target", "source")
    answered = [[i for i in ids or [] if i != "</s>"] for ids in generated.target]
    assert answered == [[str(i) for i in ids] for ids in answers]
    assert len({len(ids) for ids in answers}) > 1


def test_recording_a_forward_without_a_listener_costs_no_computation() -> None:
    def never() -> Tensor:
        raise AssertionError

    emit("attention", "mine", never)
    with warnings.catch_warnings(), record(nn.Identity(), what=("attention", "gates")):
        warnings.simplefilter("ignore")
        emit("states", "mine", never)
