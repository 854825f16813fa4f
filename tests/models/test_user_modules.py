"""A recurrent layer and an attention from outside the package serve every task in stock blocks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from linear_attention import LinearAttention, LinearTransformer
from minimal_gated_unit import MGU, MGULayer
from sru import SRU, SRULayer

import seqlearn as sl
from seqlearn.nn import RecurrentLayer, SelfAttention
from seqlearn.testing import check_module
from seqlearn.testing.cases import TASKS
from seqlearn.testing.laws import LAWS

USER = Path(__file__).parents[1] / "user"
MODELS = {"minimal_gated_unit": MGU, "linear_attention": LinearTransformer, "sru": SRU}
SIZES = {
    "minimal_gated_unit": {"d_model": 8},
    "linear_attention": {"d_model": 8, "num_layers": 1, "num_heads": 2},
    "sru": {"d_model": 8, "num_layers": 1},
}


def build(name: str, spec: sl.SequenceSpec) -> sl.SequenceModule:
    return MODELS[name](spec, **SIZES[name])


@pytest.mark.parametrize(
    ("name", "most"), [("minimal_gated_unit", 25), ("linear_attention", 40), ("sru", 40)]
)
def test_is_short(name: str, most: int) -> None:
    code = (USER / f"{name}.py").read_text(encoding="utf-8").split('"""', 2)[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= most


def test_the_layers_have_the_protocols() -> None:
    assert isinstance(MGULayer(4, 4), RecurrentLayer)
    assert isinstance(SRULayer(4), RecurrentLayer)
    assert isinstance(LinearAttention(4, 2), SelfAttention)


@pytest.mark.parametrize("name", MODELS)
def test_all_laws_hold_on_every_task(name: str) -> None:
    # torch.compile cannot trace the run-time check of shapes; tests/laws does it without.
    laws = [law.name for law in LAWS if law.name != "compiled"]
    report = check_module(lambda spec: build(name, spec), laws=laws, examples=1)
    assert report.serves == list(TASKS)


@pytest.mark.parametrize("name", MODELS)
def test_beam_search_and_recording(name: str) -> None:
    """States are recorded under the layer's name, each along its own sequence."""
    model = build(name, TASKS["sequence-to-sequence"])
    with sl.record(model) as recording:
        found = model.generate(
            [[4, 5, 6], [7]],
            strategy="beam",
            beam_size=3,
            num_return_sequences=2,
            max_new_tokens=4,
        )
    assert [len(each) for each in found] == [2, 2]
    assert recording.time_axis["encoder.layers.0"] == "source"
    assert recording.time_axis["decoder.layers.0"] == "target"
    assert recording.states["decoder.layers.0"].shape[0] == 2
    if name == "linear_attention":  # the decoder's own attentions are the stock ones
        assert list(recording.attention) == [
            "decoder.layers.0.self_attention",
            "decoder.layers.0.cross_attention",
        ]


def test_a_minimal_gated_unit_is_the_papers_equations() -> None:
    layer = MGULayer(3, 4).double()
    x, h = torch.randn(3).double(), torch.randn(4).double()
    f = torch.sigmoid(layer.forget.weight @ torch.cat([x, h]) + layer.forget.bias)
    joined = torch.cat([x, f * h])
    new = torch.tanh(layer.candidate.weight @ joined + layer.candidate.bias)
    outputs, _ = layer(x[None, None], (h[None],))
    torch.testing.assert_close(outputs[0, 0], (1 - f) * h + f * new)


def test_linear_attention_is_a_normalised_sum_of_features() -> None:
    layer = LinearAttention(4, 1).double()
    inputs = torch.randn(5, 4).double()
    query, key, value = layer.project(inputs).chunk(3, -1)
    query, key = (torch.nn.functional.elu(each) + 1 for each in (query, key))
    weights = query @ key.T
    expected = layer.output(weights / weights.sum(-1, keepdim=True) @ value)
    found = layer(inputs[None], torch.ones(1, 5, dtype=torch.bool))[0]
    torch.testing.assert_close(found, expected)
