"""Pictures of attention, from arrays and labels.

Figures are made with matplotlib's objects and never through `pyplot`, so nothing global stays
open. Labels are shown as they are: no math, no control characters, and a character that no
installed font can draw is written as its code point.
"""

from __future__ import annotations

import functools
import math
import unicodedata
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLORS = "magma_r"
"""Perceptually uniform, and light where there is no weight."""

_BASE_FONT = "DejaVu Sans"  # Comes with matplotlib.
_LONGEST_LABEL = 18
_POINTS = 72.0  # in an inch


def attention_map(
    weights: Float[np.ndarray, "query key"],
    queries: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
    *,
    title: str = "",
    axes: tuple[str, str] = ("query", "key"),
) -> Figure:
    """Draw one head: a row for each query, a column for each key.

    Args:
        weights: Attention weights.
        queries: A label for each row; its number, if `None`.
        keys: A label for each column; its number, if `None`.
        title: What stands above.
        axes: What the rows and the columns are.

    Returns:
        The figure; `savefig` writes it.

    Raises:
        ValueError: If there are not as many labels as rows and columns.
    """
    return _draw(weights[None], queries, keys, title, axes, names=[""])


def attention_heads(
    weights: Float[np.ndarray, "heads query key"],
    queries: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
    *,
    title: str = "",
    axes: tuple[str, str] = ("query", "key"),
) -> Figure:
    """Draw all heads as a grid, with one colour scale.

    Args:
        weights: Attention weights.
        queries: A label for each row; its number, if `None`.
        keys: A label for each column; its number, if `None`.
        title: What stands above.
        axes: What the rows and the columns are.

    Returns:
        The figure; `savefig` writes it.

    Raises:
        ValueError: If there are not as many labels as rows and columns.
    """
    names = [f"head {head}" for head in range(len(weights))]
    return _draw(weights, queries, keys, title, axes, names)


def _draw(
    weights: np.ndarray,
    queries: Sequence[str] | None,
    keys: Sequence[str] | None,
    title: str,
    axes: tuple[str, str],
    names: Sequence[str],
) -> Figure:
    heads, rows, columns = weights.shape
    for side, labels, size in (("query", queries, rows), ("key", keys, columns)):
        if labels is not None and len(labels) != size:
            raise ValueError(f"expected {size} labels on the {side} axis, got {len(labels)}")
    cell, width, height = _panel(heads, rows, columns)
    across = _columns(heads, width, height)
    down = math.ceil(heads / across)
    families, query_texts, key_texts = drawn_labels(queries, keys)
    # Room for labels, titles and the colour bar; the layout moves the panels within it.
    room = 0.085 * min(_LONGEST_LABEL, max((len(text) for text in query_texts or [""]), default=1))
    figure = Figure(
        figsize=(across * (width + 0.15) + room + 1.5, down * (height + 0.35) + room + 0.8),
        dpi=120,
        layout="compressed",
        facecolor="white",
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    highest = float(weights.max(initial=0.0)) or 1.0
    for index, panel in enumerate(grid.flat):
        if index >= heads:
            panel.set_visible(False)
            continue
        panel.set_title(names[index], fontsize=9)
        image = panel.imshow(
            weights[index] if weights.size else np.zeros((max(rows, 1), max(columns, 1))),
            cmap=COLORS,
            vmin=0.0,
            vmax=highest,
            # Long thin maps would be slivers with square cells.
            aspect="equal" if 1 / 8 < rows / max(columns, 1) < 8 else "auto",
        )
        left, last = index % across == 0, index + across >= heads
        label_axis(panel, "x", key_texts, columns, cell, families, shown=last)
        label_axis(panel, "y", query_texts, rows, cell, families, shown=left)
        if not weights.size:
            panel.text(0.5, 0.5, "empty", ha="center", va="center", transform=panel.transAxes)
    figure.suptitle(title, fontsize=11)
    figure.supxlabel(axes[1], fontsize=9)
    figure.supylabel(axes[0], fontsize=9)
    bar = figure.colorbar(image, ax=grid, fraction=0.05, pad=0.02, aspect=30)
    bar.set_label("attention weight", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    return figure


def _panel(heads: int, rows: int, columns: int) -> tuple[float, float, float]:
    """Side of a cell, width and height of a panel, in inches."""
    longest = max(rows, columns, 1)
    largest, cell = (8.0, 0.3) if heads == 1 else (4.0, 0.2)
    cell = min(cell, largest / longest)
    return cell, max(1.2, cell * columns), max(1.2, cell * rows)


def _columns(heads: int, width: float, height: float) -> int:
    """Panels next to one another, so that the grid is about as wide as high."""
    return min(heads, max(1, round(math.sqrt(heads * height / width))))


def label_axis(
    panel: Axes,
    axis: Literal["x", "y"],
    texts: Sequence[str] | None,
    size: int,
    cell: float,
    families: Sequence[str],
    *,
    shown: bool,
) -> None:
    """Label every cell, or as many as can be read."""
    which = panel.xaxis if axis == "x" else panel.yaxis
    points = min(8.0, max(5.5, cell * _POINTS * 0.75))
    every = max(1, math.ceil(1.3 * points / (cell * _POINTS)))
    if every > 2:  # Round numbers are easier to count with.
        every = next(e for e in (5, 10, 20, 25, 50, 100, 200, 500, 10**9) if e >= every)
    places = range(0, size, every)
    which.set_ticks(list(places))
    side = "labelbottom" if axis == "x" else "labelleft"
    panel.tick_params(axis=axis, length=2, labelsize=points, **{side: shown})
    if not shown:
        return
    labels = [str(place) if texts is None else texts[place] for place in places]
    upright = axis == "x" and max(map(len, labels), default=0) > 2
    which.set_ticklabels(
        labels,
        fontsize=points,
        fontfamily=list(families),
        rotation=90 if upright else 0,
        parse_math=False,  # A dollar sign is a token.
    )


def drawn_labels(
    queries: Sequence[str] | None, keys: Sequence[str] | None
) -> tuple[list[str], list[str] | None, list[str] | None]:
    """The fonts that the labels need, and the labels as these fonts can draw them."""
    shown = [
        None if labels is None else [readable(label) for label in labels]
        for labels in (queries, keys)
    ]
    characters = frozenset("".join("".join(labels) for labels in shown if labels is not None))
    families, missing = _fonts(characters)
    drawn = [
        None if labels is None else [_short(_spelled(label, missing)) for label in labels]
        for labels in shown
    ]
    return families, drawn[0], drawn[1]


def readable(label: str) -> str:
    """Show spaces, and write what has no shape (controls, marks of direction) as code points."""
    shown = []
    for character in label:
        category = unicodedata.category(character)
        if category == "Zs":
            shown.append("␣")
        elif category in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            shown.append(f"U+{ord(character):04X}")
        else:
            shown.append(character)
    return "".join(shown)


def _spelled(label: str, missing: frozenset[str]) -> str:
    """Write each run of characters that no font has as code points: 月日 becomes U+6708·65E5."""
    spelled, in_run = "", False
    for character in label:
        if character in missing:
            spelled += ("·" if in_run else "U+") + f"{ord(character):04X}"
        else:
            spelled += character
        in_run = character in missing
    return spelled


def _short(label: str) -> str:
    """Cut what would leave no room for the map."""
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"


@functools.lru_cache(maxsize=64)
def _fonts(characters: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """Installed font families that together draw the characters, and those that none can."""
    families = [_BASE_FONT]
    missing = characters - _drawn(font_manager.findfont(_BASE_FONT), characters)
    for entry in sorted(
        font_manager.fontManager.ttflist, key=lambda entry: ("Sans" not in entry.name, entry.name)
    ):
        if not missing:
            break
        # The last-resort font has a box for everything; colour bitmaps cannot be drawn.
        if "Last Resort" in entry.name or "Color" in entry.name or entry.name in families:
            continue
        if found := _drawn(entry.fname, missing):
            families.append(entry.name)
            missing -= found
    return families, missing


def _drawn(path: str, characters: frozenset[str]) -> frozenset[str]:
    """Those of the characters that a font has a shape for."""
    try:
        font = font_manager.get_font(path)
    except (OSError, RuntimeError):  # A broken font of the machine has no shapes for us.
        return frozenset()
    return frozenset(c for c in characters if font.get_char_index(ord(c)) != 0)
