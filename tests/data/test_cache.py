from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seqlearn.data import cache
from seqlearn.data.cache import cache_root, cached

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Builder:
    """Writes two files, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        (folder / "ids.npy").write_bytes(bytes(range(200)))
        (folder / "summary.json").write_text('{"a": 1}', encoding="utf-8")


def test_what_is_there_is_not_built_again(root: Path) -> None:
    build = Builder()
    folder = cached("key", build).path
    assert folder == root / "key" == cached("key", build).path
    assert build.calls == 1
    assert (folder / "ids.npy").read_bytes() == bytes(range(200))
    assert cached("other", build).path != folder
    assert build.calls == 2


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "truncated": lambda folder: os.truncate(folder / "ids.npy", 100),
    "flipped": lambda folder: flip(folder / "ids.npy"),
    "summary": lambda folder: flip(folder / "summary.json"),
    "missing": lambda folder: (folder / "ids.npy").unlink(),
    "manifest": lambda folder: (folder / "manifest.json").write_text("[1", encoding="utf-8"),
    "kind": lambda folder: (folder / "manifest.json").write_text("[1]", encoding="utf-8"),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_cache_is_built_again(kind: str) -> None:
    build = Builder()
    folder = cached("key", build).path
    DAMAGE[kind](folder)
    with pytest.warns(UserWarning, match="is damaged .* and is rebuilt"):
        cached("key", build)
    assert build.calls == 2
    assert (folder / "ids.npy").read_bytes() == bytes(range(200))
    cached("key", build)
    assert build.calls == 2


class FullDisk:
    """Writes a file to a disk without space."""

    def __call__(self, folder: Path) -> None:
        (folder / "ids.npy").write_bytes(bytes(10_000))


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on file sizes")
def test_a_full_disk_is_an_error_that_says_what_to_do(root: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    root.mkdir(parents=True)
    (root / "key.lock").touch()
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(OSError, match="SEQLEARN_CACHE") as caught:
            cached("key", FullDisk())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(root)
    assert "the disk is full: could not write the prepared data" in str(caught.value)
    assert [path.name for path in root.iterdir()] == ["key.lock"]
    cached("key", FullDisk())


def test_large_files_are_checked_by_size_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "CHECKSUM_LIMIT", 100)
    build = Builder()
    folder = cached("key", build).path
    flip(folder / "ids.npy")
    cached("key", build)
    os.truncate(folder / "ids.npy", 199)
    with pytest.warns(UserWarning, match="ids.npy has 199 bytes instead of 200"):
        cached("key", build)


def test_nothing_half_written_stays(root: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "ids.npy").write_bytes(b"half")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        cached("key", fail)
    assert [path for path in root.iterdir() if path.suffix != ".lock"] == []
    left = root / ".key.123.partial"  # by a process that was killed
    left.mkdir()
    (left / "rest.npy").touch()
    assert not (cached("key", Builder()).path / "rest.npy").exists()
    assert not left.exists()


def test_a_place_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match=r"cannot write prepared data to .*set the .*SEQLEARN_CACHE"):
        cached("key", Builder())


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_folder_without_permission(root: Path) -> None:
    cached("key", Builder())
    root.chmod(0o500)
    try:
        assert cached("key", Builder()).path == root / "key"  # reading is enough
        with pytest.raises(PermissionError, match="SEQLEARN_CACHE"):
            cached("other", Builder())
    finally:
        root.chmod(0o700)


def test_the_folder_is_below_home_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEQLEARN_CACHE")
    assert cache_root() == Path.home() / ".cache" / "seqlearn"
    monkeypatch.setenv("SEQLEARN_CACHE", "~/elsewhere")
    assert cache_root() == Path.home() / "elsewhere"


PROCESS = """
import pathlib, sys, time, types
for name in ("seqlearn", "seqlearn.data"):  # without what these packages import
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = [str(pathlib.Path({root!r}, *name.split(".")))]
from seqlearn.data import cache

def build(folder):
    with open({log!r}, "a") as log:
        log.write("built\\n")
    for number in range(20):
        (folder / f"{{number}}.npy").write_bytes(bytes(1000))
        time.sleep(0.01)

while not pathlib.Path({start!r}).exists():
    time.sleep(0.001)
folder = cache.cached("key", build).path
assert len(list(folder.glob("*.npy"))) == 20
"""


def test_of_several_processes_one_builds(tmp_path: Path, root: Path) -> None:
    log, start = tmp_path / "log", tmp_path / "start"
    code = PROCESS.format(root=str(ROOT), log=str(log), start=str(start))
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    time.sleep(0.5)
    start.touch()
    assert [process.wait(timeout=300) for process in processes] == [0] * 4
    assert log.read_text(encoding="utf-8") == "built\n"
    assert not list(root.glob(".key*"))
