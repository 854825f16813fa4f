"""The strategies draw what they promise, and only through hypothesis."""

from __future__ import annotations

import pytest
import torch
from hypothesis import find, given
from hypothesis import strategies as st

from seqlearn.batch import END, PAD, START
from seqlearn.spec import TextSpec, VectorSpec
from seqlearn.testing import TASKS, batch_of, strategies


@pytest.mark.parametrize("size", [0, 1, 5])
def test_lengths_are_none_one_and_many(size: int) -> None:
    assert find(strategies.lengths(), lambda length: length == size) == size
    assert find(strategies.texts(9), lambda ids: len(ids) == size) is not None


@pytest.mark.parametrize("task", TASKS)
def test_specs_of_each_task(task: str) -> None:
    kinds = [type(side) for side in (TASKS[task].source, TASKS[task].target)]
    found = find(strategies.specs(), lambda spec: [type(spec.source), type(spec.target)] == kinds)
    assert found != TASKS[task]


@given(strategies.specs(), st.data())
def test_batches_fit_their_spec(spec, data) -> None:
    before = torch.get_rng_state()
    drawn = data.draw(strategies.examples(spec, max_size=3))
    batch = batch_of(spec, drawn)
    assert torch.equal(torch.get_rng_state(), before), "a strategy draws no random numbers"
    assert batch.size == len(drawn)
    if isinstance(spec.source, TextSpec):
        lengths = [len(source) for source, _ in drawn]
        assert batch.source_lengths.tolist() == lengths
        assert (batch.source < spec.source.vocab_size).all()
    if isinstance(spec.source, VectorSpec):
        assert batch.source.shape == (len(drawn), spec.source.size)
    if isinstance(spec.target, TextSpec):
        for row, (_, target) in zip(batch.target.tolist(), drawn, strict=True):
            assert row[: len(target) + 2] == [START, *target, END]
            assert set(row[len(target) + 2 :]) <= {PAD}


@given(strategies.masks())
def test_masks_are_padded_on_the_right(mask) -> None:
    for row in mask:
        assert len(row) == len(mask[0])
        assert sorted(row, reverse=True) == row


@given(strategies.shapes("batch", "time", least=1, most=3), strategies.dtypes())
def test_shapes_and_dtypes(sizes, dtype) -> None:
    assert set(sizes) == {"batch", "time"}
    assert all(1 <= size <= 3 for size in sizes.values())
    assert torch.zeros(tuple(sizes.values()), dtype=dtype).is_floating_point()
