"""Scores, queries, keys, values, contributions and positions: the detailed kinds of `record`."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import seqlearn as sl
from seqlearn.batch import END, START, SequenceBatch, pad
from seqlearn.introspect import DETAILED, Recording, record
from seqlearn.nn import attention, luong_attention
from seqlearn.nn.luong_attention import additive_scores
from seqlearn.nn.positions import sinusoidal
from seqlearn.spec import SequenceSpec, TextSpec

SPEC = SequenceSpec(TextSpec(12, 6), TextSpec(12, 6))
SOURCES = [[4, 5, 6, 7, 8], [9, 10], [5]]
BATCH = SequenceBatch(*pad(SOURCES), *pad([[START, 4, 5, 6, END], [START, 7, END], [START, END]]))
MODELS: dict[str, Any] = {
    "sinusoidal": lambda: sl.Transformer(SPEC, d_model=8, num_layers=2, num_heads=2),
    "rotary": lambda: sl.Transformer(
        SPEC, d_model=8, num_layers=1, num_heads=2, norm="pre", positions="rotary"
    ),
} | {
    score: lambda score=score: sl.AttentionSeq2Seq(SPEC, cell="rnn", score=score, d_model=8)
    for score in ("dot", "general", "additive", "scaled_dot")
}
RUNS: dict[str, dict[str, Any]] = {
    "teacher forcing": {},
    "greedy": {"strategy": "greedy"},
    "beam": {"strategy": "beam", "beam_size": 3},
}


def recorded(model: Any, run: str) -> Recording:
    model.eval()
    with record(model, what=DETAILED) as recording:
        if run == "teacher forcing":
            model(BATCH)
        else:
            model.generate(SOURCES, max_new_tokens=4, **RUNS[run])
    return recording


def expected_scores(model: Any, name: str, query: Tensor, key: Tensor) -> Tensor:
    module = model.get_submodule(name)
    if getattr(module, "score", None) == "additive":
        return additive_scores(module.query(query[:, 0]), key[:, 0], module.v)[:, None]
    scale = 1 if getattr(module, "score", "") in ("dot", "general") else math.sqrt(query.shape[-1])
    return query @ key.mT / scale


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_the_softmax_of_the_scores_is_the_weights(name: str, run: str) -> None:
    """And the scores are those of the recorded queries and keys, for real queries."""
    torch.manual_seed(0)
    model = MODELS[name]()
    found = recorded(model, run)
    assert set(found.extra["scores"]) == set(found.attention)
    for module, weights in found.attention.items():
        scores = found["scores"][module]
        assert found.extra_axes["scores"][module] == found.axes[module]
        torch.testing.assert_close(scores.softmax(-1).nan_to_num(0.0), weights)
        parts = [found[kind][module] for kind in ("queries", "keys", "values")]
        query, key, value = parts
        assert value.shape == key.shape
        for row in range(len(SOURCES)):
            queries, keys = found.labels(module, row)
            assert queries is not None
            assert keys is not None
            cut = scores[row : row + 1, :, : len(queries), : len(keys)]
            q, k = query[row : row + 1, :, : len(queries)], key[row : row + 1, :, : len(keys)]
            expected = expected_scores(model, module, q, k)
            seen = cut != -math.inf
            causal = found.axes[module] == ("target", "target")
            assert torch.equal(seen, torch.ones_like(cut).bool().tril() if causal else seen | True)
            torch.testing.assert_close(cut[seen], expected[seen])


@pytest.mark.parametrize("name", ["sinusoidal", "general"])
@torch.no_grad()
def test_generation_records_what_teacher_forcing_does(name: str) -> None:
    torch.manual_seed(1)
    model = MODELS[name]()
    generated = recorded(model, "beam")
    targets = []
    for tokens in generated.tokens:
        assert tokens.decoder_input is not None
        assert tokens.decoder_output is not None
        targets.append([START, *map(int, tokens.decoder_input[1:]), 4])
    with record(model, what=DETAILED) as forced:
        model(SequenceBatch(*pad(SOURCES), *pad(targets)))
    for kind, tensors in generated.extra.items():
        for module, tensor in tensors.items():
            axis = generated.extra_axes[kind][module][0]
            for row in range(len(SOURCES)):
                length = len(generated.tokens_along(axis, row) or [0])
                one, other = tensor[row, ..., :length, :], forced[kind][module][row]
                width = min(one.shape[-1], other.shape[-1])
                torch.testing.assert_close(
                    one[..., :width], other[..., :length, :width], atol=1e-5, rtol=1e-4
                )


@pytest.mark.parametrize("what", [None, ["states"]])
def test_what_is_not_recorded_is_not_computed(
    what: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("computed, though nothing records it")

    model = MODELS["sinusoidal"]().eval()
    for module in (attention, luong_attention):
        monkeypatch.setattr(module, "attention_scores", refuse)
    if what is None:
        model(BATCH)
        return
    with record(model, what=what) as recording:
        model(BATCH)
    assert recording.extra == {}
    with pytest.raises(AssertionError, match="nothing records it"), record(model, ["scores"]):
        model(BATCH)


@pytest.mark.parametrize("bidirectional", [False, True])
@torch.no_grad()
def test_the_tanh_of_the_contributions_is_the_state(*, bidirectional: bool) -> None:
    torch.manual_seed(0)
    model = sl.RNN(SPEC, d_model=8, num_layers=2, bidirectional=bidirectional).eval()
    found = recorded(model, "beam")
    layers = {name.rpartition(".")[0] for name in found["contributions"]}
    assert len(layers) == (6 if bidirectional else 4)
    for layer in layers:
        terms = [found["contributions"][f"{layer}.{term}"] for term in ("input", "state", "bias")]
        axis = found.time_axis[layer]
        real, total = found.mask(axis), sum(terms).tanh()
        torch.testing.assert_close(total[real], found.states[layer][real])
        assert found.extra_axes["contributions"][f"{layer}.input"] == (axis,)


def test_positions_are_what_is_added_to_the_embeddings() -> None:
    found = recorded(MODELS["sinusoidal"](), "greedy")["positions"]
    for name in ("encoder.positions", "decoder.positions"):
        encodings = found[name]
        expected = sinusoidal(0, encodings.shape[1], 8)
        torch.testing.assert_close(encodings[0], expected)
    rotated = recorded(MODELS["rotary"](), "greedy")["positions"]
    assert not any(encodings.any() for encodings in rotated.values())
