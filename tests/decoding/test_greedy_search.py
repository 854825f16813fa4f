"""Greedy decoding, against a decoder whose answers are known; a listener checks the rows."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from seqlearn.decoding import GreedySearch, NextToken
from seqlearn.instrumentation import GenerationResult, add_listener, generation

SCRIPTS = [[5, 6, 3], [7, 3], [5, 5, 5, 5, 5, 5, 5, 5], [3]]


def scripted(tokens: torch.Tensor, memory: object, state: object) -> tuple[torch.Tensor, object]:
    """Row by row, say what the row's script says next; the state is (script, step)."""
    scripts, step = state or (torch.arange(len(SCRIPTS)), 0)
    logits = torch.zeros(len(scripts), 9)
    logits[:, 0] = 99.0  # padding, which may never be answered
    for row, script in enumerate(scripts.tolist()):
        logits[row, SCRIPTS[script][step]] = 1.0
    return logits, (scripts, step + 1)


def run(max_new_tokens: int) -> list[list[int]]:
    first = torch.full((4, 1), 2)
    found = GreedySearch()(NextToken(scripted), first, None, max_new_tokens=max_new_tokens)
    return [ids for (ids,) in found]


def test_until_the_end_symbol_or_the_limit() -> None:
    assert run(4) == [[5, 6], [7], [5, 5, 5, 5], []]
    assert run(1) == [[5], [7], [5], []]


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="max_new_tokens of at least 1, got 0"):
        run(0)


class Follower:
    """Follows every row back to the output that it belongs to."""

    def __init__(self) -> None:
        self.parents: list[torch.Tensor | None] = []
        self.ended: tuple[object, object] | None = None

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

    def decoding_step(self, parents: torch.Tensor | None) -> None:
        self.parents.append(parents)

    def generation_end(self, result: GenerationResult | None) -> None:
        assert result is not None
        self.ended = result.beam_paths, result.tokens


def test_a_listener_can_follow_the_rows() -> None:
    follower = Follower()
    with add_listener(follower), generation(range(4), 4, None, None):
        run(4)
    assert [p if p is None else p.tolist() for p in follower.parents] == [
        None,
        [0, 1, 2],
        [0, 2],
        [1],
    ]
    beam_paths, tokens = follower.ended
    assert beam_paths == [[(2, 0)], [(1, 1)], [(3, 0)], [(0, 3)]]
    assert tokens == [[2, 5, 6], [2, 7], [2, 5, 5, 5, 5], [2]]
