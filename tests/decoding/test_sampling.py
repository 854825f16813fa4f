"""Sampling: what may be drawn and how often, against a plain reference, and repeatability."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from seqlearn.batch import END, PAD, START, Memory
from seqlearn.decoding import GreedySearch, NextToken, Sampling
from seqlearn.decoding.sampling import _RandomStreams
from seqlearn.instrumentation import GenerationResult, add_listener, generation

LOGITS = torch.tensor([-math.inf, 0.3, -math.inf, 1.0, 2.0, -1.0, 1.5, 0.0, 1.4])
GRID = (torch.arange(20_000) + 1) / 20_000  # above 0 and up to 1, evenly


def reference(temperature: float, top_k: int | None, top_p: float | None) -> dict[int, float]:
    """Temperature, then the likeliest k, then the fewest that have p; in plain Python."""
    ids = [i for i in range(len(LOGITS)) if i not in (PAD, START)]
    weights = {i: math.exp(LOGITS[i].item() / temperature) for i in ids}
    ranked = sorted(ids, key=lambda i: -weights[i])[:top_k]
    total = sum(weights[i] for i in ranked)
    kept, mass = [], 0.0
    for i in ranked:
        if top_p is not None and mass >= top_p:
            break
        kept.append(i)
        mass += weights[i] / total
    total = sum(weights[i] for i in kept)
    return {i: weights[i] / total for i in kept}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("top_k", [None, 1, 3, 100])
@pytest.mark.parametrize("top_p", [None, 0.05, 0.5, 0.9, 1.0])
def test_the_distribution_is_that_of_the_reference(
    temperature: float, top_k: int | None, top_p: float | None
) -> None:
    sampling = Sampling(temperature, top_k, top_p)
    drawn = sampling.draw(LOGITS.expand(len(GRID), -1), GRID)
    expected = reference(temperature, top_k, top_p)
    counts = Counter(drawn.tolist())
    assert set(counts) == set(expected)
    for token, p in expected.items():
        assert counts[token] / len(GRID) == pytest.approx(p, abs=1e-3)


@pytest.mark.parametrize("options", [(), (1.0, 5), (1.0, None, 0.99), (1e-6,), (1e6,)])
def test_suppressed_tokens_are_never_generated(options: tuple[float, ...]) -> None:
    logits = torch.randn(1000, 30) * 20
    logits[:, [PAD, START, 29]] = -math.inf
    for uniform in (torch.rand(1000) + 1e-9, torch.full((1000,), 1e-16), torch.ones(1000)):
        drawn = Sampling(*options).draw(logits, uniform.clamp(max=1.0))
        assert not set(drawn.tolist()) & {PAD, START, 29}


def test_a_low_temperature_takes_the_likeliest() -> None:
    logits = torch.randn(500, 30)
    logits[:, [PAD, START]] = -100.0
    drawn = Sampling(1e-6).draw(logits, torch.rand(500).clamp(min=1e-6))
    assert torch.equal(drawn, logits.argmax(-1))


def test_the_logits_given_stay_as_they_are() -> None:
    logits = LOGITS[None].clone()
    Sampling().draw(logits, torch.ones(1))
    assert torch.equal(logits[0], LOGITS)


def markov(tokens: Tensor, memory: object, state: object) -> tuple[Tensor, Tensor]:
    """Depends on the source (a number) and the tokens so far."""
    total = tokens.sum(1) if state is None else state + tokens.sum(1)
    shift = memory.pooled[:, 0] if memory is not None else torch.zeros(len(tokens))
    return torch.sin((total + shift)[:, None] * torch.arange(1.0, 10.0) * 1.7) * 2, total


def sources(numbers: list[float]) -> tuple[Tensor, Memory]:
    size = len(numbers)
    mask = torch.ones(size, 1, dtype=torch.bool)
    memory = Memory(torch.zeros(size, 1, 1), mask, torch.tensor(numbers)[:, None])
    return torch.full((size, 1), START), memory


def run(
    numbers: list[float], seeds: list[list[int]], max_new_tokens: int = 12, **options: float
) -> list[list[list[int]]]:
    sampling = Sampling(**options, num_return_sequences=len(seeds[0]))
    return sampling(
        NextToken(markov), *sources(numbers), max_new_tokens=max_new_tokens, seeds=seeds
    )


def test_texts_are_drawn_from_the_model() -> None:
    """Chi-square over all answers of at most two tokens, at a fixed seed."""
    draws = 4000
    (found,) = run([0.5], [list(range(draws))], max_new_tokens=2)
    counts = Counter(map(tuple, found))
    ids = [1, 3, 4, 5, 6, 7, 8]
    _, memory = sources([0.5])
    expected: dict[tuple[int, ...], float] = {}
    logits, state = markov(torch.tensor([[START]]), memory, None)
    first = dict(zip(ids, logits[0, ids].softmax(-1).tolist(), strict=True))
    expected[()] = first.pop(END)
    for token, p in first.items():
        logits, _ = markov(torch.tensor([[token]]), memory, state)
        for then, q in zip(ids, logits[0, ids].softmax(-1).tolist(), strict=True):
            expected[(token,) if then == END else (token, then)] = p * q
    assert set(counts) <= set(expected)
    chi = sum((counts[a] - draws * p) ** 2 / (draws * p) for a, p in expected.items())
    freedom = len(expected) - 1  # chi-square has this mean, and a variance of twice as much
    assert abs(chi - freedom) < 4 * math.sqrt(2 * freedom)


def test_a_seed_decides_alone() -> None:
    """Neither company nor order nor the limit changes what is drawn before it."""
    numbers, seeds = [0.1, 0.7, 2.0], [[1, 2], [3, 4], [5, 6]]
    together = run(numbers, seeds)
    assert together == run(numbers, seeds)
    assert together[::-1] == run(numbers[::-1], seeds[::-1])
    for number, seed, answers in zip(numbers, seeds, together, strict=True):
        assert run([number], [seed]) == [answers]
        assert [run([number], [[one]])[0][0] for one in seed] == answers
    cut = run(numbers, seeds, max_new_tokens=3)
    assert cut == [[answer[:3] for answer in answers] for answers in together]
    assert together != run(numbers, [[7, 8], [9, 10], [11, 12]])
    assert len({len(answer) for answers in together for answer in answers}) > 1


def test_top_1_is_greedy() -> None:
    numbers = [0.1, 0.7, 2.0, 3.3]
    expected = GreedySearch()(NextToken(markov), *sources(numbers), max_new_tokens=9)
    assert run(numbers, [[n] for n in range(4)], max_new_tokens=9, top_k=1) == expected


class Follower:
    def __init__(self) -> None:
        self.parents: list[Tensor | None] = []

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
        self.parents.append(parents)

    def generation_end(self, result: GenerationResult | None) -> None:
        assert result is not None
        self.beam_paths, self.tokens = result.beam_paths, result.tokens


def test_a_listener_can_follow_the_rows_and_ended_rows_leave() -> None:
    fed: list[list[int]] = []

    def model(tokens: Tensor, memory: Memory, state: object) -> tuple[Tensor, Tensor]:
        fed.append(tokens[:, -1].tolist())
        return markov(tokens, memory, state)

    follower = Follower()
    with add_listener(follower), generation(range(2), 2, None, None):
        found = Sampling(num_return_sequences=2)(
            NextToken(model), *sources([0.1, 0.7]), max_new_tokens=8, seeds=[[1, 2], [3, 4]]
        )
    assert follower.tokens == [[START, *answers[0]] for answers in found]
    rows = 0
    for answers, history in zip(found, follower.beam_paths, strict=True):
        for answer, (last, row) in zip(answers, history, strict=True):
            path, at = [], row
            for step in range(last, -1, -1):
                path.append(fed[step][at])
                parents = follower.parents[step]
                at = at if parents is None else int(parents[at])
            assert path[::-1] == [START, *answer][: last + 1]
            assert len(answer) in (last, last + 1)
            rows += last + 1
    assert sum(map(len, fed)) == rows


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": 0.0}, "temperature above 0, got 0.0; .*strategy='greedy'"),
        ({"temperature": -1.0}, "temperature above 0, got -1.0"),
        ({"temperature": math.nan}, "temperature above 0, got nan"),
        ({"temperature": math.inf}, "temperature above 0, got inf"),
        ({"top_k": 0}, "top_k of at least 1, or None, got 0"),
        ({"top_p": 1.1}, "top_p above 0 and at most 1, or None, got 1.1"),
        ({"top_p": 0.0}, "top_p above 0 and at most 1, or None, got 0.0"),
        ({"top_p": math.nan}, "top_p above 0 and at most 1, or None, got nan"),
    ],
)
def test_bad_options_are_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Sampling(**options)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="max_new_tokens of at least 1, got -1"):
        run([1.0], [[1]], max_new_tokens=-1)


def test_random_numbers_are_exact_also_in_half_precision() -> None:
    """As bfloat16, numbers above 1/2 would be multiples of 1/256, and 1.0 would be one of them."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        drawn = _RandomStreams(range(500)).next(torch.arange(500))
    finally:
        torch.set_default_dtype(before)
    assert drawn.dtype == torch.float32
    torch.testing.assert_close(drawn, _RandomStreams(range(500)).next(torch.arange(500)))
