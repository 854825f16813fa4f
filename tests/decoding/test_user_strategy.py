"""A strategy from a file outside the package is used like those that have a name."""

from __future__ import annotations

from typing import Any

import jaxtyping
import pytest
import torch
from mbr import MinimumBayesRisk, SecondBest, likeness

import seqlearn as sl
from seqlearn.batch import END, PAD, START
from seqlearn.decoding import BeamSearch, DecodingStrategy, GreedySearch, NextToken

TEXT = sl.SequenceSpec(sl.TextSpec(9, 4), sl.TextSpec(8, 4))
SOURCES = [[4, 5, 6], [7], [8, 8, 4, 5], [5, 6]]


@pytest.fixture(scope="module")
def model() -> sl.GRU:
    torch.manual_seed(3)
    return sl.GRU(TEXT, d_model=8).eval()


def test_a_strategy_that_draws(model: sl.GRU) -> None:
    strategy = MinimumBayesRisk(8)
    assert isinstance(strategy, DecodingStrategy)

    def generate(sources: list[list[int]], seed: int = 0, **options: int) -> list[object]:
        generator = torch.Generator().manual_seed(seed)
        return model.generate(sources, strategy=strategy, generator=generator, **options)

    ranked = generate(SOURCES, num_return_sequences=8)
    drawn = model.generate(
        SOURCES,
        strategy="sample",
        generator=torch.Generator().manual_seed(0),
        num_return_sequences=8,
    )
    for mine, theirs in zip(ranked, drawn, strict=True):
        assert sorted(mine) == sorted(theirs)
        assert [likeness(m, mine) for m in mine] == sorted(
            (likeness(m, mine) for m in mine), reverse=True
        )
    assert generate(SOURCES) == [texts[0] for texts in ranked]
    assert generate(SOURCES[:2]) == generate(SOURCES)[:2]
    assert generate(SOURCES, seed=1) != generate(SOURCES)


def test_a_strategy_with_a_loop_of_its_own(model: sl.GRU) -> None:
    """Logits processors and scores come with it."""
    texts, scores = model.generate(SOURCES, strategy=SecondBest(), return_scores=True)
    assert texts != model.generate(SOURCES)
    torch.testing.assert_close(scores, model.score(SOURCES, texts))
    longer = model.generate(SOURCES, strategy=SecondBest(), min_new_tokens=5, max_new_tokens=7)
    assert {len(ids) for ids in longer} <= {5, 6, 7}
    once = model.generate(SOURCES, strategy=SecondBest(), no_repeat_ngram_size=1)
    assert all(len(set(ids)) == len(ids) for ids in once)


def test_the_strategies_that_have_a_name_are_such_objects(model: sl.GRU) -> None:
    found = model.generate(SOURCES, strategy=BeamSearch(3), num_return_sequences=2)
    assert found == model.generate(SOURCES, strategy="beam", beam_size=3, num_return_sequences=2)


def test_what_is_not_a_strategy_is_refused(model: sl.GRU, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is for users
    with pytest.raises(TypeError, match="or an object with rows_per_source, num_seeds and"):
        model.generate(SOURCES, strategy=max)
    with pytest.raises(ValueError, match=r"SecondBest does not use beam_size; .*'beam'"):
        model.generate(SOURCES, strategy=SecondBest(), beam_size=3)
    with pytest.raises(ValueError, match=r"SecondBest.* does not use generator"):
        model.generate(SOURCES, strategy=SecondBest(), generator=torch.Generator())
    with pytest.raises(TypeError, match=r"got <class 'mbr\.SecondBest'>"):
        model.generate(SOURCES, strategy=SecondBest)
    with pytest.raises(TypeError, match=r"expected a torch\.Generator, got 3"):
        model.generate(SOURCES, strategy="sample", generator=3)
    for wrong in (2.0, "2", None, True):
        with pytest.raises(TypeError, match="num_return_sequences: expected a whole number"):
            model.generate(SOURCES, strategy="sample", num_return_sequences=wrong)
    with pytest.raises(ValueError, match="early_stopping True, False or 'never', got 1"):
        model.generate(SOURCES, strategy="beam", early_stopping=1)


class Fixed:
    """Returns what it is given."""

    num_seeds = 0

    def __init__(self, result: Any, rows_per_source: Any = 1) -> None:
        self.result, self.rows_per_source = result, rows_per_source

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self.result


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "expected a list with the texts of each source, got NoneType"),
        ([], "expected 1 rows, one per source, got 0"),
        ([[]], "row 1: expected at least one text, got none"),
        ([[4, 5]], "row 1: expected a list of texts, each a list of ids"),
        ([[[4.0]]], "row 1: expected a list of texts, each a list of ids"),
        ([[[True]]], "row 1: expected a list of texts, each a list of ids"),
        ([[[4, 99]]], r"expected ids below 8 .*, got \[99\]"),
        ([[[-1]]], r"expected ids below 8 .*, got \[-1\]"),
        ([[[PAD, START, END]]], "expected ids below 8 without padding"),
        ([[[4, 4, 4, 4]]], "expected at most max_new_tokens=3 ids, got 4"),
    ],
)
def test_results_are_checked(model: sl.GRU, result: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"the strategy Fixed: .*{message}"):
        model.generate([[4]], strategy=Fixed(result), max_new_tokens=3)


def test_numbers_of_a_strategy_are_checked(model: sl.GRU) -> None:
    with pytest.raises(TypeError, match=r"Fixed\.rows_per_source: expected a whole number"):
        model.generate([[4]], strategy=Fixed([[[4]]], 1.5))
    with pytest.raises(ValueError, match=r"Fixed\.rows_per_source of at least 1, got 0"):
        model.generate([[4]], strategy=Fixed([[[4]]], 0))


def test_the_recording_holds_the_text_that_was_returned(model: sl.GRU) -> None:
    """A strategy that chooses among the texts of another one reports its own choice."""
    with sl.record(model, what=["states"]) as recording:
        texts = model.generate(
            SOURCES, strategy=MinimumBayesRisk(8), generator=torch.Generator().manual_seed(0)
        )
    for tokens, ids in zip(recording.tokens, texts, strict=True):
        output = [token for token in tokens.decoder_output if token != "</s>"]
        assert output == [str(token) for token in ids]


def test_a_loop_of_ones_own_is_recorded(model: sl.GRU) -> None:
    with sl.record(model, what=["states"]) as recording:
        texts = model.generate(SOURCES, strategy=SecondBest(), max_new_tokens=3)
    for row, (tokens, ids) in enumerate(zip(recording.tokens, texts, strict=True)):
        assert [token for token in tokens.decoder_output if token != "</s>"] == list(map(str, ids))
        memory = model.encode(torch.tensor([SOURCES[row]]), torch.tensor([len(SOURCES[row])]))
        hidden, _ = model.decode(torch.tensor([[START, *ids][:3]]), memory)
        states = recording.states["decoder.layers.0"][row, : hidden.shape[1]]
        torch.testing.assert_close(model.head.weight @ hidden[0].mT, model.head.weight @ states.mT)


def test_a_strategy_that_reports_no_steps_cannot_be_recorded(model: sl.GRU) -> None:
    assert model.generate([[4]], strategy=Fixed([[[5]]])) == [[5]]
    with pytest.raises(RuntimeError, match=r"reports no steps, .*decoding_step"), sl.record(model):
        model.generate([[4]], strategy=Fixed([[[5]]]))


@pytest.mark.parametrize("options", [{}, {"strategy": "beam"}, {"strategy": "sample"}])
@pytest.mark.parametrize(("value", "word"), [(float("nan"), "NaN"), (float("inf"), "infinite")])
def test_logits_that_are_not_numbers_are_the_fault_of_the_model(
    options: dict[str, Any], value: float, word: str
) -> None:
    class Diverges(sl.GRU):
        steps = 0

        def decode(self, tokens: Any, memory: Any, state: Any = None) -> Any:
            hidden, state = super().decode(tokens, memory, state)
            self.steps += 1
            return hidden.fill_(value) if self.steps == 3 else hidden, state

    model = Diverges(TEXT, d_model=8)
    with torch.no_grad():
        model.head.weight.abs_()
    with pytest.raises(ValueError, match=f"the model's logits are {word} at decoding step 3"):
        model.generate(SOURCES, min_new_tokens=5, max_new_tokens=6, **options)


class Forbidding:
    """A rule over the logits of the model, which leaves nothing."""

    rows_per_source, num_seeds = 1, 0

    def __call__(self, next_token: Any, prefix: Any, memory: Any, **options: Any) -> Any:
        def rule(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            return torch.full_like(scores, float("-inf")).index_copy(
                1, torch.tensor([END]), scores[:, [END]]
            )

        shared = next_token.shares_memory
        limited = NextToken(next_token.logits, [rule], shares_memory=shared)
        return GreedySearch()(limited, prefix, memory, max_new_tokens=options["max_new_tokens"])


def test_rules_that_leave_no_token_are_an_error(model: sl.GRU) -> None:
    """One forbids the end, the other everything else: the largest of all -∞ would be padding."""
    assert model.generate(SOURCES, strategy=Forbidding()) == [[], [], [], []]
    with pytest.raises(ValueError, match="no text has a probability above zero; relax"):
        model.generate(SOURCES, strategy=Forbidding(), min_new_tokens=2)
