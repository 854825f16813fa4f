"""Files whose sizes do not fit their weights: one sentence, and without the memory."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import seqlearn as sl
from seqlearn.core.stored_sizes import Stored, TooLargeError, build_within
from seqlearn.testing import TASKS

ROOT = Path(__file__).parents[1]
SPEC = TASKS["sequence-to-sequence"]


@cache
def outcomes(folder: Path) -> dict[str, tuple[str, float, float]]:
    """What `hostile_files.py` prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "hostile_files.py", folder],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, tuple[str, float, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_each_is_one_sentence_without_the_memory(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    found = outcomes(tmp_path_factory.mktemp("hostile"))
    assert len(found) > 35
    for name, (said, _, megabytes) in found.items():
        assert said.startswith("ValueError: "), name
        assert "expected" in said, name
        assert "\n" not in said, name
        assert len(said) < 700, name
        assert megabytes < 100, (name, megabytes)
    said = found["width, checkpoint"][0]
    assert "source_embedding.weight: (9, 10000000) and (9, 4)" in said
    assert "Missing key" in found["few tensors, checkpoint"][0]


def test_a_constructor_that_needs_real_tensors_is_limited_too() -> None:
    stored = Stored({"weight": (4, 4)}, 16)

    def make(width: int) -> torch.nn.Module:
        if torch.ones(1).item() != 1.0:  # the meta device raises here
            raise AssertionError
        return torch.nn.Linear(width, width, bias=False)

    assert isinstance(build_within(stored, lambda: make(4)), torch.nn.Linear)
    with pytest.raises(TooLargeError, match=r"a weight of 400000000 numbers"):
        build_within(stored, lambda: make(20000))


def test_a_load_draws_the_numbers_of_one_construction(tmp_path: Path) -> None:
    model = sl.LSTM(SPEC, d_model=4)
    model.save_pretrained(tmp_path)
    torch.manual_seed(3)
    sl.LSTM(SPEC, d_model=4)
    expected = torch.rand(3)
    torch.manual_seed(3)
    sl.LSTM.from_pretrained(tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_a_compressed_checkpoint_is_refused(tmp_path: Path) -> None:
    """Its parts could unpack to any size."""
    path = tmp_path / "small.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as parts:
        parts.writestr("archive/data.pkl", bytes(10**6))
    with pytest.raises(ValueError, match=r"is compressed, which torch.save does not do"):
        sl.LSTM.load_from_checkpoint(path)


class Evil:
    """What, unpickled, makes a folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("made",)


def test_no_message_advises_an_unsafe_load(tmp_path: Path) -> None:
    """The message of torch does."""
    path = tmp_path / "evil.ckpt"
    torch.save({"seqlearn": Evil()}, path)
    with pytest.raises(pickle.UnpicklingError, match="weights_only"):
        torch.load(path, weights_only=True)
    for load in (
        sl.LSTM.load_from_checkpoint,
        lambda path: sl.AtomicCheckpointIO().load_checkpoint(path, weights_only=True),
    ):
        with pytest.raises(ValueError, match=r"it names (posix|nt)\.mkdir") as caught:
            load(path)
        assert "weights_only" not in str(caught.value)


def test_no_text_of_ours_advises_an_unsafe_load() -> None:
    unsafe = re.compile(r"weights_only[`'\" ]*(=|to|set to)[`'\" ]*False")
    for file in (ROOT / "seqlearn").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                # A docstring may name the danger; it may not be the way out.
                assert not unsafe.search(node.value) or "would run code" in node.value, file
    for page in [ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")]:
        assert not unsafe.search(page.read_text(encoding="utf-8")), page
