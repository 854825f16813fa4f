"""The decoding options: which strategy uses which, what is out of range, and how they combine."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import jaxtyping
import pytest
import torch

import seqlearn as sl
from seqlearn.core.generation import draw_seeds
from seqlearn.core.generation_config import resolve_options

TEXT = sl.SequenceSpec(sl.TextSpec(9, 4), sl.TextSpec(8, 4))
SOURCES = [[4, 5, 6], [7], [8, 8, 4, 5], [5, 6]]


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the run-time check of types, which users do not have."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="module")
def model() -> sl.GRU:
    torch.manual_seed(3)
    model = sl.GRU(TEXT, d_model=8, generation=sl.GenerationConfig(max_new_tokens=6))
    model.head.weight.data *= 4
    return model.eval()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("strategy", "options", "num_return_sequences", "said"),
    [
        ("best", {}, 1, "expected strategy 'greedy', 'beam', 'sample', got 'best'"),
        ("greedy", {"beam_size": 4}, 1, "'greedy' does not use beam_size; .*strategy='beam'"),
        ("greedy", {"top_k": 4}, 1, "'greedy' does not use top_k; .*strategy='sample'"),
        ("beam", {"temperature": 1.0}, 1, "'beam' does not use temperature; .*strategy='sample'"),
        ("sample", {"length_penalty": 1.0}, 1, "'sample' does not use length_penalty; .*'beam'"),
        ("sample", {"early_stopping": False}, 1, "'sample' does not use early_stopping"),
        ("beam", {"beam_size": 0}, 1, "beam_size of at least 1, got 0"),
        ("beam", {"beam_size": 2}, 3, "num_return_sequences of at most beam_size=2, got 3"),
        ("beam", {}, 5, "num_return_sequences of at most beam_size=4, got 5"),
        ("sample", {"temperature": -0.5}, 1, "temperature above 0, got -0.5"),
        ("sample", {"top_p": 2.0}, 1, "top_p above 0 and at most 1, or None, got 2.0"),
        ("sample", {}, 0, "num_return_sequences of at least 1, got 0"),
        ("greedy", {}, 2, "generates one text for each source, got num_return_sequences=2"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    strategy: str, options: dict[str, object], num_return_sequences: int, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        resolve_options(sl.GenerationConfig(), strategy, num_return_sequences, **options)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"repetition_penalty": 0.0}, ValueError, r"repetition_penalty above 0 .* got 0\.0"),
        ({"repetition_penalty": math.inf}, ValueError, "repetition_penalty above 0 .* got inf"),
        ({"no_repeat_ngram_size": -1}, ValueError, "no_repeat_ngram_size of at least 0 .* got -1"),
        ({"min_new_tokens": -2}, ValueError, "min_new_tokens of at least 0 .* got -2"),
        ({"max_new_tokens": 0}, ValueError, "max_new_tokens of at least 1, or None, got 0"),
        ({"max_new_tokens": 2, "min_new_tokens": 3}, ValueError, "at most max_new_tokens=2, got 3"),
        ({"beam_size": "4"}, TypeError, "GenerationConfig.beam_size: expected a whole number"),
        ({"strategy": "best"}, ValueError, "expected strategy 'greedy', 'beam', 'sample'"),
    ],
)
def test_fields_out_of_range_are_refused(
    fields: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        sl.GenerationConfig(**fields)


def test_seeds_depend_on_the_generator_and_the_place() -> None:
    def seeds(sources: int, state: int) -> list[list[int]]:
        return draw_seeds(sources, 2, torch.Generator().manual_seed(state))

    assert seeds(5, 1) == seeds(5, 1)
    assert seeds(5, 1)[:3] == seeds(3, 1)
    assert seeds(5, 1) != seeds(5, 2)
    assert len({seed for row in seeds(50, 1) for seed in row}) == 100
    torch.manual_seed(4)
    one = draw_seeds(2, 1, None)
    torch.manual_seed(4)
    assert draw_seeds(2, 1, None) == one


def test_only_sampling_draws(model: sl.GRU) -> None:
    state = torch.get_rng_state()
    for strategy in ("greedy", "beam"):
        model.generate(SOURCES, strategy=strategy)
        with pytest.raises(ValueError, match=f"'{strategy}' does not use generator; .*'sample'"):
            model.generate(SOURCES, strategy=strategy, generator=torch.Generator())
    assert torch.equal(torch.get_rng_state(), state)


def test_arguments_override_single_fields(model: sl.GRU) -> None:
    own = sl.GRU(
        TEXT, d_model=8, generation=sl.GenerationConfig("beam", beam_size=3, max_new_tokens=6)
    )
    own.load_state_dict(model.state_dict())
    beam = model.generate(SOURCES, strategy="beam", beam_size=3)
    greedy = model.generate(SOURCES)
    assert own.generate(SOURCES) == beam != greedy
    # Another strategy drops the fields of the config's.
    assert own.generate(SOURCES, strategy="greedy") == greedy
    five = {"beam_size": 5, "length_penalty": 0.0}
    assert own.generate(SOURCES, **five) == model.generate(SOURCES, strategy="beam", **five)
    assert max(map(len, own.generate(SOURCES, max_new_tokens=2))) <= 2
    with pytest.raises(ValueError, match="'beam' does not use top_k"):
        own.generate(SOURCES, top_k=3)
    with pytest.raises(ValueError, match="min_new_tokens of at most max_new_tokens=6, got 7"):
        own.generate(SOURCES, min_new_tokens=7)


@pytest.mark.parametrize("strategy", ["greedy", "beam", "sample"])
def test_every_strategy_uses_the_processors(model: sl.GRU, strategy: str) -> None:
    short = copy.deepcopy(model)
    short.head.bias.data[3] += 20.0
    assert short.generate(SOURCES, strategy=strategy) == [[]] * 4
    for prompts in (None, [[4], [5], [4], [6]]):
        texts, scores = short.generate(
            SOURCES,
            strategy=strategy,
            prompts=prompts,
            no_repeat_ngram_size=2,
            min_new_tokens=5,
            max_new_tokens=12,
            return_scores=True,
        )
        for ids in texts:
            pairs = list(zip([2, *ids], ids, strict=False))
            assert len(set(pairs)) == len(pairs)
            assert len(ids) >= 5
        torch.testing.assert_close(scores, short.score(SOURCES, texts))
    once = model.generate(SOURCES, strategy=strategy, no_repeat_ngram_size=1, max_new_tokens=12)
    # Only the end symbol is left when every token has occurred.
    assert all(len(set(ids)) == len(ids) <= 4 for ids in once)


def test_a_row_without_any_token_left_ends(model: sl.GRU) -> None:
    options = {"no_repeat_ngram_size": 1, "min_new_tokens": 9, "max_new_tokens": 12}
    for strategy in ("greedy", "beam", "sample"):
        for ids in model.generate(SOURCES, strategy=strategy, **options):
            assert sorted(ids) == [4, 5, 6, 7]


@pytest.mark.usefixtures("unchecked")
def test_the_config_is_saved_with_the_module(model: sl.GRU, tmp_path: Path) -> None:
    config = sl.GenerationConfig("beam", beam_size=2, early_stopping="never")
    own = sl.GRU(TEXT, d_model=8, generation=config)
    own.save_pretrained(tmp_path)
    assert sl.GRU.from_pretrained(tmp_path).generation == config
    other = sl.GenerationConfig(top_k=2)
    assert sl.GRU.from_pretrained(tmp_path, generation=other).generation == other
    assert model.generation == sl.GenerationConfig(max_new_tokens=6)
    with pytest.raises(TypeError, match="expected a GenerationConfig, such as"):
        sl.GRU(TEXT, d_model=8, generation={"strategy": "beam"})
