"""Processes that prepared different data stop before training, each with an error."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import seqlearn as sl
from seqlearn.data.same_on_ranks import check_same_on_ranks


def rank(number: int, first: dict[str, Any], *, equal: bool) -> Any:
    """The Trainer of one of two processes, of which rank zero has the values `first`."""
    strategy = SimpleNamespace(
        broadcast=lambda own: own if number == 0 else first,
        reduce_boolean_decision=lambda own, **_: own and equal,
    )
    return SimpleNamespace(world_size=2, global_rank=number, strategy=strategy)


def test_equal_values_pass() -> None:
    for number in (0, 1):
        check_same_on_ranks(rank(number, {"seed": 1}, equal=True), {"seed": 1})
    check_same_on_ranks(None, {"seed": 1})
    check_same_on_ranks(SimpleNamespace(world_size=1), {"seed": 1})


def test_different_values_raise_on_all_ranks() -> None:
    with pytest.raises(ValueError, match=r"rank 1 has another seed than rank 0 \(2 against 1\)"):
        check_same_on_ranks(
            rank(1, {"data": "a", "seed": 1}, equal=False), {"data": "a", "seed": 2}
        )
    with pytest.raises(ValueError, match="another process has other data than rank 0"):
        check_same_on_ranks(rank(0, {}, equal=False), {"data": "a", "seed": 1})


def test_a_data_module_compares_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path))
    one, other = (sl.data.TextPairs([("a", "b"), ("c", text)]) for text in ("d", "e"))
    first: dict[str, Any] = {}
    one.trainer = rank(0, {}, equal=True)
    monkeypatch.setattr(one.trainer.strategy, "broadcast", lambda own: first.update(own) or own)
    one.setup("validate")
    assert set(first) == {"content of the data", "seed", "batch_tokens"}
    other.trainer = rank(1, first, equal=False)
    with pytest.raises(ValueError, match="rank 1 has another content of the data than rank 0"):
        other.setup("validate")
