from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

import seqlearn as sl
from seqlearn.cli import main
from seqlearn.data.cache import cached
from seqlearn.data.cache_entries import cache_entries, remove

KEYS = [letter * 64 for letter in "abc"]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def build(folder: Path) -> None:
    (folder / "ids.npy").write_bytes(bytes(1000))


def make(root: Path) -> None:
    """Three entries, not used for 30, 20 and 10 days."""
    for number, key in enumerate(KEYS):
        folder = cached(key, build, {"name": f"Data{number}", "text": "x"}).path
        then = time.time() - (30 - 10 * number) * 86400
        for path in (*folder.iterdir(), folder):
            os.utime(path, (then, then))


def test_entries_are_listed_with_size_and_age(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(root)
    assert main(["cache"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith(f"{root}: 3 entries, 3.")
    assert [line.split()[2:] for line in lines] == [
        ["30", "days", "aaaaaaaaaaaa", "Data0:", "x"],
        ["20", "days", "bbbbbbbbbbbb", "Data1:", "x"],
        ["10", "days", "cccccccccccc", "Data2:", "x"],
    ]


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--older-than", "15"], "c"),
        (["--max-size", "3k"], "bc"),
        (["--max-size", "0"], ""),
        (["--max-size", "1G"], "abc"),
        (["--name", "Data1"], "ac"),
        (["--name", "bbbb"], "ac"),
        (["--name", "Data[01]", "--older-than", "25"], "bc"),
        (["--older-than", "15", "--max-size", "0"], ""),
    ],
)
def test_entries_are_deleted_by_age_size_and_name(
    options: list[str], left: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(root)
    assert main(["cache", "prune", "--dry-run", *options]) == 0
    planned = capsys.readouterr().out
    assert len(cache_entries()) == 3
    assert main(["cache", "prune", *options]) == 0
    done = capsys.readouterr().out
    assert planned.replace("would delete", "deleted").replace("would free", "freed") == done
    assert [entry.path.name[0] for entry in cache_entries()] == list(left)


def test_wrong_arguments_are_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(root)
    assert main(["cache", "prune"]) == 2
    assert "--older-than 0 deletes everything" in capsys.readouterr().err
    assert main(["cache", "--older-than", "3"]) == 2
    for options in (["--older-than", "-1"], ["--max-size", "much"]):
        assert main(["cache", "prune", *options]) == 2
        assert f"argument {options[0]}: " in capsys.readouterr().err
    assert len(cache_entries()) == 3


def test_what_is_in_use_is_not_deleted(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(root)
    data = sl.data.TextPairs([("ab", "c")], source=sl.data.Text(), target=sl.data.Text())
    data.prepare_data()
    opened = cached(KEYS[0], build)
    assert main(["cache", "prune", "--older-than", "0"]) == 0
    assert capsys.readouterr().out.count("in use, not deleted") == 2
    assert {entry.name for entry in cache_entries()} == {"Data0", "TextPairs"}
    del opened
    if sys.platform != "win32":
        assert remove(next(one for one in cache_entries() if one.name == "Data0"))
    assert [entry.name for entry in cache_entries()] == ["TextPairs"]
    assert data.dataset("train")[0].target.tolist() == [[2, 4, 3]]


def test_using_an_entry_makes_it_young(root: Path) -> None:
    make(root)
    cached(KEYS[0], build)
    assert [entry.path.name[0] for entry in cache_entries()] == ["b", "c", "a"]
    assert cache_entries()[-1].age < 1


def test_what_is_being_written_stays_and_leftovers_go(root: Path) -> None:
    part = root / f".{KEYS[0]}.123.partial"
    part.mkdir(parents=True)
    (part / "ids.npy").touch()
    (entry,) = cache_entries()
    assert entry.name == "partial"
    with FileLock(root / f"{KEYS[0]}.lock"):
        assert not remove(entry)
    assert remove(entry)
    assert cache_entries() == []


def test_files_that_no_manifest_describes(root: Path) -> None:
    (root / "multi30k").mkdir(parents=True)
    (root / "multi30k" / "train.en.gz").write_bytes(bytes(70))
    (root / KEYS[1]).mkdir()
    assert {(one.name, one.size) for one in cache_entries()} == {("multi30k", 70), ("unknown", 0)}
    assert all(remove(one) for one in cache_entries())
    assert cache_entries() == []
