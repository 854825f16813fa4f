"""Checkpoints are complete or absent, and verified before they are read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

import seqlearn as sl
from seqlearn.core import atomic_checkpoint, checkpoint


class FailsToPickle:
    def __reduce__(self) -> Any:
        raise OSError(28, "No space left on device")


def test_a_checkpoint_is_written_and_read(tmp_path: Path) -> None:
    plugin, path = sl.AtomicCheckpointIO(), tmp_path / "new" / "a.ckpt"
    plugin.save_checkpoint({"weights": torch.arange(3)}, path)
    assert torch.equal(plugin.load_checkpoint(path)["weights"], torch.arange(3))
    assert [found.name for found in path.parent.iterdir()] == ["a.ckpt"]
    plugin.remove_checkpoint(path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_a_link_is_replaced_and_what_it_leads_to_is_not(tmp_path: Path) -> None:
    """`ModelCheckpoint(save_last="link")` makes last.ckpt a link to the best checkpoint."""
    plugin, best, last = sl.AtomicCheckpointIO(), tmp_path / "best.ckpt", tmp_path / "last.ckpt"
    plugin.save_checkpoint({"weights": torch.arange(3)}, best)
    last.symlink_to(best.name)
    plugin.save_checkpoint({"weights": torch.arange(4)}, last)
    assert torch.equal(plugin.load_checkpoint(best)["weights"], torch.arange(3))
    assert torch.equal(plugin.load_checkpoint(last)["weights"], torch.arange(4))
    folder, link = tmp_path / "shards", tmp_path / "link.ckpt"
    folder.mkdir()
    link.symlink_to(folder.name)
    plugin.save_checkpoint({"weights": torch.arange(5)}, link)
    assert torch.equal(plugin.load_checkpoint(link)["weights"], torch.arange(5))
    names = {"best.ckpt", "last.ckpt", "shards", "link.ckpt"}
    assert {found.name for found in tmp_path.iterdir()} == names


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path: Path) -> None:
    plugin, path = sl.AtomicCheckpointIO(), tmp_path / "a.ckpt"
    plugin.save_checkpoint({"weights": torch.arange(3)}, path)
    with pytest.raises(OSError, match=r"the disk is full: could not write the checkpoint \(4 kB"):
        plugin.save_checkpoint({"weights": torch.zeros(1000), "then": FailsToPickle()}, path)
    assert torch.equal(plugin.load_checkpoint(path)["weights"], torch.arange(3))
    assert [found.name for found in tmp_path.iterdir()] == ["a.ckpt"]


def test_a_damaged_checkpoint_is_not_read(tmp_path: Path) -> None:
    plugin, path = sl.AtomicCheckpointIO(), tmp_path / "a.ckpt"
    plugin.save_checkpoint({"weights": torch.ones(100)}, path)
    content = bytearray(path.read_bytes())
    at = content.index(torch.ones(100).numpy().tobytes())
    content[at + 8] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        plugin.load_checkpoint(path)


KILLS = """
import os, random, signal, sys, time
from pathlib import Path
import torch
import seqlearn as sl
path, plugin = Path(sys.argv[1]), sl.AtomicCheckpointIO()
plugin.save_checkpoint({"weights": torch.zeros(1_000_000)}, path)
for _ in range(12):
    if not (child := os.fork()):
        for number in range(1000):
            plugin.save_checkpoint({"weights": torch.full((1_000_000,), float(number))}, path)
    time.sleep(random.uniform(0.02, 0.1))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(plugin.load_checkpoint(path)["weights"].unique()) == 1
"""


@pytest.mark.skipif(sys.platform == "win32", reason="forks and signals of POSIX systems")
def test_kills_leave_whole_files_also_with_temporary_files_elsewhere(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    elsewhere = other.is_dir() and os.access(other, os.W_OK)
    temporary = other if elsewhere and other.stat().st_dev != tmp_path.stat().st_dev else tmp_path
    done = subprocess.run(
        [sys.executable, "-c", KILLS, str(tmp_path / "last.ckpt")],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_resumed_run_verifies_its_checkpoint_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified = []
    for module in (atomic_checkpoint, checkpoint):
        monkeypatch.setattr(module, "verify_checksum", lambda path: verified.append(str(path)))
    rows = [{"a": "ab", "b": "ba"}, {"a": "abc", "b": "cba"}] * 4
    data = sl.data.TextPairs(rows, rows[:2], columns=("a", "b"), batch_tokens=8)
    path = tmp_path / "a.ckpt"
    for plugins in ([sl.AtomicCheckpointIO()], []):
        for start in (None, path):
            model = sl.GRU(data.spec, d_model=4, recipe=sl.Recipe(warmup_steps=1))
            trainer = L.Trainer(
                max_steps=1 + bool(start),
                max_epochs=-1,
                accelerator="cpu",
                plugins=plugins,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(model, data, ckpt_path=start, weights_only=True)
            trainer.save_checkpoint(path)
        assert verified == [str(path)]
        verified.clear()
