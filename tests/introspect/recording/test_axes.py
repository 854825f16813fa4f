"""The axes of a recording are those that the modules state, at every length."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import seqlearn as sl
from seqlearn.core.base import SequenceModule
from seqlearn.introspect import Recording, Tokens
from seqlearn.models import GRU, LSTM, RNN, AttentionSeq2Seq, FeedForward, Transformer
from seqlearn.nn import GRULayer, MultiHeadAttention
from seqlearn.spec import SequenceSpec
from seqlearn.testing.cases import TASKS, batch_of

FACTORIES = {
    "FeedForward": lambda spec: FeedForward(spec, d_model=8, window=6),
    "RNN": lambda spec: RNN(spec, d_model=8),
    "GRU": lambda spec: GRU(spec, d_model=8, bidirectional=True),
    "LSTM": lambda spec: LSTM(spec, d_model=8),
    "AttentionSeq2Seq": lambda spec: AttentionSeq2Seq(spec, d_model=8),
    "input_feeding": lambda spec: AttentionSeq2Seq(spec, d_model=8, input_feeding=True),
    "Transformer": lambda spec: Transformer(spec, d_model=8, num_layers=1, num_heads=2),
}
"""One model for each kind of module that states its axes."""

VECTORS = ("context", "encoder.hidden", "encoder.attentional_hidden")
"""Endings of the names of states that are one vector per source and follow no sequence."""


def expected_axes(recording: Recording, spec: SequenceSpec) -> dict[str, tuple[str, str]]:
    found = {}
    for name in recording.attention:
        if name.startswith("decoder.") and name.endswith(
            ("cross_attention", "attentional_hidden.attention")
        ):
            found[name] = ("target", "source")
        elif name == "encoder.attentional_hidden.attention":
            found[name] = ("pooled", "source")
        else:
            side = "source" if name.startswith("encoder.") else "target"
            found[name] = (side, side)
    return found


def expected_times(recording: Recording, spec: SequenceSpec) -> dict[str, str]:
    names = [*(recording.states | recording.gates)]
    sides = {name: "source" if name.startswith("encoder.") else "target" for name in names}
    # Of tags, FeedForward has a window at each token.
    vectors = [name for name in VECTORS if spec.target.kind != "tags" or name != "encoder.hidden"]
    return {name: side for name, side in sides.items() if not name.endswith(tuple(vectors))}


def check(recording: Recording, spec: SequenceSpec) -> None:
    assert recording.axes == expected_axes(recording, spec)
    assert recording.time_axis == expected_times(recording, spec)


def build(name: str, task: str) -> tuple[SequenceModule, SequenceSpec]:
    torch.manual_seed(0)
    spec = TASKS[task]
    return FACTORIES[name](spec).eval(), spec


def buildable() -> list[tuple[str, str]]:
    found = []
    for name, factory in FACTORIES.items():
        for task, spec in TASKS.items():
            try:
                factory(spec)
            except ValueError:
                continue
            found.append((name, task))
    return found


@pytest.mark.parametrize(("name", "task"), buildable())
def test_a_forward_call_of_any_lengths(name: str, task: str) -> None:
    """With a source of one token, one as long as the decoder input, and an empty one."""
    model, spec = build(name, task)
    for source, target in [(1, 0), (1, 1), (3, 2), (4, 2), (0, 0)]:
        sources = {"text": [4] * source, "vector": [0.5, 1.0, -1.0]}
        tags = [[place, 1] for place in range(source)]
        targets = {"text": [5] * target, "classes": 1, "vector": [0.5, 1.0], "tags": tags}
        given = None if spec.source is None else sources[spec.source.kind]
        batch = batch_of(spec, [(given, targets[spec.target.kind])] * 2)
        with torch.no_grad(), sl.record(model) as recording:
            model(batch)
        check(recording, spec)


@pytest.mark.parametrize(
    ("name", "task"),
    [(n, s) for n, s in buildable() if s in ("sequence-to-sequence", "vector-to-sequence")],
)
@pytest.mark.parametrize("strategy", [{}, {"strategy": "beam", "beam_size": 2}])
def test_generation_step_by_step(name: str, task: str, strategy: dict[str, object]) -> None:
    model, spec = build(name, task)
    sources = [[0.5, 1.0, -1.0]] * 2 if task.startswith("vector") else [[4], [5]]
    for limit in (1, 3):
        with sl.record(model) as recording:
            model.generate(sources, max_new_tokens=limit, **strategy)
        check(recording, spec)


def test_known_axes_are_kept_by_labels_by_files_and_by_parts(tmp_path: object) -> None:
    """Cross-attention over a source as long as the target, whose weights are zero at later keys."""
    weights = torch.ones(1, 1, 3, 3).tril()
    with sl.record(nn.Identity()) as recording:
        sl.probe("mine", weights, axes=("target", "source"))
        sl.probe("steps", torch.ones(1, 3, 2), "states", axes=("source",))
    assert recording.axes == {"mine": ("target", "source")}
    assert recording.time_axis == {"steps": "source"}
    recording.label([Tokens(list("abc"), list("xyz"), list("yz."))])
    assert recording.axes == {"mine": ("target", "source")}
    assert recording.time_axis == {"steps": "source"}
    assert recording.labels("mine") == (list("yz."), list("abc"))
    path = tmp_path / "run.safetensors"
    recording.save(path)
    for other in (Recording.load(path), recording.select(0)):
        other.label([Tokens(list("abc"), list("xyz"), list("yz."))])
        assert other.axes == recording.axes
        assert other.time_axis == recording.time_axis


class Cross(nn.Module):
    """A user's decoder that reports its cross-attention with `sl.probe`."""

    def __init__(self, axes: tuple[str, ...] | None) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, inputs: Tensor, memory: sl.Memory, state: None = None) -> tuple:
        scores = inputs @ memory.states.transpose(1, 2)
        weights = sl.probe("mine", scores.softmax(-1)[:, None], axes=self.axes)
        return inputs + (weights[:, 0] @ memory.states), None


@pytest.mark.parametrize("tokens", [1, 3])
def test_a_probe_of_cross_attention_over_a_source_as_long_as_the_target(tokens: int) -> None:
    model, spec = build("Transformer", "sequence-to-sequence")
    model.decoder = Cross(("target", "source"))
    batch = batch_of(spec, [([4] * tokens, [5] * (tokens - 1))])
    with torch.no_grad(), sl.record(model) as recording:
        model(batch)
    assert recording.axes["mine"] == ("target", "source")


@pytest.mark.parametrize(
    ("kind", "axes"),
    [
        ("attention", ("target",)),
        ("attention", ("query", "key")),
        ("states", ("source", "source")),
        ("states", "source"),
    ],
)
def test_axes_that_are_none_are_refused(kind: str, axes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=f"expected axes of {kind} as"):
        sl.probe("mine", torch.ones(1, 2, 2), kind, axes=axes)


def test_statements_that_contradict_one_another_leave_the_axes_unknown() -> None:
    with sl.record(nn.Identity()) as recording:
        sl.probe("mine", torch.ones(1, 1, 2, 2), axes=("target", "source"))
        sl.probe("mine", torch.ones(1, 1, 2, 2), axes=("source", "source"))
    assert recording.axes == {}


def test_a_statement_that_does_not_fit_the_sizes_labels_nothing() -> None:
    """A memory shorter than its source has no token for each of its states."""
    model, spec = build("Transformer", "sequence-to-sequence")

    class Pooled(nn.Module):
        def forward(self, inputs: Tensor, mask: Tensor) -> sl.Memory:
            pooled = inputs.mean(1)
            return sl.Memory(pooled[:, None], mask[:, :1], pooled)

    model.encoder = Pooled()
    with torch.no_grad(), sl.record(model) as recording:
        model(batch_of(spec, [([4, 5, 6], [4, 5])]))
    assert "decoder.layers.0.cross_attention" not in recording.axes
    assert recording.axes["decoder.layers.0.self_attention"] == ("target", "target")


def test_parts_of_ours_in_a_module_of_ones_own_state_their_axes() -> None:
    """No tokens are known: figures have indices as labels, and nothing raises."""

    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = MultiHeadAttention(8, 2)
            self.layer = GRULayer(8, 8, axis="source")

        def forward(self, inputs: Tensor) -> Tensor:
            mask = torch.ones(inputs.shape[:2], dtype=torch.bool)
            return self.layer(self.attention(inputs, mask))[0]

    model = Mine().eval()
    with torch.no_grad(), sl.record(model) as recording:
        model(torch.randn(2, 3, 8))
    assert recording.axes == {"attention": ("source", "source")}
    assert recording.time_axis == {"layer": "source"}
    assert not recording.knows("source")
    assert recording.plot("attention").axes
    assert recording.plot("layer").axes
    with pytest.raises(ValueError, match="label"):
        recording.to_bertviz()
