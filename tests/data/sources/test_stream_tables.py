from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from seqlearn.data import LabelledText, Stream, Text, TextPairs
from seqlearn.data.cache_entries import cache_entries

ROWS = [{"en": f"word {n}", "de": f"Wort {n}"} for n in range(2500)]
PAIRS = [(row["en"], row["de"]) for row in ROWS]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Counted:
    """Rows that count how often they are read."""

    def __init__(self, rows: Any = ROWS) -> None:
        self.rows, self.reads = rows, 0

    def __iter__(self) -> Iterator[Any]:
        self.reads += 1
        yield from self.rows


def pairs(rows: Any, name: str = "words 1", **options: Any) -> TextPairs:
    return TextPairs(Stream(rows, name), source=Text(), target=Text(), **options)


def test_a_stream_is_read_once() -> None:
    rows = Counted()
    for _ in range(2):
        data = pairs(rows)
        assert list(data.examples("train")) == PAIRS
        assert len(data.dataset("train")) == 2500
    assert rows.reads == 1
    assert data.fingerprint() == pairs(Counted()).fingerprint()
    assert list(pairs(Counted([{"a": "x", "b": "y"}]), "other").examples("train")) == [("x", "y")]
    assert {entry.name for entry in cache_entries()} == {"words 1", "other", "TextPairs"}


def test_it_trains_as_a_table_in_memory_does() -> None:
    streamed, table = pairs(iter(ROWS), val=0.1), TextPairs(ROWS, 0.1, source=Text(), target=Text())
    assert streamed.spec == table.spec
    for split in ("train", "val"):
        rows = range(len(table.dataset(split)))
        assert streamed.dataset(split)[rows].target.equal(table.dataset(split)[rows].target)


@pytest.mark.usefixtures("unchecked")
def test_streams_of_hugging_face() -> None:
    stream = datasets.Dataset.from_list([{"translation": row} for row in ROWS[:9]])
    data = TextPairs(
        {"train": Stream(stream.to_iterable_dataset(), "t"), "validation": Stream(stream, "v")},
        source=Text(),
        target=Text(),
        columns=("de", "en"),
    )
    assert list(data.examples("train")) == [(a, b) for b, a in PAIRS[:9]]
    assert len(data.dataset("val")) == 9
    with pytest.raises(TypeError, match=r"an IterableDataset, as Stream\(rows, name=\.\.\.\)"):
        TextPairs(stream.to_iterable_dataset(), source=Text(), target=Text())
    rows = [("good", "1"), ("bad", "0")]
    labelled = LabelledText(Stream(iter(rows), "l"), columns=(1, 2))
    assert list(labelled.examples("train")) == rows


@pytest.mark.usefixtures("unchecked")
def test_errors_name_the_row_and_leave_nothing() -> None:
    wrong = [*ROWS[:2000], {"en": "a", "de": None}]
    with pytest.raises(ValueError, match=r"train dataset, row 2000, column 'de': expected a value"):
        pairs(wrong).prepare_data()
    assert cache_entries() == []
    empty = [*PAIRS[:3], ("a", " ")]
    with pytest.raises(ValueError, match=r"train stream 'e', row 3, column 2: .* an empty one"):
        pairs(empty, "e").prepare_data()
    used = iter(ROWS)
    list(used)
    with pytest.raises(ValueError, match="'u' has none; an iterator that was read before is empty"):
        pairs(used, "u").prepare_data()
    for rows, name in ((ROWS, ""), ("text", "a"), (3, "a")):
        with pytest.raises((TypeError, ValueError), match="expected"):
            Stream(rows, name)  # type: ignore[arg-type]


KILLED = """
import os, sys
import seqlearn as sl
def rows():
    for n in range(2500):
        if n == 2100:
            os._exit(9)
        yield {"en": f"word {n}", "de": f"Wort {n}"}
text = sl.data.Text()
sl.data.TextPairs(sl.data.Stream(rows(), "words 1"), source=text, target=text).prepare_data()
"""


def test_a_kill_in_the_middle_leaves_nothing_wrong(root: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED], check=False).returncode == 9
    assert [entry.name for entry in cache_entries()] == ["partial"]
    data = pairs(Counted())
    assert list(data.examples("train")) == PAIRS
    assert [entry.name for entry in cache_entries()] == ["words 1"]
