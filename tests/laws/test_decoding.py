"""Law 6 of the design, and law 3 of answers, on every architecture, in double precision.

There two likeliest tokens are as good as never nearly tied, so answers can be compared.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import seqlearn as sl
from seqlearn.spec import END, START

TARGET = sl.TextSpec(7, 8)
TRANSLATION = sl.SequenceSpec(sl.TextSpec(11, 8), TARGET)
LANGUAGE = sl.SequenceSpec(None, TARGET)
FREE = [1, 4, 5, 6]  # what may be answered besides the end symbol

MODULES = {
    "FeedForward": lambda spec: sl.FeedForward(spec, d_model=8, window=16),
    "RNN": lambda spec: sl.RNN(spec, d_model=8),
    "GRU": lambda spec: sl.GRU(spec, d_model=8),
    "LSTM": lambda spec: sl.LSTM(spec, d_model=8, num_layers=2),
    "AttentionSeq2Seq": lambda spec: sl.AttentionSeq2Seq(spec, d_model=8),
    "AttentionSeq2Seq, input feeding": lambda spec: sl.AttentionSeq2Seq(
        spec, d_model=8, score="additive", input_feeding=True
    ),
    "Transformer": lambda spec: sl.Transformer(spec, d_model=8, num_layers=2, num_heads=2),
}

Examples = list[tuple[list[int], list[int]]]
"""Sources, and prompts of unequal lengths."""


def every_module(test: object) -> object:
    """Run a law on each module, which together get the examples of five laws."""
    test = settings(max_examples=settings().max_examples // 5)(test)
    return pytest.mark.parametrize("name", MODULES)(test)


def examples() -> st.SearchStrategy[Examples]:
    sources = st.lists(st.integers(4, 10), max_size=6)
    prompts = st.lists(st.sampled_from(FREE), max_size=3)
    return st.lists(st.tuples(sources, prompts), min_size=1, max_size=3)


def module(name: str, data: st.DataObject) -> sl.SequenceModule:
    """Of any seed; a language model too, where the architecture can be one."""
    specs = [TRANSLATION] if name.startswith("Attention") else [TRANSLATION, LANGUAGE]
    spec = data.draw(st.sampled_from(specs), label="spec")
    torch.manual_seed(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    model = MODULES[name](spec).double().eval()
    model.head.weight.data *= 3  # answers of unequal lengths
    return model


def asked(model: sl.SequenceModule, examples: Examples) -> dict[str, object]:
    sources = [source for source, _ in examples]
    prompts = [prompt for _, prompt in examples]
    return {"sources": None if model.spec is LANGUAGE else sources, "prompts": prompts}


@every_module
@given(st.data(), examples(), st.sampled_from([-1.0, 0.0, 1.0]), st.booleans())
def test_law_6_a_beam_of_one_is_greedy(
    name: str, data: st.DataObject, examples: Examples, penalty: float, stop: bool
) -> None:
    model = module(name, data)
    given = asked(model, examples)
    beam = {"strategy": "beam", "beam_size": 1, "length_penalty": penalty, "early_stopping": stop}
    assert model.generate(**given, **beam, max_length=5) == model.generate(**given, max_length=5)


@every_module
@given(
    st.data(),
    st.lists(st.integers(4, 10), max_size=6),
    st.sampled_from([-1.0, 0.0, 0.6, 1.0, 2.0]),
    st.sampled_from([False, True, "never"]),
)
def test_law_6_a_beam_that_never_prunes_equals_brute_force(
    name: str, data: st.DataObject, source: list[int], penalty: float, stopping: bool | str
) -> None:
    """Every text of at most three tokens, from one forward call over them all."""
    model, limit = module(name, data), 3
    sequences = torch.tensor(list(itertools.product(FREE, repeat=limit)))
    sources = torch.tensor([source] * len(sequences), dtype=torch.long)
    fed = torch.cat([torch.full((len(sequences), 1), START), sequences], 1)
    with torch.no_grad():
        memory = model.encode(sources, torch.full((len(sequences),), len(source)))
        log_p = model.head(model.decode(fed, memory)[0]).log_softmax(-1)
    scores: dict[tuple[int, ...], float] = {}
    for ids, rows in zip(sequences.tolist(), log_p.tolist(), strict=True):
        made = 0.0
        for length, token in enumerate(ids):
            scores[tuple(ids[:length])] = (made + rows[length][END]) / (length + 1) ** penalty
            made += rows[length][token]
        scores[tuple(ids)] = made / limit**penalty
    ranked = sorted(scores, key=lambda ids: -scores[ids])
    (found,) = model.generate(
        None if model.spec is LANGUAGE else [source],
        strategy="beam",
        beam_size=100,
        length_penalty=penalty,
        early_stopping=stopping,
        num_return=len(ranked),
        max_length=limit,
    )
    assert [tuple(ids) for ids in found] == ranked


@every_module
@given(
    st.data(),
    examples(),
    st.sampled_from(
        [
            {"num_return": 1},
            {"num_return": 3, "strategy": "beam", "beam_size": 3},
            {"num_return": 2, "strategy": "sample"},
        ]
    ),
)
def test_law_6_returned_scores_equal_score(
    name: str, data: st.DataObject, examples: Examples, options: dict[str, object]
) -> None:
    """Of each answer, with its prompt, ended or cut, best or not."""
    model = module(name, data)
    given = asked(model, examples)
    answers, scores = model.generate(**given, **options, max_length=4, return_scores=True)
    if options["num_return"] == 1:
        answers, scores = [[answer] for answer in answers], scores[:, None]
    for place in range(options["num_return"]):
        theirs = model.score(given["sources"], [answer[place] for answer in answers])
        torch.testing.assert_close(scores[:, place], theirs)


@every_module
@given(
    st.data(),
    examples(),
    st.sampled_from(
        [{}, {"strategy": "beam", "beam_size": 3, "num_return": 2}, {"strategy": "sample"}]
    ),
)
def test_law_3_order_and_company_change_no_answer(
    name: str, data: st.DataObject, examples: Examples, options: dict[str, object]
) -> None:
    model = module(name, data)

    def answers(examples: Examples) -> list[object]:
        torch.manual_seed(0)  # what is drawn depends on the place in the list
        return model.generate(**asked(model, examples), **options, max_length=5)

    together = answers(examples)
    assert answers(examples[:1]) == together[:1]
    if options != {"strategy": "sample"}:
        assert answers(examples[::-1]) == together[::-1]
