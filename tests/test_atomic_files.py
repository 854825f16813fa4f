"""Files are complete or absent."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

import seqlearn as sl
from seqlearn.atomic_files import atomic_path, is_disk_full
from seqlearn.introspect import Recording


def write(path: Path, text: str) -> None:
    with atomic_path(path, "the text", "the option `place`", len(text)) as part:
        part.write_text(text, encoding="utf-8")


def test_a_file_and_a_folder_are_replaced_whole(tmp_path: Path) -> None:
    write(tmp_path / "new" / "a.txt", "one")
    write(tmp_path / "new" / "a.txt", "two")
    for name in ("b", "c"):
        with atomic_path(tmp_path / "folder", "the folder", "`place`") as part:
            part.mkdir()
            (part / name).write_text(name, encoding="utf-8")
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert found == {"new", "new/a.txt", "folder", "folder/c"}
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "two"


@pytest.mark.skipif(os.name != "posix", reason="needs a umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_files_have_the_mode_of_new_files(tmp_path: Path, mask: int, mode: int) -> None:
    data = sl.data.Synthetic(train_examples=4)
    data.setup("fit")
    model = sl.FeedForward(data.spec, d_model=8)
    before = os.umask(mask)
    try:
        model.save_pretrained(tmp_path / "model")  # the library of its weights sets 0600
        Recording({"a": torch.ones(1, 1, 1, 1)}).save(tmp_path / "recording")
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {mode}
    assert len(files) == 3


def test_files_and_folders_replace_each_other(tmp_path: Path) -> None:
    target = tmp_path / "a.ckpt"
    write(target, "file")
    for content in ("one", "two"):
        with atomic_path(target, "the folder", "`place`") as part:
            part.mkdir()
            (part / content).touch()
        assert [path.name for path in target.iterdir()] == [content]
    with atomic_path(target, "the file", "`place`") as part:
        part.write_text("file", encoding="utf-8")
    assert target.read_text(encoding="utf-8") == "file"
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


def test_what_another_process_writes_now_is_kept(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.txt", "it", "`place`") as part:
        part.write_text("slowly", encoding="utf-8")
        write(tmp_path / "b.txt", "b")
        thread = threading.Thread(target=write, args=(tmp_path / "a.txt", "quickly"))
        thread.start()
        thread.join()
        assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "quickly"
        assert part.exists()
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "slowly"


def test_an_error_leaves_the_previous_file(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "one")
    with (
        contextlib.suppress(ZeroDivisionError),
        atomic_path(tmp_path / "a.txt", "it", "`place`") as part,
    ):
        part.write_text("half", encoding="utf-8")
        part.write_text(str(1 / 0), encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "one"


PROCESS = """
import os, resource, signal, sys
from pathlib import Path
from seqlearn.atomic_files import atomic_path
target, how = Path(sys.argv[1]), sys.argv[2]
if how == "full":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with atomic_path(target, "the checkpoint", "the option `place`", 5000) as part:
    with part.open("wb") as file:
        for _ in range(50):
            file.write(b"x" * 100)
            file.flush()
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX systems")
@pytest.mark.parametrize("how", ["kill", "full"])
def test_a_kill_or_a_full_disk_leaves_the_previous_file(tmp_path: Path, how: str) -> None:
    target = tmp_path / "last.ckpt"
    target.write_bytes(b"previous")
    command = [sys.executable, "-c", PROCESS, str(target), how]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert target.read_bytes() == b"previous"
    if how == "kill":
        assert done.returncode == -signal.SIGKILL
        assert len(list(tmp_path.iterdir())) == 2
        write(target, "the next")  # removes what was left
        assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
        return
    assert "the disk is full: could not write the checkpoint (5 kB needed, " in done.stderr
    assert "choose another folder with the option `place`" in done.stderr
    assert str(tmp_path) in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(28, "No space left on device"), True),
        (RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/3"), True),
        (OSError("80584 requested and 36832 written"), True),
        (PermissionError(13, "Permission denied"), False),
        (ValueError("other"), False),
    ],
)
def test_the_errors_of_a_full_disk_are_known(error: Exception, full: bool) -> None:
    assert is_disk_full(error) is full
