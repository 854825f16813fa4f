"""Animated GIFs: the number of frames, and their content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seqlearn.introspect import Recording, Tokens
from seqlearn.introspect.export.gif import to_gif

TOKENS = [Tokens(list("ab"), list("xyz"), list("yz.")), Tokens(["$\\q"], ["\ud800"], ["</s>"])]


def frames(path: Path) -> list[np.ndarray]:
    with Image.open(path) as image:
        found = []
        for frame in range(image.n_frames):
            image.seek(frame)
            found.append(np.asarray(image.convert("RGB"), dtype=int))
        return found


@pytest.mark.parametrize("heads", [1, 3])
def test_attention_appears_row_by_row(heads: int, tmp_path: Path) -> None:
    weights = torch.full((2, heads, 3, 2), 0.5)
    recording = Recording({"cross": weights}, tokens=TOKENS, axes={"cross": ("target", "source")})
    path = to_gif(recording, tmp_path / "a.gif")
    shown = frames(path)
    assert len(shown) == 3  # the last frame is held
    white = [int((frame == 255).all(-1).sum()) for frame in shown]
    assert white[0] > white[1] > white[2]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.gif"]


def test_states_appear_step_by_step(tmp_path: Path) -> None:
    recording = Recording(
        states={"encoder": torch.randn(2, 2, 8)}, tokens=TOKENS, time_axis={"encoder": "source"}
    )
    assert len(frames(to_gif(recording, tmp_path / "a.gif"))) == 2
    assert len(frames(to_gif(recording, tmp_path / "b.gif", example=1))) == 1


def test_attention_of_unknown_tokens_is_drawn_too(tmp_path: Path) -> None:
    recording = Recording({"bert": torch.rand(1, 2, 4, 4)})
    assert len(frames(to_gif(recording, tmp_path / "a.gif"))) == 4


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"of example 0, got \['h'\]"):
        to_gif(Recording(states={"h": torch.rand(1, 2, 3)}), tmp_path / "a.gif")
    with pytest.raises(IndexError, match="from 0 to 1, got 2"):
        to_gif(
            Recording({"a": torch.rand(2, 1, 3, 2)}, tokens=TOKENS), tmp_path / "a.gif", example=2
        )
    assert list(tmp_path.iterdir()) == []
