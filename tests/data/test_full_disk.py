"""A disk without room for the prepared data."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from seqlearn.data import Text, TextPairs, preparation
from seqlearn.data.array_files import ArrayWriter
from seqlearn.data.cache_entries import cache_entries

PAIRS = [(f"word {n}", f"Wort {n}") for n in range(30)]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(preparation, "_CHUNK", 10)
    return tmp_path / "cache"


def prepare() -> int:
    """Prepare the pairs; the bytes of all files of the training split."""
    data = TextPairs(PAIRS, source=Text(), target=Text())
    folder = data.dataset("train").folder
    return sum(path.stat().st_size for path in folder.glob("train.*"))


def test_what_does_not_fit_is_refused_before_it_is_encoded(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = SimpleNamespace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: free)
    message = r"the disk is full: could not write the prepared data \([\d.]+ kB needed, 1 kB free\)"
    with pytest.raises(OSError, match=f"{message}; .* SEQLEARN_CACHE") as caught:
        prepare()
    assert caught.value.filename == str(root)
    assert cache_entries() == []
    free.free = 10**9
    assert prepare() > 1000


def test_a_disk_that_fills_up_names_the_need(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append, calls = ArrayWriter.append, []

    def fail(self: ArrayWriter, rows: object) -> None:
        calls.append(self)
        if len(calls) > 12:
            raise OSError(28, "No space left on device")
        append(self, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(ArrayWriter, "append", fail)
    with pytest.raises(OSError, match=r"\([\d.]+ kB needed, .* SEQLEARN_CACHE") as caught:
        prepare()
    assert caught.value.filename == str(root)
    assert cache_entries() == []
