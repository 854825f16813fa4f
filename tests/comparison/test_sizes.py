from __future__ import annotations

import pytest
from tiny_comparison import Fixed

import seqlearn as sl
from seqlearn.comparison.candidates import ARCHITECTURES, Candidate
from seqlearn.comparison.sizes import TOLERANCE, build, count_parameters, match_size

TEXT = sl.TextSpec(30, 20)
SPECS = {
    "text": sl.SequenceSpec(TEXT, TEXT),
    "class": sl.SequenceSpec(TEXT, sl.ClassesSpec(("a", "b"))),
}


@pytest.mark.parametrize("task", SPECS)
@pytest.mark.parametrize("cls", ARCHITECTURES)
def test_sizes_agree(cls: type[sl.SequenceModule], task: str) -> None:
    spec = SPECS[task]
    found = match_size(Candidate("model", cls), spec, 60_000)
    assert abs(found.parameters / 60_000 - 1) <= TOLERANCE
    assert found.note == ""
    module = build(Candidate("model", cls, found.options), spec)
    assert count_parameters(module) == found.parameters
    assert all(parameter.device.type == "cpu" for parameter in module.parameters())


def test_parts_without_use_are_not_counted() -> None:
    module = sl.GRU(SPECS["class"], d_model=8)
    unused = sum(parameter.numel() for parameter in module.decoder.parameters())
    everything = sum(parameter.numel() for parameter in module.parameters())
    assert count_parameters(module) == everything - unused > 0


def test_a_size_that_cannot_be_reached_is_said() -> None:
    fixed = match_size(Candidate("Fixed", Fixed), SPECS["text"], 1_000_000)
    assert fixed.options == {}
    assert fixed.note == "-100% parameters: it has no d_model"
    options = {"d_feedforward": 8}
    coarse = match_size(Candidate("T", sl.Transformer, options), SPECS["text"], 1_500)
    assert coarse.note.endswith("% parameters: widths are multiples of 4")


def test_a_model_that_cannot_be_built_raises_its_own_error() -> None:
    candidate = Candidate("T", sl.Transformer, {"d_feedforward": -1})
    with pytest.raises(ValueError, match="d_feedforward"):
        match_size(candidate, SPECS["text"], 1_000)
