"""Strips: what a layer's units do from step to step, as heat maps over time.

Figures are made with matplotlib's objects and never through `pyplot`, so nothing global stays
open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from seqlearn.introspect.plots.attention import drawn_labels, label_axis
from seqlearn.introspect.plots.figure import Figure

DIVERGING = "RdBu_r"
"""White at zero, red above, blue below."""

_WIDEST, _CELL, _UNIT = 8.0, 0.3, 0.06  # inches


def state_heatmap(
    strips: Mapping[str, Float[np.ndarray, "_time _width"]],
    tokens: Sequence[str] | None = None,
    *,
    title: str = "",
    time: str = "time",
) -> Figure:
    """Draw what units do over time, one heat map under another.

    A column for each step and a row for each unit; white is zero. Each heat map has a scale of its
    own, as far below zero as above; a value that is not finite is gray.

    Args:
        strips: By name one number for each step and unit, such as states and gates of one example;
            all of as many steps.
        tokens: A label for each step; its number, if `None`.
        title: What stands above.
        time: What the horizontal axis is.

    Returns:
        The figure; `savefig` writes it.

    Raises:
        ValueError: If there is nothing to draw, or there are not as many steps or labels in one as
            in another.
    """
    counts = {len(strip) for strip in strips.values()}
    counts |= set() if tokens is None else {len(tokens)}
    if not strips or len(counts) > 1:
        raise ValueError(
            f"expected strips and labels of one number of steps, got {sorted(counts) or 'none'}"
        )
    (steps,) = counts
    cell = min(_CELL, _WIDEST / max(1, steps))
    heights = [min(2.4, max(0.9, _UNIT * strip.shape[1])) for strip in strips.values()]
    families, labels, _ = drawn_labels(tokens, None)
    figure = Figure(
        figsize=(max(2.4, cell * steps) + 1.6, sum(heights) + 0.25 * len(heights) + 1.3),
        dpi=120,
        layout="constrained",
        facecolor="white",
    )
    panels = figure.subplots(len(strips), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, (name, strip) in zip(panels, strips.items(), strict=True):
        values = np.ma.masked_invalid(np.asarray(strip, dtype=np.float32))
        most = float(np.abs(values).max()) if values.count() else 0.0
        limit = most or 1.0
        panel.set_facecolor("gray")
        image = panel.imshow(
            values.T if strip.size else np.zeros((1, 1)),
            cmap=DIVERGING,
            vmin=-limit,
            vmax=limit,
            aspect="auto",
            interpolation="nearest",
        )
        panel.set_ylabel(name, fontsize=8, parse_math=False)
        panel.set_yticks([])
        label_axis(panel, "x", labels, steps, cell, families, shown=panel is panels[-1])
        bar = figure.colorbar(image, ax=panel, fraction=0.05, pad=0.02)
        bar.ax.tick_params(labelsize=7)
        bar.outline.set_visible(False)
        if not strip.size:
            panel.text(0.5, 0.5, "empty", ha="center", va="center", transform=panel.transAxes)
    figure.suptitle(title, fontsize=11, parse_math=False)
    figure.supxlabel(time, fontsize=9)
    return figure
