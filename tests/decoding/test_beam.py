"""Beam search over a decoder whose every output can be looked up, against brute force."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import jaxtyping
import pytest
import torch
from torch import Tensor

from seqlearn.batch import END, PAD, START, Memory
from seqlearn.decoding import BeamSearch, GreedySearch, Hypothesis, NextToken
from seqlearn.instrumentation import GenerationResult, add_listener, generation

VOCAB = 7
FREE = [1, 4, 5, 6]  # what may be answered besides the end symbol
TABLE = 2 * torch.randn(1009, VOCAB, generator=torch.Generator().manual_seed(0))
TABLE[:, PAD] += 3.0  # likely, and never answered


class Lookup:
    """The next token's logits follow from the source's number and all tokens so far."""

    def __init__(self) -> None:
        self.fed: list[list[int]] = []

    def __call__(
        self, tokens: Tensor, memory: Memory | None, state: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        assert memory is not None
        assert len(memory.pooled) == len(tokens)
        self.fed.append(tokens[:, -1].tolist())
        history = tokens if state is None else torch.cat([state, tokens], 1)
        rows = zip(memory.pooled[:, 0].tolist(), history.tolist(), strict=True)
        return torch.stack([logits(int(source), ids) for source, ids in rows]), history


def logits(source: int, history: Sequence[int]) -> Tensor:
    key = source
    for token in history:
        key = (31 * key + token + 7) % len(TABLE)
    return TABLE[key]


def sources(numbers: Sequence[int]) -> tuple[Tensor, Memory]:
    size = len(numbers)
    mask = torch.ones(size, 1, dtype=torch.bool)
    pooled = torch.tensor(numbers, dtype=torch.float32)[:, None]
    return torch.full((size, 1), START), Memory(torch.zeros(size, 1, 1), mask, pooled)


def run(beam: BeamSearch, numbers: Sequence[int], max_new_tokens: int) -> list[list[Hypothesis]]:
    return beam.search(NextToken(Lookup()), *sources(numbers), max_new_tokens=max_new_tokens)


def every_answer(source: int, limit: int) -> list[Hypothesis]:
    """All there are: those that end, and those that are cut at the limit."""
    answers, open_ends = [], [Hypothesis([], 0.0, finished=False)]
    for _ in range(limit):
        longer = []
        for ids, log_p, _ in open_ends:
            next_log_p = logits(source, [START, *ids]).log_softmax(-1).tolist()
            answers.append(Hypothesis(ids, log_p + next_log_p[END], finished=True))
            longer += [Hypothesis([*ids, i], log_p + next_log_p[i], finished=False) for i in FREE]
        open_ends = longer
    return answers + open_ends


def score(answer: Hypothesis, penalty: float) -> float:
    return answer.log_probability / (len(answer.ids) + answer.finished) ** penalty


SETTINGS = list(itertools.product([-2.0, -0.5, 0.0, 0.6, 1.0, 3.0], [False, True, "never"]))


@pytest.mark.parametrize(("penalty", "stopping"), SETTINGS)
def test_a_beam_that_never_prunes_equals_brute_force(penalty: float, stopping: bool | str) -> None:
    found = run(BeamSearch(100, penalty, stopping), [1, 2], 3)
    for source, hypotheses in zip([1, 2], found, strict=True):
        expected = sorted(every_answer(source, 3), key=lambda a: -score(a, penalty))
        assert len(expected) == 1 + 4 + 16 * 5
        assert [(h.ids, h.finished) for h in hypotheses] == [(a.ids, a.finished) for a in expected]
        for mine, truth in zip(hypotheses, expected, strict=True):
            assert mine.log_probability == pytest.approx(truth.log_probability, abs=1e-4)


@pytest.mark.parametrize("penalty", [-1.0, 0.0, 1.0])
def test_a_wide_beam_finds_the_best_and_may_return_fewer_texts(penalty: float) -> None:
    (found,) = run(BeamSearch(12, penalty, "never"), [5], 2)
    assert len(found) == 12
    expected = sorted(every_answer(5, 2), key=lambda a: -score(a, penalty))
    assert [h.ids for h in found] == [a.ids for a in expected[:12]]
    (few,) = run(BeamSearch(12), [5], 1)
    assert sorted((h.ids, h.finished) for h in few) == [([], True), *(([i], False) for i in FREE)]


@pytest.mark.parametrize("stopping", [False, True])
@pytest.mark.parametrize("penalty", [-1.0, 0.0, 1.0])
def test_a_beam_of_one_is_greedy(penalty: float, stopping: bool) -> None:
    numbers = list(range(20))
    first, memory = sources(numbers)
    expected = GreedySearch()(NextToken(Lookup()), first, memory, max_new_tokens=6)
    found = run(BeamSearch(1, penalty, stopping), numbers, 6)
    assert [[h.ids for h in hypotheses] for hypotheses in found] == expected
    assert len({len(ids) for (ids,) in expected}) > 3


@pytest.mark.parametrize(("penalty", "stopping"), SETTINGS)
def test_other_sources_of_the_batch_change_nothing(penalty: float, stopping: bool | str) -> None:
    beam, numbers = BeamSearch(3, penalty, stopping), [3, 1, 4, 1, 5, 9, 2, 6]
    together = run(beam, numbers, 7)
    assert together == [run(beam, [number], 7)[0] for number in numbers]


def test_best_first_by_the_penalised_score() -> None:
    for hypotheses in run(BeamSearch(4, 2.0), list(range(10)), 6):
        scores = [score(h, 2.0) for h in hypotheses]
        assert scores == sorted(scores, reverse=True)


def test_a_higher_penalty_gives_longer_texts() -> None:
    lengths = []
    for penalty in (-1.0, 0.0, 1.0, 3.0):
        found = run(BeamSearch(4, penalty, "never"), list(range(10)), 6)
        lengths.append(sum(len(hypotheses[0].ids) for hypotheses in found))
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_stopping_later_never_finds_worse() -> None:
    """And costs more steps."""
    numbers, best, rows = list(range(10)), [], []
    for stopping in (True, False, "never"):
        model = Lookup()
        found = BeamSearch(3, 1.0, stopping).search(
            NextToken(model), *sources(numbers), max_new_tokens=9
        )
        best.append([score(hypotheses[0], 1.0) for hypotheses in found])
        rows.append(sum(map(len, model.fed)))
    assert all(a <= b <= c for a, b, c in zip(*best, strict=True))
    assert rows[0] < rows[1] < rows[2]


@pytest.mark.parametrize(
    ("stopping", "best"), [(True, []), (False, []), ("never", [4] * 8)], ids=str
)
def test_never_stops_only_when_nothing_can_be_better(stopping: bool | str, best: list[int]) -> None:
    """The short answer has 0.9, the long one the rest: divided by 81 that is more, at last."""

    def model(tokens: Tensor, memory: object, state: int | None) -> tuple[Tensor, int]:
        p = torch.zeros(VOCAB)
        p[END], p[4] = (0.9, 0.1) if state is None else (0.0, 1.0) if state < 8 else (1.0, 0.0)
        return p.log().clamp(min=-100.0).repeat(len(tokens), 1), 1 + (state or 0)

    beam = BeamSearch(1, 2.0, stopping)
    ((found,),) = beam.search(NextToken(model), torch.full((1, 1), START), None, max_new_tokens=9)
    assert found.ids == best


def test_a_source_that_is_done_leaves_the_batch() -> None:
    alone = []
    numbers = list(range(12))
    for number in numbers:
        model = Lookup()
        BeamSearch(3).search(NextToken(model), *sources([number]), max_new_tokens=9)
        alone.append([len(rows) for rows in model.fed])
    assert len({len(rows) for rows in alone}) > 1, "or nothing leaves early"
    together = Lookup()
    BeamSearch(3).search(NextToken(together), *sources(numbers), max_new_tokens=9)
    sums = [sum(rows) for rows in itertools.zip_longest(*alone, fillvalue=0)]
    assert [len(rows) for rows in together.fed] == sums


class Follower:
    """Keeps what a listener receives."""

    def __init__(self) -> None:
        self.parents: list[list[int] | None] = []

    def on_activation(self, kind: str, owner: object, make: object, axes: object) -> None:
        raise AssertionError("no value is emitted here")

    def loop_start(self) -> None:
        raise AssertionError("no loop over time is reported here")

    def loop_end(self) -> None:
        raise AssertionError("no loop over time is reported here")

    def generation_start(
        self, outputs: Sequence[int], total: int, source: object, lengths: object
    ) -> None:
        self.total = total

    def decoding_step(self, parents: Tensor | None) -> None:
        self.parents.append(None if parents is None else parents.tolist())

    def generation_end(self, result: GenerationResult | None) -> None:
        assert result is not None
        self.beam_paths, self.tokens = result.beam_paths, result.tokens


def test_a_listener_can_follow_every_hypothesis() -> None:
    model, follower, numbers = Lookup(), Follower(), [1, 7, 8]
    with add_listener(follower), generation(range(3), 3, None, None):
        found = BeamSearch(4).search(NextToken(model), *sources(numbers), max_new_tokens=6)
    assert follower.tokens == [[START, *hypotheses[0].ids] for hypotheses in found]
    for hypotheses, history in zip(found, follower.beam_paths, strict=True):
        for hypothesis, (last, row) in zip(hypotheses, history, strict=True):
            fed, at = [], row
            for step in range(last, -1, -1):
                fed.append(model.fed[step][at])
                at = 0 if follower.parents[step] is None else follower.parents[step][at]
            ids = hypothesis.ids if hypothesis.finished else hypothesis.ids[:-1]
            assert fed[::-1] == [START, *ids]


def test_the_log_probability_is_that_of_the_whole_vocabulary() -> None:
    """What may not be answered keeps its probability."""
    ((best, *_),) = run(BeamSearch(2), [4], 1)
    log_p = logits(4, [START]).log_softmax(-1)
    assert best.log_probability == pytest.approx(log_p[[END, *FREE]].max().item(), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_scores_are_kept_in_single_precision_at_least(dtype: torch.dtype) -> None:
    def model(tokens: Tensor, memory: object, state: object) -> tuple[Tensor, None]:
        return torch.full((len(tokens), VOCAB), 0.5, dtype=dtype), None

    ((best, *_),) = BeamSearch(2, 0.0).search(
        NextToken(model), torch.full((1, 1), START), None, max_new_tokens=9
    )
    length = len(best.ids) + best.finished
    assert best.log_probability == pytest.approx(-length * math.log(VOCAB), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"beam_size": 0}, "beam_size of at least 1, got 0"),
        ({"length_penalty": math.nan}, "finite length_penalty, got nan"),
        ({"early_stopping": "always"}, "True, False or 'never', got 'always'"),
    ],
)
def test_bad_options_are_refused(
    options: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is for users
    with pytest.raises(ValueError, match=said):
        BeamSearch(**options)


def test_a_limit_below_one_and_logits_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="max_new_tokens of at least 1, got 0"):
        run(BeamSearch(), [1], 0)

    def broken(tokens: Tensor, memory: object, state: object) -> tuple[Tensor, None]:
        return torch.full((len(tokens), VOCAB), math.nan), None

    with pytest.raises(ValueError, match="the model's logits are NaN at decoding step 1"):
        BeamSearch().search(NextToken(broken), torch.full((2, 1), START), None, max_new_tokens=3)
