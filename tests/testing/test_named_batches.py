"""A law that draws nothing names the batch that failed, too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from testing.broken import BROKEN, Small

import seqlearn as sl
from seqlearn.testing import TASKS, Counterexample, LawsViolated, check_module


def broken_on(factory: Any, law: str) -> tuple[Counterexample, str]:
    with pytest.raises(LawsViolated) as caught:
        check_module(factory, laws=[law])
    case = caught.value.report.outcomes[law].counterexample
    assert case is not None
    return case, str(caught.value)


def test_the_batch_stands_in_the_message_and_can_be_built() -> None:
    broken = BROKEN["LoudAtTheStart"]
    case, words = broken_on(broken, "initial loss")
    assert "\n    batch   [7, 7, 4, 6, 8] → [5, 6, 4, 6, 4]; " in words
    _, batch = case.build(broken)
    assert batch.target_lengths.tolist() == [7, 5, 3, 2]


class SkipsEmptyTargets(Small):
    """A user's module that returns early for an empty target."""

    def decode(self, tokens: Any, memory: Any, state: Any = None) -> Any:
        if tokens.shape[1] == 0:
            return torch.zeros(len(tokens), 0, self.d_model, requires_grad=True), state
        return super().decode(tokens, memory, state)


def language_model(spec: sl.SequenceSpec) -> sl.SequenceModule:
    if spec != TASKS["language-modeling"]:
        raise ValueError("tried as a language model alone")
    return SkipsEmptyTargets(spec)


def test_a_batch_of_empty_targets_is_blamed_and_no_parameter() -> None:
    case, _ = broken_on(language_model, "gradients")
    assert case.drawn["a batch of"] == "start symbols only"
    assert case.found.startswith("a batch of start symbols only gives no gradient to ")
    assert "let encode and decode call the encoder and the decoder" in case.found


def test_an_error_within_a_batch_names_it() -> None:
    class Refuses(Small):
        def compute_loss(self, batch: Any, state: Any = None, *, smoothing: float = 0.0) -> Any:
            if int(batch.source_lengths.max()) == 0:
                raise RuntimeError("expected some tokens")
            return super().compute_loss(batch, state, smoothing=smoothing)

    def make(spec: sl.SequenceSpec) -> sl.SequenceModule:
        if spec != TASKS["sequence-to-sequence"]:
            raise ValueError("tried on texts alone")
        return Refuses(spec)

    case, _ = broken_on(make, "gradients")
    assert case.found == "it raised RuntimeError: expected some tokens"
    assert case.drawn == {"a batch of": "empty texts", "examples": [([], [])] * 4}
