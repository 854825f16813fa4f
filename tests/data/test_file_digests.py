from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from seqlearn.data import file_digests
from seqlearn.data.cache import cache_root, file_digest
from seqlearn.data.file_digests import remembered_digest


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(file_digests, "REMEMBERED_SIZE", 10)
    path = tmp_path / "large.txt"
    path.write_bytes(bytes(100))
    return path


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    monkeypatch.setattr("seqlearn.data.file_digests.time.time_ns", lambda: now + 10**10)


def test_an_unchanged_file_is_read_once(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch)
    digest = remembered_digest(large)
    assert digest == file_digest(large)
    monkeypatch.setattr(file_digests, "file_digest", lambda _: "read again")
    assert remembered_digest(large) == digest
    for record in (cache_root() / "digests").iterdir():
        record.write_text("[1", encoding="utf-8")
    assert remembered_digest(large) == "read again"


def test_a_changed_file_is_read_again(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch)
    remembered_digest(large)
    before = large.stat()
    large.write_bytes(b"\1" * 100)  # as large, and with the old time of change
    os.utime(large, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert remembered_digest(large) == file_digest(large)


def test_a_file_that_has_just_changed_is_not_remembered(large: Path) -> None:
    remembered_digest(large)
    assert not (cache_root() / "digests").exists()


def test_small_files_are_always_read(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch)
    monkeypatch.setattr(file_digests, "REMEMBERED_SIZE", 1000)
    remembered_digest(large)
    assert not (cache_root() / "digests").exists()
