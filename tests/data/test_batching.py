from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, DistributedSampler

from seqlearn.data.batching import BatchSampler, Ints, Plan, plan_bucketed, plan_sequential

Lengths = tuple[Ints, Ints]


@st.composite
def lengths(draw: st.DrawFn, least: int = 1) -> Lengths:
    """Any lengths, few or many, alike or spread."""
    number = draw(st.integers(least, 200))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    longest = draw(st.sampled_from([1, 3, 30]))
    return rng.integers(0, longest + 1, number), rng.integers(1, longest + 1, number)


budgets = st.sampled_from([30, 37, 100, 1000])
worlds = st.integers(1, 5)
planners = st.sampled_from([plan_bucketed, plan_sequential])


def ranks(plan: Plan, *, shuffle: bool, epoch: int = 0, seed: int = 0) -> list[list[list[int]]]:
    """What each rank gets in an epoch."""
    dealt = []
    for rank in range(plan.world_size):
        sampler = BatchSampler(plan, shuffle=shuffle, seed=seed, rank=rank)
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        dealt.append(batches)
    return dealt


@given(lengths(least=0), budgets, worlds, planners, st.booleans(), st.integers(0, 3))
def test_every_example_exactly_once_per_epoch(
    both: Lengths, budget: int, world: int, plan_with: Any, shuffle: bool, epoch: int
) -> None:
    plan = plan_with(*both, budget, world_size=world)
    dealt = ranks(plan, shuffle=shuffle, epoch=epoch)
    counts = Counter(row for batches in dealt for batch in batches for row in batch)
    kept = sorted(row for row in counts.elements() if row >= 0)
    assert kept == list(range(len(both[0])))
    duplicates = len(list(counts.elements())) - len(kept)
    assert duplicates < world
    # Repeats only where even batches of one example cannot be shared evenly.
    if duplicates:
        assert all(len(batch) == 1 for batches in dealt for batch in batches)


@given(lengths(), budgets, worlds, planners, st.booleans(), st.integers(0, 3))
def test_every_batch_keeps_the_budget_and_every_rank_has_as_many(
    both: Lengths, budget: int, world: int, plan_with: Any, shuffle: bool, epoch: int
) -> None:
    plan = plan_with(*both, budget, world_size=world)
    dealt = ranks(plan, shuffle=shuffle, epoch=epoch)
    assert len({len(batches) for batches in dealt}) == 1
    for batch in (batch for batches in dealt for batch in batches):
        rows = np.array([row if row >= 0 else ~row for row in batch])
        assert len(rows) >= 1
        assert len(rows) * max(both[0][rows].max(), both[1][rows].max()) <= budget


@given(lengths(), budgets, worlds, st.integers(0, 3), st.integers(0, 3))
def test_the_order_is_a_function_of_seed_and_epoch_the_number_and_sizes_of_neither(
    both: Lengths, budget: int, world: int, seed: int, epoch: int
) -> None:
    plan = plan_bucketed(*both, budget, world_size=world)
    dealt = ranks(plan, shuffle=True, seed=seed, epoch=epoch)
    again = plan_bucketed(*both, budget, world_size=world)
    assert dealt == ranks(again, shuffle=True, seed=seed, epoch=epoch)
    other = ranks(plan, shuffle=True, seed=seed + 1, epoch=epoch + 7)
    assert Counter(len(b) for batches in dealt for b in batches) == Counter(
        len(b) for batches in other for b in batches
    )


def test_epochs_and_seeds_differ_in_batches_and_in_their_order() -> None:
    rng = np.random.default_rng(0)
    plan = plan_bucketed(rng.integers(1, 20, 500), rng.integers(1, 20, 500), 300)
    seen = [plan.epoch(seed, epoch) for seed, epoch in [(0, 0), (0, 1), (1, 0)]]
    for one, two in [(0, 1), (0, 2), (1, 2)]:
        assert list(seen[one]) != list(seen[two])
        assert {frozenset(batch) for batch in seen[one]} != {frozenset(b) for b in seen[two]}
    assert list(plan.sequential()) == list(plan.sequential())


@given(lengths(least=0), budgets, worlds)
def test_the_order_of_the_data_stays(both: Lengths, budget: int, world: int) -> None:
    plan = plan_sequential(*both, budget, world_size=world)
    rows = [row for batch in plan.sequential() for row in batch if row >= 0]
    assert rows == list(range(len(both[0])))


def test_consecutive_batches_are_as_full_as_the_budget_lets_them() -> None:
    plan = plan_sequential(np.array([2, 2, 2, 9, 1, 1]), np.ones(6, dtype=np.int64), 9)
    assert list(plan.sequential()) == [[0, 1, 2], [3], [4, 5]]


def test_uneven_batches_are_halved_not_repeated() -> None:
    plan = plan_bucketed(np.full(10, 5), np.full(10, 5), 50, world_size=3)
    assert sorted(len(batch) for batch in plan.sequential()) == [2, 3, 5]
    assert min(plan.rows) >= 0


def test_fewer_examples_than_ranks_are_repeated_with_a_mark() -> None:
    plan = plan_bucketed(np.array([4, 4]), np.array([4, 4]), 100, world_size=5)
    batches = plan.sequential()
    rows = sorted(row for batch in batches for row in batch)
    assert rows[:3] in ([-2, -2, -1], [-2, -1, -1])
    assert rows[3:] == [0, 1]
    assert [len(batch) for batch in batches] == [1] * 5


def test_batches_of_one_step_are_alike() -> None:
    rng = np.random.default_rng(0)
    source = rng.integers(1, 60, 4000)
    target = np.clip(source + rng.integers(-5, 6, 4000), 1, None)
    dealt = ranks(plan_bucketed(source, target, 600, world_size=2), shuffle=True)
    means = np.array([[target[batch].mean() for batch in batches] for batches in dealt])
    assert np.abs(means[0] - means[1]).mean() < 0.2 * np.abs(means[0] - means[1][::-1]).mean()


def test_padding_is_small_on_both_sides() -> None:
    rng = np.random.default_rng(0)
    source = np.clip(rng.normal(15, 5, 20000).astype(int), 1, 50)
    target = np.clip(source + rng.normal(0, 4, 20000).astype(int), 2, 60)
    batches = plan_bucketed(source, target, 4096).epoch(0, 0)
    for side in (source, target):
        padded = sum(len(batch) * side[batch].max() for batch in batches)
        assert 1 - side.sum() / padded < 0.1


@pytest.mark.parametrize("plan_with", [plan_bucketed, plan_sequential])
def test_an_example_longer_than_the_budget_is_named(plan_with: Any) -> None:
    with pytest.raises(
        ValueError,
        match="line 3: 7 tokens in the source and 12 in the target do not fit batch_tokens=10; "
        "set batch_tokens to at least 12",
    ):
        plan_with(
            np.array([1, 1, 7]),
            np.array([2, 2, 12]),
            10,
            describe_row=lambda row: f"line {row + 1}",
        )


def test_an_epoch_can_be_joined_later() -> None:
    rng = np.random.default_rng(0)
    plan = plan_bucketed(rng.integers(1, 9, 99), rng.integers(1, 9, 99), 50, world_size=2)
    sampler = BatchSampler(plan, shuffle=True, rank=1)
    whole = list(sampler)
    with sampler.starting_at(0, 3):
        assert len(sampler) == len(whole)
        assert list(sampler) == whole[3:]
        assert list(sampler) == whole[3:]
    assert list(sampler) == whole
    with sampler.starting_at(1, 2):
        later = list(sampler)
    sampler.set_epoch(1)
    assert later == list(sampler)[2:] != whole[2:]


def test_lightning_and_torch_take_it() -> None:
    plan = plan_bucketed(np.array([1, 2, 3]), np.array([1, 2, 3]), 4)
    sampler = BatchSampler(plan, shuffle=False)
    assert isinstance(sampler, DistributedSampler)

    class Rows:
        def __getitem__(self, rows: list[int]) -> torch.Tensor:
            return torch.tensor(rows)

    loaded = DataLoader(Rows(), sampler=sampler, batch_size=None)  # type: ignore[arg-type]
    assert [batch.tolist() for batch in loaded] == list(plan.sequential())
    with pytest.raises(ValueError, match="rank"):
        BatchSampler(plan, shuffle=False, rank=1)
