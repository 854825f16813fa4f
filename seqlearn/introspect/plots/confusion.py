"""The confusion matrix as a figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from seqlearn.introspect.plots.figure import Figure

_WIDEST, _CELL = 9.0, 0.42  # inches
_MOST_NUMBERS = 25  # classes whose cells are written out
_LONGEST = 24  # characters of a label


def confusion_heatmap(
    counts: Int[np.ndarray, "_rows _columns"], labels: Sequence[str], *, title: str = ""
) -> Figure:
    """Draw how often each class was predicted as each class.

    Rows are the expected classes and columns the predicted ones. The color of a cell is its share
    of the row, so that rare classes can be read too; with up to 25 classes the counts are written
    into the cells.

    Args:
        counts: The counts, a row for each expected class.
        labels: The names of the classes.
        title: The title of the figure.

    Returns:
        The figure; `savefig` writes it.

    Raises:
        ValueError: If there is not one row and one column for each label.

    Examples:
        >>> figure = confusion_heatmap(np.array([[5, 1], [0, 4]]), ["cat", "dog"])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['5', '1', '0', '4']
    """
    count = len(labels)
    if counts.shape != (count, count):
        raise ValueError(f"expected counts ({count}, {count}) for the labels, got {counts.shape}")
    cell = min(_CELL, _WIDEST / max(1, count))
    figure = Figure(
        figsize=(max(2.4, cell * count) + 2.2, max(2.0, cell * count) + 1.4),
        dpi=120,
        layout="constrained",
    )
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    names = [label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…" for label in labels]
    size = 8 if count <= _MOST_NUMBERS else max(2.0, 8 * _MOST_NUMBERS / count)
    axes.set_xticks(range(count), names, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(range(count), names, fontsize=size, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("expected")
    if title:
        axes.set_title(title, fontsize=10, parse_math=False)
    for row, column in np.ndindex(*counts.shape) if count <= _MOST_NUMBERS else ():
        color = "white" if shares[row, column] > 0.5 else "black"
        written = str(int(counts[row, column]))
        axes.text(column, row, written, ha="center", va="center", fontsize=7, color=color)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the expected class")
    return figure
