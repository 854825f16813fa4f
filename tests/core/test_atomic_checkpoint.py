"""Checkpoints are complete or absent, and verified before they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import seqlearn as sl


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
