"""A recording as a moving picture for a README: attention row by row, or states step by step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.animation import PillowWriter
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from seqlearn.introspect.plots.attention import attention_heads, attention_map
from seqlearn.introspect.plots.heatmaps import state_heatmap
from seqlearn.introspect.viewer.payload import Recorded

_PER_SECOND = 3
_LAST = 6  # frames for which the last picture stays
_MOST = 120  # frames
_DOTS = 80  # an inch


class _Drawn(NamedTuple):
    """A figure with everything in it, its images, what each shows, and which axis is time."""

    figure: Figure
    images: list[AxesImage]
    wholes: list[np.ndarray]
    axis: int


def to_gif(recording: Recorded, path: str | os.PathLike[str], *, example: int = 0) -> Path:
    """Write an animated GIF: three steps a second, in at most 120 frames.

    It shows the last module whose target looks at the source, all heads of it, a row for each
    token answered; else the last other attention; else the states of a sequence, step by step.

    Args:
        recording: What was heard.
        path: The file to write.
        example: Which example.

    Returns:
        The path.

    Raises:
        ValueError: If nothing was heard of the example that can be drawn.
        IndexError: If there is no such example.
        OSError: If the file cannot be written; nothing half-written is left.
    """
    path = Path(path)
    heard = [*recording.attention.values(), *recording.states.values()]
    count = len(recording.tokens) or max((len(tensor) for tensor in heard), default=0)
    if not 0 <= example < max(1, count):
        raise IndexError(f"expected an example from 0 to {max(0, count - 1)}, got {example}")
    drawn = _attention(recording, example, count) or _states(recording, example, count)
    if drawn is None:
        raise ValueError(
            f"expected attention, or states of a known sequence, of example {example}, heard "
            f"{[*recording.attention, *recording.states]}; give it its tokens with label()"
        )
    figure, images, wholes, axis = drawn
    steps = wholes[0].shape[axis]
    shown = np.unique(np.linspace(1, steps, min(steps, _MOST)).round().astype(int))
    part = path.with_name(path.name + ".part.gif")
    part.touch()
    writer = PillowWriter(fps=_PER_SECOND)
    try:
        # The layout is found once: with every frame anew, panels would jump.
        figure.canvas.draw()
        figure.set_layout_engine("none")
        with writer.saving(figure, part, _DOTS):
            for step in [*shown, *[steps] * _LAST]:
                for image, whole in zip(images, wholes, strict=True):
                    image.set_data(_until(whole, int(step), axis))
                writer.grab_frame()
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _attention(recording: Recorded, example: int, count: int) -> _Drawn | None:
    """The last module whose target looks at the source, or else the last that was heard."""
    names = [name for name, weights in recording.attention.items() if len(weights) == count]
    looking = [name for name in names if recording.axes.get(name) == ("target", "source")]
    if not names:
        return None
    name = (looking or names)[-1]
    axes = recording.axes.get(name, ("query", "key"))
    sides = _sides(recording, example)
    labels = [sides.get("decoder_output" if looking else axes[0]), sides.get(axes[1])]
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
    """The states of the decoder, or else of the encoder."""
    for time in ("target", "source"):
        side = _sides(recording, example)[time]
        strips = {
            name: states[example, : None if side is None else len(side)]
            for name, states in recording.states.items()
            if recording.time_axis.get(name) == time and len(states) == count
        }
        arrays = {name: strip.detach().float().cpu().numpy() for name, strip in strips.items()}
        if any(strip.size for strip in arrays.values()):
            figure = state_heatmap(arrays, side, time=time)
            images = [panel.images[0] for panel in figure.axes if panel.images]
            return _Drawn(figure, images, [strip.T for strip in arrays.values()], 1)
    return None


def _sides(recording: Recorded, example: int) -> dict[str, list[str] | None]:
    """What labels the places of an axis; `None` where that is not known."""
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
    """What was seen after so many steps; the rest is not there yet."""
    seen = np.ma.masked_invalid(whole)
    later = np.arange(whole.shape[axis]) >= step
    return np.ma.masked_where(
        np.broadcast_to(later[:, None] if axis == 0 else later, whole.shape), seen
    )
