"""The default budget of a batch."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import seqlearn as sl
from seqlearn.data.budget import default_batch_tokens


@given(total=st.integers(0, 10**9), longest=st.integers(1, 5000))
def test_the_budget_is_within_its_limits(total: int, longest: int) -> None:
    budget = default_batch_tokens(total, longest)
    assert min(4096, max(128, 2 * longest)) <= budget <= 4096
    assert budget <= max(128, 2 * longest, total // 1000)
    assert budget <= default_batch_tokens(total + 1000, longest)


def pairs(count: int, words: int = 5) -> list[dict[str, str]]:
    text = "abcde"[:words]
    return [{"source": " ".join(text), "target": " ".join(text[::-1])} for _ in range(count)]


def data_of(count: int, **options: int) -> sl.data.TextPairs:
    words = sl.data.Text("word")
    rows = pairs(count)
    return sl.data.TextPairs(
        rows, rows[:20], None, words, words, columns=("source", "target"), **options
    )


def test_little_data_has_many_steps() -> None:
    data = data_of(240)  # 240 targets of five words, start and end: 1,680 tokens
    assert data.batch_tokens == 128
    assert len(data.train_dataloader()) == 14  # 18 examples of seven tokens fit


def test_a_given_budget_is_taken_as_it_is() -> None:
    assert data_of(240, batch_tokens=4096).batch_tokens == 4096
    assert len(data_of(240, batch_tokens=4096).train_dataloader()) == 1
    with pytest.raises(ValueError, match="expected batch_tokens of at least 1, got 0"):
        data_of(240, batch_tokens=0)


def test_the_longest_example_of_any_split_fits() -> None:
    words = sl.data.Text("word")
    long = [{"source": "a", "target": " ".join(["a"] * 200)}]
    columns = ("source", "target")
    data = sl.data.TextPairs(pairs(20), long, None, words, words, columns=columns)
    assert data.batch_tokens == 2 * 202
    assert len(data.val_dataloader()) == 1


def test_more_data_has_larger_batches() -> None:
    data = sl.data.Synthetic("sort", length=6, train_examples=40_000)
    longer = data.dataset("train").target_lengths
    assert data.batch_tokens == int(longer.sum()) // 1000 > 128
    assert len(data.train_dataloader()) == pytest.approx(1000, rel=0.15)


def test_streams_count_windows(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("abcd" * 5000, encoding="utf-8")
    data = sl.data.PlainText(text, window=20)
    assert data.batch_tokens == 128
    assert sl.data.PlainText(text, window=100).batch_tokens == 2 * 100
    with pytest.raises(ValueError, match="at most batch_tokens=4096, got 5000"):
        sl.data.PlainText(text, window=5000)
