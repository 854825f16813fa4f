"""What `record` stores of every architecture, and what it does not change."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from modules import Case, cases

import seqlearn as sl
from seqlearn.batch import length_mask
from seqlearn.introspect import Recording
from seqlearn.nn import FusedLayer, LSTMLayer, reverse_padded

pytestmark = pytest.mark.filterwarnings("ignore:FeedForward reads the last:UserWarning")

CLOSE = {"atol": 1e-9, "rtol": 1e-7}


def kept(recording: Recording) -> dict[str, torch.Tensor]:
    """All tensors, by kind and name."""
    found = {f"attention {name}": weights for name, weights in recording.attention.items()}
    found |= {f"states {name}": steps for name, steps in recording.states.items()}
    return found | {
        f"{gate} {name}": steps
        for name, gates in recording.gates.items()
        for gate, steps in gates.items()
    }


@given(cases())
def test_every_step_has_its_token(case: Case) -> None:
    """A forward pass gives one row for each example, with its tokens and the right masks."""
    model, batch = case.module(), case.batch()
    with torch.no_grad(), sl.record(model) as recording:
        model(batch)
    assert len(recording.tokens) == batch.size
    assert all(len(tensor) == batch.size for tensor in kept(recording).values())
    decoded = model.spec.target.needs_decoder
    sides = {"source": batch.source_lengths, "target": batch.target_lengths if decoded else None}
    for axis, lengths in sides.items():
        if lengths is not None:
            expected = lengths - (1 if axis == "target" else 0)
            mask = recording.mask(axis)  # type: ignore[arg-type]
            width = max(int(expected.max()), 1 if axis == "source" else 0)
            assert torch.equal(mask, length_mask(expected, width))
    for example in range(batch.size):
        one = recording.select(example)
        for name, time in one.time_axis.items():
            side = one.tokens[0].source if time == "source" else one.tokens[0].decoder_input
            steps = one.states.get(name, next(iter(one.gates.get(name, {"": None}).values())))
            assert steps.shape[1] == len(side or [])


@given(
    cases(tasks=("sequence-to-sequence", "vector-to-sequence", "language-modeling")),
    st.sampled_from([{}, {"strategy": "beam", "beam_size": 3}, {"strategy": "sample"}]),
)
def test_generation_is_recorded_as_the_forward_pass_over_its_texts(
    case: Case, strategy: dict[str, object]
) -> None:
    """Greedy, sampled, or the best hypothesis of a beam: attention, states and gates."""
    model, batch = case.module(), case.batch()
    sources: object = [source for source, _ in case.examples]
    options: dict[str, object] = {}
    if case.task == "language-modeling":
        sources, options = None, {"prompts": [[]] * batch.size}
    if strategy.get("strategy") == "sample":
        options["generator"] = torch.Generator().manual_seed(1)
    with sl.record(model) as generated:
        answers = model.generate(sources, max_new_tokens=5, **strategy, **options)
    answered = [(s, answer) for (s, _), answer in zip(case.examples, answers, strict=True)]
    again = case._replace(examples=answered).batch()
    with torch.no_grad(), sl.record(model) as forward:
        model(again)
    assert list(kept(generated)) == list(kept(forward))
    for row in range(batch.size):
        one, other = generated.select(row), forward.select(row)
        steps = len(one.tokens[0].decoder_input or [])
        assert other.tokens[0].decoder_input[:steps] == one.tokens[0].decoder_input
        assert other.tokens[0].decoder_output[:steps] == one.tokens[0].decoder_output
        assert (
            steps >= len(other.tokens[0].decoder_input) - 1
        )  # at the limit no end symbol is generated
        for name, found in kept(one).items():
            expected = kept(other)[name]
            known = one.time_axis | {n: axes[0] for n, axes in one.axes.items()}
            if known.get(name.split(" ", 1)[1]) == "target":
                expected = expected[..., :steps, :] if expected.ndim == 4 else expected[:, :steps]
            expected = expected[..., : found.shape[-1]]
            torch.testing.assert_close(found, expected, **CLOSE)


@given(cases(names=("GRU", "LSTM", "AttentionSeq2Seq")))
def test_gates_give_back_the_states(case: Case) -> None:
    """LSTM: h = o ⊙ tanh(c) and c = f ⊙ c' + i ⊙ g; GRU: h = (1 - z) ⊙ n + z ⊙ h'."""
    model, batch = case.module(), case.batch()
    with torch.no_grad(), sl.record(model, what=("states", "gates")) as recording:
        model(batch)
    layers = {n: m for n, m in model.named_modules() if isinstance(m, FusedLayer)}
    for name, recorded in recording.gates.items():
        mask = recording.mask(recording.time_axis[name])
        states, gates, layer = recording.states[name], recorded, layers[name]
        if layer.reverse:  # from the order of the text to the order of computation
            states, gates = (
                reverse_padded(states, mask),
                {n: reverse_padded(g, mask) for n, g in recorded.items()},
            )
        if isinstance(layer, LSTMLayer):
            shown = gates["output"] * gates["cell"].tanh()
            torch.testing.assert_close(shown[mask], states[mask], **CLOSE)
            made = gates["forget"][:, 1:] * gates["cell"][:, :-1]
            made = made + gates["input"][:, 1:] * gates["candidate"][:, 1:]
            expected = gates["cell"][:, 1:]
        else:
            update = gates["update"][:, 1:]
            made = (1 - update) * gates["candidate"][:, 1:] + update * states[:, :-1]
            expected = states[:, 1:]
        torch.testing.assert_close(made[mask[:, 1:]], expected[mask[:, 1:]], **CLOSE)
