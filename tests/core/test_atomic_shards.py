"""Sharded checkpoints of two processes are complete or absent, and a hint names the plugin."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

import seqlearn as sl
from seqlearn.core import atomic_shards

CONTENT = [".metadata", "__0_0.distcp", "__1_0.distcp", "meta.pt"]


@pytest.mark.skipif(sys.platform == "win32", reason="forks and signals of POSIX systems")
def test_a_sharded_checkpoint_is_replaced_whole(tmp_path: Path) -> None:
    tests = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, str(tests / "core" / "shard_saves.py"), str(tmp_path)],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": f"{tests}:{os.environ.get('PYTHONPATH', '')}"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    expected = {
        "first": (1.0, [0, 0]),
        "second": (2.0, [0, 0]),
        "full": (2.0, [1, 1]),  # the previous one
        "killed": (2.0, [-signal.SIGKILL, 1]),
    }
    assert {name: (one["weight"], one["statuses"]) for name, one in found.items()} == expected
    for name, one in found.items():
        assert one["content"] == CONTENT, name
        partial = [file for file in one["files"] if file.endswith(".partial")]
        assert len(partial) == (name == "killed"), name
    assert "the disk is full: could not write the checkpoint" in printed(tmp_path, "full", 0)
    assert "another rank could not save its part" in printed(tmp_path, "full", 1)


def printed(folder: Path, run: str, rank: int) -> str:
    return (folder / run / f"log{rank}").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("plugin", "saves", "hinted"),
    [
        (TorchCheckpointIO(), True, True),
        (TorchCheckpointIO(), False, False),
        (sl.AtomicCheckpointIO(), True, False),
    ],
)
def test_a_hint_names_the_plugin_once(
    plugin: Any,
    saves: bool,
    hinted: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(atomic_shards, "_hinted", [])
    trainer = L.Trainer(
        accelerator="cpu", plugins=[plugin], logger=False, enable_checkpointing=saves
    )
    with caplog.at_level(logging.INFO):
        atomic_shards.write_atomically(trainer)
        atomic_shards.write_atomically(trainer)
    hints = [one for one in caplog.messages if "plugins=[sl.AtomicCheckpointIO()]" in one]
    assert len(hints) == hinted
