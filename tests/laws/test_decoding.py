"""Law 6 of the design, and law 3 of answers, on every architecture, in double precision.

There two likeliest tokens are as good as never nearly tied, so answers can be compared.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import seqlearn as sl
from seqlearn.spec import END, START

SOURCE = sl.TextSpec(11, 8)
TARGET = sl.TextSpec(8, 8)
TRANSLATION = sl.SequenceSpec(SOURCE, TARGET)
LANGUAGE = sl.SequenceSpec(None, TARGET)
FREE = [i for i in range(8) if i not in (0, START, END)]

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
WITH_SPEC = [
    (name, spec)
    for name in MODULES
    for spec in (TRANSLATION, LANGUAGE)
    if spec is TRANSLATION or not name.startswith("AttentionSeq2Seq")
]

every_module = pytest.mark.parametrize(
    ("name", "spec"), WITH_SPEC, ids=[f"{name}, {spec.shape}" for name, spec in WITH_SPEC]
)
seeds = st.integers(0, 2**32 - 1)
texts = st.lists(
    st.tuples(
        st.lists(st.integers(4, 10), max_size=6), st.lists(st.sampled_from(FREE), max_size=3)
    ),
    min_size=1,
    max_size=4,
)


def module(name: str, spec: sl.SequenceSpec, seed: int) -> sl.SequenceModule:
    torch.manual_seed(seed)
    model = MODULES[name](spec).double().eval()
    model.head.weight.data *= 3  # answers of unequal lengths
    return model


def asked(spec: sl.SequenceSpec, examples: list[tuple[list[int], list[int]]]) -> dict[str, object]:
    """Sources, and prompts of unequal lengths."""
    prompts = [prompt for _, prompt in examples]
    return {"prompts": prompts, "sources": None if spec is LANGUAGE else [s for s, _ in examples]}


@every_module
@given(seed=seeds, examples=texts, penalty=st.sampled_from([-1.0, 0.0, 1.0]), stop=st.booleans())
def test_law_6_a_beam_of_one_is_greedy(
    name: str,
    spec: sl.SequenceSpec,
    seed: int,
    examples: list[tuple[list[int], list[int]]],
    penalty: float,
    stop: bool,
) -> None:
    model, given = module(name, spec, seed), asked(spec, examples)
    beam = {"strategy": "beam", "beam_size": 1, "length_penalty": penalty, "early_stopping": stop}
    assert model.generate(**given, **beam, max_length=5) == model.generate(**given, max_length=5)


@every_module
@given(
    seed=seeds,
    source=st.lists(st.integers(4, 10), max_size=6),
    penalty=st.sampled_from([-1.0, 0.0, 0.6, 1.0, 2.0]),
    stopping=st.sampled_from([False, True, "never"]),
)
def test_law_6_a_beam_that_never_prunes_equals_brute_force(
    name: str,
    spec: sl.SequenceSpec,
    seed: int,
    source: list[int],
    penalty: float,
    stopping: bool | str,
) -> None:
    """Every text of at most three tokens, from one forward call over them all."""
    model, limit = module(name, spec, seed), 3
    sequences = torch.tensor(list(itertools.product(FREE, repeat=limit)))
    memory = model.encode(
        torch.tensor([source] * len(sequences), dtype=torch.long),
        torch.full((len(sequences),), len(source)),
    )
    fed = torch.cat([torch.full((len(sequences), 1), START), sequences], 1)
    with torch.no_grad():
        log_p = model.head(model.decode(fed, memory)[0]).log_softmax(-1)
    expected: dict[tuple[int, ...], float] = {}
    for ids, rows in zip(sequences.tolist(), log_p.tolist(), strict=True):
        made = [0.0, *itertools.accumulate(row[i] for row, i in zip(rows, ids, strict=False))]
        for length in range(limit):
            expected[tuple(ids[:length])] = (made[length] + rows[length][END]) / (
                length + 1
            ) ** penalty
        expected[tuple(ids)] = made[limit] / limit**penalty
    ranked = sorted(expected, key=lambda ids: -expected[ids])
    options = {"beam_size": 200, "length_penalty": penalty, "early_stopping": stopping}
    (found,) = model.generate(
        [source] if spec is TRANSLATION else None,
        strategy="beam", **options, num_return=len(ranked), max_length=limit,
    )  # fmt: skip
    assert [tuple(ids) for ids in found] == ranked


@every_module
@given(seed=seeds, examples=texts)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strategy": "beam", "beam_size": 3, "num_return": 3},
        {"strategy": "sample", "num_return": 2},
    ],
)
def test_law_6_returned_scores_equal_score(
    name: str,
    spec: sl.SequenceSpec,
    options: dict[str, object],
    seed: int,
    examples: list[tuple[list[int], list[int]]],
) -> None:
    """Of each answer, with its prompt, ended or cut, best or not."""
    model, given = module(name, spec, seed), asked(spec, examples)
    answers, scores = model.generate(**given, **options, max_length=4, return_scores=True)
    several = "num_return" in options
    for place in range(options.get("num_return", 1)):
        mine = [answer[place] if several else answer for answer in answers]
        theirs = model.score(given["sources"], mine)
        torch.testing.assert_close(scores[:, place] if several else scores, theirs)


@every_module
@given(seed=seeds, examples=texts)
@pytest.mark.parametrize(
    "options", [{}, {"strategy": "beam", "beam_size": 3, "num_return": 2}, {"strategy": "sample"}]
)
def test_law_3_order_and_company_change_no_answer(
    name: str,
    spec: sl.SequenceSpec,
    options: dict[str, object],
    seed: int,
    examples: list[tuple[list[int], list[int]]],
) -> None:
    model = module(name, spec, seed)

    def answers(examples: list[tuple[list[int], list[int]]]) -> list[list[int]]:
        torch.manual_seed(seed)  # what is drawn depends on the place in the list
        return model.generate(**asked(spec, examples), **options, max_length=5)

    together = answers(examples)
    assert answers(examples[:1]) == together[:1]
    if "sample" not in options.values():
        assert answers(examples[::-1]) == together[::-1]
