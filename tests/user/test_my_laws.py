"""A user adds laws from a file of their own: alone, beside seqlearn's, and in a test suite."""

from __future__ import annotations

import pytest
import torch
from my_laws import bounded_outputs, scaled_outputs, tied_embeddings

import seqlearn as sl
from seqlearn.testing import LAWS, LawsViolated, law, module_checks
from seqlearn.testing.checking import check_module, select_laws


def gru(spec: sl.SequenceSpec) -> sl.SequenceModule:
    return sl.GRU(spec, d_model=4)


class Loud(sl.GRU):
    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=4)
        with torch.no_grad():
            self.head.weight.mul_(1e4)


def test_a_law_of_ones_own_is_checked_beside_seqlearns() -> None:
    report = check_module(gru, laws=["shapes", bounded_outputs, scaled_outputs], examples=5)
    assert report.held == ["shapes", "bounded outputs", "scaled outputs"]
    assert "11 bounded outputs" in str(report)
    assert select_laws([*LAWS, bounded_outputs]) == [*LAWS, bounded_outputs]
    assert select_laws([bounded_outputs, 2])[0].number == 2


def test_a_violation_names_the_batch_and_how_to_repeat_it() -> None:
    with pytest.raises(LawsViolated) as caught:
        check_module(Loud, laws=[bounded_outputs], examples=5)
    message = str(caught.value)
    assert "law 11, bounded outputs: No output of a new module is larger than 50." in message
    assert "\n    found   an output of " in message
    assert "\n    batch   " in message
    assert "check_module(factory, laws=[bounded_outputs], examples=5, seed=0)" in message


def test_a_law_that_does_not_apply_is_not_checked() -> None:
    report = check_module(
        lambda spec: gru(spec) if spec.source is None else bad(), laws=[tied_embeddings], examples=2
    )
    assert report.not_checked == {"tied embeddings": "it has one embedding only"}


def bad() -> sl.SequenceModule:
    raise ValueError("a language model")


@module_checks(
    [Loud],
    laws=[bounded_outputs, "shapes"],
    examples=2,
    expected_failures={"bounded outputs": "its head starts too large"},
)
def test_laws_of_ones_own_in_a_test_suite(check) -> None:
    check()


def test_what_a_law_needs() -> None:
    with pytest.raises(ValueError, match=r"expected a docstring on <lambda> that .* got none"):
        law(11, "silent")(lambda trial: None)
    again = law(13, "padding")(bounded_outputs.check)
    with pytest.raises(ValueError, match="a law with a name of its own, got 'padding'"):
        check_module(gru, laws=[*LAWS, again])
