"""Buckets are what sorting all examples at each split gives, which is slow but plain."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seqlearn.data.batching import plan_bucketed
from seqlearn.data.buckets import Ints, divide_into_buckets


def textbook(
    source: Ints, target: Ints, batch_tokens: int, bucket_batches: float
) -> list[tuple[Ints, int]]:
    longest = np.maximum(np.maximum(source, target), 1)
    buckets = []
    waiting = [np.arange(len(longest))] if len(longest) else []
    while waiting:
        rows = waiting.pop()
        size = batch_tokens // int(longest[rows].max())
        sides = [source[rows], target[rows]]
        padding = [1 - lengths.mean() / max(int(lengths.max()), 1) for lengths in sides]
        if len(rows) <= bucket_batches * size or all(np.ptp(lengths) == 0 for lengths in sides):
            buckets.append((rows, size))
            continue
        first, second = sides if padding[0] > padding[1] else sides[::-1]
        order = np.lexsort((second, first))[::-1]
        half = max(1, round(len(rows) / 2 / size)) * size
        waiting += [rows[order[half:]], rows[order[:half]]]
    return buckets


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 800),
    st.integers(1, 40),
    st.integers(1, 30),
    st.sampled_from([1, 2.5, 4]),
    st.sampled_from(["independent", "close", "no source", "few"]),
)
def test_buckets_are_those_of_the_textbook(
    seed: int, size: int, longest: int, rows: int, bucket_batches: float, kind: str
) -> None:
    rng = np.random.default_rng(seed)
    source, target = rng.integers(0, longest + 1, (2, size))
    if kind == "close":
        target = np.minimum(source + rng.integers(0, 2, size), longest)
    elif kind == "no source":
        source = np.zeros(size, np.int64)
    elif kind == "few":
        source, target = source // 8 * 8, target // 8 * 8
    options = source, target, longest * rows, bucket_batches
    found, expected = divide_into_buckets(*options), textbook(*options)
    assert [size for _, size in found] == [size for _, size in expected]
    assert [part.tolist() for part, _ in found] == [part.tolist() for part, _ in expected]


def test_the_order_of_an_epoch_is_a_stable_sort_within_buckets() -> None:
    rng = np.random.default_rng(0)
    plan = plan_bucketed(rng.integers(1, 30, 3000), rng.integers(1, 30, 3000), 200, world_size=2)
    draw = np.random.Generator(np.random.PCG64(np.random.SeedSequence([3, 5])))
    rows = plan.rows[np.lexsort((draw.random(len(plan.rows)), plan.buckets))]
    steps = draw.permutation(len(plan) // 2)
    batches = [2 * step + rank for step in steps for rank in (0, 1)]
    expected = [rows[plan.batches[one] : plan.batches[one + 1]].tolist() for one in batches]
    assert list(plan.epoch(3, 5)) == expected
    assert list(plan.epoch(3, 5)[1:7:2]) == expected[1:7:2]
    assert plan.epoch(3, 5)[-1] == expected[-1]
