"""The cache: a tree of prefixes equals a cache that copies the rows of all beams."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

import seqlearn as sl
from seqlearn.nn import Beams, KeyValueCache, MultiHeadAttention, PerSource, select
from seqlearn.nn.key_value_cache import MIN_ROOM


def drawn_beams(draw: random.Random, sources: int, width: int) -> tuple[Beams, Tensor]:
    """Beams that continue any rows of their source, and now and then fewer sources."""
    kept = sorted(draw.sample(range(sources), draw.randint(1, sources)))
    if draw.random() < 0.5:
        kept = list(range(sources))
    new_width = draw.choice([width, width, draw.randint(1, 4)])
    rows = torch.tensor(
        [[source * width + draw.randrange(width) for _ in range(new_width)] for source in kept]
    )
    return Beams(rows, None if len(kept) == sources else torch.tensor(kept)), rows.flatten()


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_tree_of_prefixes_equals_copied_rows(seed: int, rotary: bool) -> None:
    draw = random.Random(seed)
    attention = MultiHeadAttention(8, 2, rotary=rotary).eval()
    sources, width, steps = 3, 1, 20
    with torch.no_grad():
        first = torch.randn(sources, 2, 8)
        copied = tree = attention.causal_self_attention(first, None)[1]
        copied = copied.select(torch.arange(sources))
        for _ in range(steps):
            beams, rows = drawn_beams(draw, sources, width)
            tree, copied = select(tree, beams), select(copied, rows)
            sources, width = beams.rows.shape
            inputs = torch.randn(len(rows), draw.choice([1, 1, 1, 2]), 8)
            with sl.record(attention) as recorded:
                found, tree = attention.causal_self_attention(inputs, tree)
            with sl.record(attention) as expected:
                truth, copied = attention.causal_self_attention(inputs, copied)
            torch.testing.assert_close(found, truth)
            assert tree.length == copied.length
            for key, weights in expected.attention.items():
                torch.testing.assert_close(recorded.attention[key], weights)


def test_rows_taken_from_a_tree_are_on_their_own() -> None:
    attention = MultiHeadAttention(8, 2).eval()
    with torch.no_grad():
        _, cache = attention.causal_self_attention(torch.randn(2, 3, 8), None)
        copied = cache.select(torch.tensor([0, 0, 1, 1]))
        tree = cache.select_beams(Beams(torch.tensor([[0, 0], [1, 1]]), None))
        inputs = torch.randn(4, 1, 8)
        _, copied = attention.causal_self_attention(inputs, copied)
        _, tree = attention.causal_self_attention(inputs, tree)
        rows = torch.tensor([3, 0, 0])
        for size in (1, 3):
            inputs = torch.randn(3, size, 8)
            found, _ = attention.causal_self_attention(inputs, tree.select(rows))
            expected, _ = attention.causal_self_attention(inputs, copied.select(rows))
            torch.testing.assert_close(found, expected)


def step(cache: KeyValueCache, beams: Beams) -> KeyValueCache:
    cache = cache.select_beams(beams)
    rows = beams.rows.numel()
    cache.append(torch.randn(rows, 1, 1, 2), torch.randn(rows, 1, 1, 2))
    return cache


def test_reordered_beams_move_no_keys() -> None:
    cache = KeyValueCache(torch.randn(2, 1, 1, 2), torch.randn(2, 1, 1, 2))
    cache = step(cache, Beams(torch.tensor([[0, 0, 0], [1, 1, 1]]), None))
    places = cache.key.data_ptr(), cache.value.data_ptr()
    for _ in range(MIN_ROOM - 1):
        cache = step(cache, Beams(torch.tensor([[2, 0, 0], [4, 5, 3]]), None))
        assert (cache.key.data_ptr(), cache.value.data_ptr()) == places


def test_slots_that_no_beam_sees_are_dropped() -> None:
    """Beams that all continue one row have only their last token apart: no 3 slots each step."""
    cache = KeyValueCache(torch.randn(2, 1, 1, 2), torch.randn(2, 1, 1, 2))
    cache = step(cache, Beams(torch.tensor([[0, 0, 0], [1, 1, 1]]), None))
    for _ in range(200):
        cache = step(cache, Beams(torch.tensor([[1, 1, 1], [3, 3, 3]]), None))
    assert cache.length == 202
    assert cache.key.shape[2] <= 1.5 * (cache.length + 3 * MIN_ROOM)


def test_parts_with_one_row_per_source_follow_the_sources() -> None:
    state = (torch.arange(6), PerSource({"key": torch.tensor([5, 6, 7])}))
    rows, (kept,) = select(state, Beams(torch.tensor([[1, 0], [5, 5]]), torch.tensor([0, 2])))
    assert rows.tolist() == [1, 0, 5, 5]
    assert kept["key"].tolist() == [5, 7]
    assert select(state, Beams(torch.tensor([[1], [2], [5]]), None))[1] is state[1]
    rows, (kept,) = select((torch.arange(3), state[1]), torch.tensor([2, 2]))
    assert rows.tolist() == [2, 2]
    assert kept["key"].tolist() == [7, 7]
