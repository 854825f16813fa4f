"""Heatmaps of states and gates over time.

Figures are created without `pyplot`, so none stays open.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from seqlearn.introspect.plots.attention import COLORS, drawn_labels, label_axis
from seqlearn.introspect.plots.figure import Figure

DIVERGING = "RdBu_r"
"""A colormap that is white at zero, red above and blue below."""

_WIDEST, _CELL, _UNIT = 8.0, 0.3, 0.06  # inches


def state_heatmap(
    heatmaps: Mapping[str, Float[np.ndarray, "_time _width"]],
    tokens: Sequence[str] | None = None,
    *,
    title: str = "",
    time: str = "time",
    gates: Collection[str] = (),
) -> Figure:
    """Draw the values of units over time, one heatmap below the other.

    There is a column for each step and a row for each unit. White is zero. Each heatmap has its own
    color scale, symmetric about zero, and that of a gate goes from 0 to 1; values that are not
    finite are gray.

    Args:
        heatmaps: By name, one number for each step and unit, such as states and gates of one
            example; all with the same number of steps.
        tokens: A label for each step; its index, if `None`.
        title: The title of the figure.
        time: The label of the horizontal axis.
        gates: The names of the heatmaps that are gates.

    Returns:
        The figure; `savefig` writes it.

    Raises:
        ValueError: If there is no heatmap, the numbers of steps and labels differ, or a gate has a
            value outside 0 to 1.

    Examples:
        >>> figure = state_heatmap({"states": np.zeros((3, 8))}, ["a", "b", "c"])
        >>> figure.savefig("states.png")  # doctest: +SKIP
    """
    counts = {len(heatmap) for heatmap in heatmaps.values()}
    counts |= set() if tokens is None else {len(tokens)}
    if not heatmaps or len(counts) > 1:
        raise ValueError(
            "expected heatmaps and labels with equal numbers of steps, got "
            f"{sorted(counts) or 'none'}"
        )
    (steps,) = counts
    cell = min(_CELL, _WIDEST / max(1, steps))
    heights = [min(2.4, max(0.9, _UNIT * heatmap.shape[1])) for heatmap in heatmaps.values()]
    families, labels, _ = drawn_labels(tokens, None)
    figure = Figure(
        figsize=(max(2.4, cell * steps) + 1.6, sum(heights) + 0.25 * len(heights) + 1.3),
        dpi=120,
        layout="constrained",
    )
    panels = figure.subplots(len(heatmaps), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, (name, heatmap) in zip(panels, heatmaps.items(), strict=True):
        values = np.ma.masked_invalid(np.asarray(heatmap, dtype=np.float32))
        most = float(np.abs(values).max()) if values.count() else 0.0
        limit = most or 1.0
        low, high, colors = (0.0, 1.0, COLORS) if name in gates else (-limit, limit, DIVERGING)
        if name in gates and values.count() and (values.min() < 0 or values.max() > 1):
            raise ValueError(
                f"{name}: expected values of a gate from 0 to 1, got {values.min():.3g} to "
                f"{values.max():.3g}; leave it out of gates"
            )
        panel.set_facecolor("gray")
        image = panel.imshow(
            values.T if heatmap.size else np.zeros((1, 1)),
            cmap=colors,
            vmin=low,
            vmax=high,
            aspect="auto",
            interpolation="nearest",
        )
        panel.set_ylabel(name, fontsize=8, parse_math=False)
        panel.set_yticks([])
        label_axis(panel, "x", labels, steps, cell, families, shown=panel is panels[-1])
        bar = figure.colorbar(image, ax=panel, fraction=0.05, pad=0.02)
        bar.ax.tick_params(labelsize=7)
        bar.outline.set_visible(False)
        if not heatmap.size:
            panel.text(0.5, 0.5, "empty", ha="center", va="center", transform=panel.transAxes)
    figure.suptitle(title, fontsize=11, parse_math=False)
    figure.supxlabel(time, fontsize=9)
    return figure
