"""Empty sources and targets: the base handles them, no encoder and no decoder has to."""

from __future__ import annotations

import pytest
import torch
from packed import Packed

import seqlearn as sl
from seqlearn.batch import SequenceBatch, pad
from seqlearn.testing import check_module

TEXT, WORDS = sl.TextSpec(11, 8), sl.TextSpec(9, 8)
SPEC = sl.SequenceSpec(TEXT, WORDS)
MODELS = {
    "FeedForward": lambda spec: sl.FeedForward(spec, d_model=4, window=4),
    "LSTM": lambda spec: sl.LSTM(spec, d_model=4),
    "AttentionSeq2Seq": lambda spec: sl.AttentionSeq2Seq(spec, d_model=4, input_feeding=True),
    "Transformer": lambda spec: sl.Transformer(spec, d_model=4, num_layers=1, num_heads=2),
    "Packed": lambda spec: Packed(spec, d_model=4),
}


@pytest.mark.parametrize("sources", [[[4, 5], [], [6]], [[], []]])
@pytest.mark.parametrize("name", MODELS)
def test_the_memory_of_an_empty_source_is_masked_and_zero(
    name: str, sources: list[list[int]]
) -> None:
    torch.manual_seed(1)
    model = MODELS[name](SPEC).eval()
    seen: list[torch.Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    memory = model.encode(*pad(sources))
    assert seen[0].sum(1).tolist() == [max(1, len(source)) for source in sources]
    for row, source in enumerate(sources):
        if source:
            alone = model.encode(*pad([source]))
            torch.testing.assert_close(memory.pooled[row], alone.pooled[0])
        else:
            assert not memory.mask[row].any()
            assert not memory.states[row].any()
            assert not memory.pooled[row].any()


@pytest.mark.parametrize("name", MODELS)
def test_zero_tokens_give_no_output_and_keep_the_state(name: str) -> None:
    torch.manual_seed(1)
    model = MODELS[name](SPEC).train()
    calls: list[int] = []
    model.decoder.register_forward_pre_hook(lambda _, args: calls.append(args[0].shape[1]))
    memory = model.encode(*pad([[4, 5], []]))
    nothing = torch.zeros(2, 0, dtype=torch.long)
    with torch.no_grad():
        answers, state = model.decode(nothing, memory, "the state")
    assert (answers.shape, state, calls) == ((2, 0, 4), "the state", [])
    answers, state = model.decode(nothing, memory)
    assert (answers.shape, state, calls) == ((2, 0, 4), None, [1])
    answers.sum().backward()
    used = {n: p for n, p in model.named_parameters() if not n.startswith("head")}
    assert all(p.grad is not None and not p.grad.any() for p in used.values())


def test_a_module_of_layers_that_take_no_empty_sequence_obeys_the_laws() -> None:
    laws = [
        2,
        3,
        4,
        "incremental decoding",
        "cached equals uncached",
        "gradients",
        "loss additivity",
        "distributed and accumulation equivalence",
        "recording",
    ]
    report = check_module(lambda spec: Packed(spec, d_model=6), laws=laws, examples=6)
    assert {
        "shapes",
        "empty target",
        "padding",
        "gradients",
        "distributed and accumulation equivalence",
    } <= set(report.held)


@pytest.mark.parametrize("name", ["LSTM", "AttentionSeq2Seq", "Transformer"])
def test_what_is_recorded_of_an_empty_source_is_zero(name: str) -> None:
    torch.manual_seed(1)
    spec = sl.SequenceSpec(TEXT, sl.ClassesSpec(("a", "b", "c")))
    model = MODELS[name](spec).eval()
    batch = SequenceBatch(*pad([[4, 5], []]), torch.tensor([0, 1]), None)
    with torch.no_grad(), sl.record(model) as recording:
        outputs = model(batch)
    with torch.no_grad():
        assert torch.equal(outputs, model(batch))
    assert recording.tokens[1].source == []
    for recorded in (*recording.attention.values(), *recording.states.values()):
        assert recorded[0].any()
        assert not recorded[1].any()
    assert all("source" in axes for axes in recording.axes.values())
