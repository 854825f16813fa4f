"""Figures of attention weights, from arrays and labels.

Figures are created without `pyplot`, so none stays open. Labels are plain text: no math and no
control characters. A character that no installed font has is written as its code point.
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
from matplotlib.transforms import offset_copy

from seqlearn.introspect.plots.figure import Figure

COLORS = "magma_r"
"""A perceptually uniform colormap that is light where the weight is zero."""

_BASE_FONT = "DejaVu Sans"  # Comes with matplotlib.
_LONGEST_LABEL = 18
_POINTS = 72.0  # in an inch
_MARGIN, _GAP, _BAR = (
    0.4,
    0.12,
    0.75,
)  # inches: for the names of the axes, between panels, on the right


def attention_map(
    weights: Float[np.ndarray, "query key"],
    queries: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
    *,
    title: str = "",
    axes: tuple[str, str] = ("query", "key"),
) -> Figure:
    """Draw one attention head: a row for each query, a column for each key.

    Args:
        weights: Attention weights.
        queries: A label for each row; its index, if `None`.
        keys: A label for each column; its index, if `None`.
        title: The title of the figure.
        axes: The names of rows and columns.

    Returns:
        The figure; `savefig` writes it.

    Raises:
        ValueError: If the number of labels differs from that of rows or columns.

    Examples:
        >>> figure = attention_map(np.eye(2), ["the", "cat"], ["die", "Katze"])
        >>> figure.savefig("attention.png")  # doctest: +SKIP
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
    """Draw all heads as a grid with one color scale.

    Args:
        weights: Attention weights.
        queries: A label for each row; its index, if `None`.
        keys: A label for each column; its index, if `None`.
        title: The title of the figure.
        axes: The names of rows and columns.

    Returns:
        The figure; `savefig` writes it.

    Raises:
        ValueError: If the number of labels differs from that of rows or columns.

    Examples:
        >>> figure = attention_heads(np.full((4, 2, 3), 1 / 3))
        >>> figure.savefig("heads.png")  # doctest: +SKIP
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
    # Positions are computed here, in inches: matplotlib's layout engine doubles the drawing time.
    left = _MARGIN + max(_width(text, cell) for text in query_texts or [str(rows)])
    low = _MARGIN + max(_width(text, cell) for text in key_texts or [str(columns)])
    high = 0.4 if title else 0.1
    right, above = _BAR, 0.25 if any(names) else 0.05
    figure = Figure(
        (left + across * (width + _GAP) + right, high + down * (height + above + _GAP) + low),
        dpi=120,
    )
    FigureCanvasAgg(figure)
    whole_width, whole_height = figure.get_size_inches()

    def place(x: float, y: float, width: float, height: float) -> Axes:
        """A panel at this distance, in inches, from the upper left corner of the figure."""
        bounds = (x / whole_width, 1 - (y + height) / whole_height)
        return figure.add_axes((*bounds, width / whole_width, height / whole_height))

    highest = float(weights.max(initial=0.0)) or 1.0
    for index in range(heads):
        row, column = divmod(index, across)
        top = high + row * (height + above + _GAP) + above
        panel = place(left + column * (width + _GAP), top, width, height)
        panel.set_title(names[index], fontsize=9, y=1.0)
        image = panel.imshow(
            weights[index] if weights.size else np.zeros((max(rows, 1), max(columns, 1))),
            cmap=COLORS,
            vmin=0.0,
            vmax=highest,
            # Square cells would make long thin maps illegible.
            aspect="equal" if 1 / 8 < rows / max(columns, 1) < 8 else "auto",
        )
        last = index + across >= heads
        label_axis(panel, "x", key_texts, columns, cell, families, shown=last)
        label_axis(panel, "y", query_texts, rows, cell, families, shown=column == 0)
        if not weights.size:
            panel.text(0.5, 0.5, "empty", ha="center", va="center", transform=panel.transAxes)
    middle = left + (across * (width + _GAP) - _GAP) / 2
    figure.suptitle(title, x=middle / whole_width, y=1 - 0.08 / whole_height, fontsize=11, va="top")
    figure.supxlabel(axes[1], x=middle / whole_width, y=0.06 / whole_height, fontsize=9)
    figure.supylabel(
        axes[0], x=0.06 / whole_width, y=(1 + (low - high) / whole_height) / 2, fontsize=9
    )
    top, bottom = high + above, whole_height - low - _GAP
    side = min(2.5, bottom - top)
    bar = figure.colorbar(
        image, cax=place(whole_width - _BAR + 0.05, (top + bottom - side) / 2, 0.12, side)
    )
    bar.set_label("attention weight", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    return figure


def _panel(heads: int, rows: int, columns: int) -> tuple[float, float, float]:
    """The side of a cell, and the width and height of a panel, in inches."""
    longest = max(rows, columns, 1)
    largest, cell = (8.0, 0.3) if heads == 1 else (4.0, 0.2)
    cell = min(cell, largest / longest)
    return cell, max(1.2, cell * columns), max(1.2, cell * rows)


def _columns(heads: int, width: float, height: float) -> int:
    """The number of panels per row, so that the grid is about as wide as high."""
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
    """Label every cell, or as many cells as are legible.

    The labels are texts of the panel, for ticks take several times as long to draw.
    """
    which = panel.xaxis if axis == "x" else panel.yaxis
    which.set_ticks([])
    if not shown:
        return
    points = _points(cell)
    every = max(1, math.ceil(1.3 * points / (cell * _POINTS)))
    if every > 2:  # Round steps are easier to count.
        every = next(e for e in (5, 10, 20, 25, 50, 100, 200, 500, 10**9) if e >= every)
    places = range(0, size, every)
    labels = [str(place) if texts is None else texts[place] for place in places]
    upright = axis == "x" and max(map(len, labels), default=0) > 2
    figure = panel.get_figure(root=True)
    if axis == "x":
        beside = offset_copy(panel.get_xaxis_transform(), figure, y=-3, units="points")
    else:
        beside = offset_copy(panel.get_yaxis_transform(), figure, x=-3, units="points")
    for place, label in zip(places, labels, strict=True):
        panel.text(
            place if axis == "x" else 0.0,
            0.0 if axis == "x" else place,
            label,
            transform=beside,
            ha="center" if axis == "x" else "right",
            va="top" if axis == "x" else "center_baseline",
            rotation=90 if upright else 0,
            fontsize=points,
            fontfamily=list(families),
            parse_math=False,  # a dollar sign is a token
        )


def _points(cell: float) -> float:
    """The font size of a label beside a cell of this width in inches."""
    return min(8.0, max(5.5, cell * _POINTS * 0.75))


def _width(label: str, cell: float) -> float:
    """The approximate length of a label in inches."""
    ems = sum(
        1.1
        if unicodedata.east_asian_width(character) in "WF"
        else 0.9
        if character.isupper() or character in "mw@%"
        else 0.62
        for character in label
    )
    return ems * _points(cell) / _POINTS


def drawn_labels(
    queries: Sequence[str] | None, keys: Sequence[str] | None
) -> tuple[list[str], list[str] | None, list[str] | None]:
    """The font families that the labels need, and the labels as these fonts can draw them."""
    shown = [
        None if labels is None else [escape_label(label) for label in labels]
        for labels in (queries, keys)
    ]
    characters = frozenset("".join("".join(labels) for labels in shown if labels is not None))
    families, missing = _fonts(characters)
    drawn = [
        None if labels is None else [_short(_spelled(label, missing)) for label in labels]
        for labels in shown
    ]
    return families, drawn[0], drawn[1]


def escape_label(label: str) -> str:
    """Make spaces visible, and write invisible characters (controls, bidi marks) as code points."""
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
    """Write each run of characters without a font as code points: 月日 becomes U+6708·65E5."""
    spelled, in_run = "", False
    for character in label:
        if character in missing:
            spelled += ("·" if in_run else "U+") + f"{ord(character):04X}"
        else:
            spelled += character
        in_run = character in missing
    return spelled


def _short(label: str) -> str:
    """Truncate a label that would leave no room for the map."""
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"


@functools.lru_cache(maxsize=64)
def _fonts(characters: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """Installed font families that together have the characters, and characters of no font."""
    families = [_BASE_FONT]
    missing = characters - _drawn(font_manager.findfont(_BASE_FONT), characters)
    for entry in sorted(
        font_manager.fontManager.ttflist, key=lambda entry: ("Sans" not in entry.name, entry.name)
    ):
        if not missing:
            break
        # The last-resort font has only boxes; matplotlib cannot draw color bitmaps.
        if "Last Resort" in entry.name or "Color" in entry.name or entry.name in families:
            continue
        if found := _drawn(entry.fname, missing):
            families.append(entry.name)
            missing -= found
    return families, missing


def _drawn(path: str, characters: frozenset[str]) -> frozenset[str]:
    """The characters that a font has a glyph for."""
    try:
        font = font_manager.get_font(path)
    except (OSError, RuntimeError):  # a broken font file has no glyphs
        return frozenset()
    return frozenset(c for c in characters if font.get_char_index(ord(c)) != 0)
