"""A recording as an animated GIF: attention row by row, or states step by step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.animation import PillowWriter
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from seqlearn.atomic_files import atomic_path
from seqlearn.introspect.plots.attention import attention_heads, attention_map
from seqlearn.introspect.plots.heatmaps import state_heatmap
from seqlearn.introspect.viewer.payload import Recorded

_FRAMES_PER_SECOND = 3
_FINAL_FRAMES = 6  # the last picture stays this long
_MAX_FRAMES = 120
_DPI = 80


class _Drawn(NamedTuple):
    """A complete figure, its images, the data of each, and the axis that is time."""

    figure: Figure
    images: list[AxesImage]
    wholes: list[np.ndarray]
    axis: int


def to_gif(recording: Recorded, path: str | os.PathLike[str], *, example: int = 0) -> Path:
    """Write an animated GIF with three steps per second and at most 120 frames.

    It shows all heads of the last cross-attention, one row per generated token; without
    cross-attention, the last other attention; without attention, states step by step.

    Args:
        recording: The recording.
        path: The file to write; a missing folder is created.
        example: Which example.

    Returns:
        The path.

    Raises:
        ValueError: If the recording holds nothing of the example that can be drawn.
        IndexError: If there is no such example.
        OSError: If the file cannot be written; an existing file is unchanged.
    """
    path = Path(path)
    recorded = [*recording.attention.values(), *recording.states.values()]
    count = len(recording.tokens) or max((len(tensor) for tensor in recorded), default=0)
    if not 0 <= example < max(1, count):
        raise IndexError(f"expected an example from 0 to {max(0, count - 1)}, got {example}")
    drawn = _attention(recording, example, count) or _states(recording, example, count)
    if drawn is None:
        raise ValueError(
            f"expected attention, or states of a known sequence, of example {example}, got "
            f"{[*recording.attention, *recording.states]}; set its tokens with label()"
        )
    figure, images, wholes, axis = drawn
    steps = wholes[0].shape[axis]
    shown = np.unique(np.linspace(1, steps, min(steps, _MAX_FRAMES)).round().astype(int))
    writer = PillowWriter(fps=_FRAMES_PER_SECOND)
    with atomic_path(path, "the GIF", "the argument `path`") as part:
        # The layout is computed once, so that panels keep their positions in every frame.
        figure.canvas.draw()
        figure.set_layout_engine("none")
        named = part.with_name(f"{part.name}.gif")  # Pillow takes the format from the name
        try:
            with writer.saving(figure, named, _DPI):
                for step in [*shown, *[steps] * _FINAL_FRAMES]:
                    for image, whole in zip(images, wholes, strict=True):
                        image.set_data(_until(whole, int(step), axis))
                    writer.grab_frame()
            named.replace(part)
        finally:
            named.unlink(missing_ok=True)
    return path


def _attention(recording: Recorded, example: int, count: int) -> _Drawn | None:
    """The last cross-attention, or without one the last attention of any kind."""
    names = [name for name, weights in recording.attention.items() if len(weights) == count]
    cross = [name for name in names if recording.axes.get(name) == ("target", "source")]
    if not names:
        return None
    name = (cross or names)[-1]
    axes = recording.axes.get(name, ("query", "key"))
    sides = _sides(recording, example)
    labels = [sides.get("decoder_output" if cross else axes[0]), sides.get(axes[1])]
    weights = recording.attention[name][example]
    for place, side in enumerate(labels, start=1):
        weights = weights if side is None else weights.narrow(place, 0, len(side))
    if not weights.numel():
        return None
    maps = weights.detach().float().cpu().numpy()
    if len(maps) == 1:
        figure = attention_map(maps[0], *labels, title=name, axes=axes)
    else:
        figure = attention_heads(maps, *labels, title=name, axes=axes)
    images = [panel.images[0] for panel in figure.axes if panel.images]
    return _Drawn(figure, images, list(maps), 0)


def _states(recording: Recorded, example: int, count: int) -> _Drawn | None:
    """The states of the decoder, or without a decoder those of the encoder."""
    for time in ("target", "source"):
        side = _sides(recording, example)[time]
        heatmaps = {
            name: states[example, : None if side is None else len(side)]
            for name, states in recording.states.items()
            if recording.time_axis.get(name) == time and len(states) == count
        }
        arrays = {
            name: heatmap.detach().float().cpu().numpy() for name, heatmap in heatmaps.items()
        }
        if any(heatmap.size for heatmap in arrays.values()):
            figure = state_heatmap(arrays, side, time=time)
            images = [panel.images[0] for panel in figure.axes if panel.images]
            return _Drawn(figure, images, [heatmap.T for heatmap in arrays.values()], 1)
    return None


def _sides(recording: Recorded, example: int) -> dict[str, list[str] | None]:
    """The labels along each axis; `None` where they are not known."""
    if not recording.tokens:
        return {"source": None, "target": None, "decoder_output": None, "pooled": ["pooled"]}
    tokens = recording.tokens[example]
    return {
        "source": tokens.source,
        "target": tokens.decoder_input,
        "decoder_output": tokens.decoder_output,
        "pooled": ["pooled"],
    }


def _until(whole: np.ndarray, step: int, axis: int) -> np.ndarray:
    """The data of the first steps; later steps are masked."""
    seen = np.ma.masked_invalid(whole)
    later = np.arange(whole.shape[axis]) >= step
    return np.ma.masked_where(
        np.broadcast_to(later[:, None] if axis == 0 else later, whole.shape), seen
    )
