"""Attention maps: what is drawn, and that no token breaks the figure."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from seqlearn.introspect import attention_heads, attention_map
from seqlearn.introspect.plots.attention import _fonts


def drawn(figure: Figure) -> np.ndarray:
    """Render, so that warnings about glyphs would be raised."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def labels(figure: Figure, axis: str) -> list[str]:
    side = "top" if axis == "x" else "center_baseline"
    return [text.get_text() for text in figure.axes[0].texts if text.get_va() == side]


def even(*shape: int) -> np.ndarray:
    return np.full(shape, 1 / max(1, shape[-1]), dtype=np.float32)


def test_rows_are_queries_from_the_top_and_columns_are_keys() -> None:
    weights = np.eye(2, 3, dtype=np.float32)
    figure = attention_map(weights, ["q0", "q1"], ["k0", "k1", "k2"], title="one", axes=("a", "b"))
    panel, bar = figure.axes
    assert np.array_equal(panel.images[0].get_array(), weights)
    assert panel.images[0].origin == "upper"
    assert labels(figure, "x") == ["k0", "k1", "k2"]
    assert labels(figure, "y") == ["q0", "q1"]
    assert (figure.get_suptitle(), figure.get_supylabel(), figure.get_supxlabel()) == (
        "one",
        "a",
        "b",
    )
    assert bar.get_ylabel() == "attention weight"
    assert panel.get_window_extent().height > 0
    assert drawn(figure)[..., :3].std() > 0


def test_all_heads_share_one_scale() -> None:
    weights = np.stack([even(3, 4), np.eye(3, 4), even(3, 4) / 2])
    figure = attention_heads(weights)
    panels = [panel for panel in figure.axes if panel.images]
    assert [panel.get_title() for panel in panels] == ["head 0", "head 1", "head 2"]
    assert {panel.images[0].get_clim() for panel in panels} == {(0.0, 1.0)}


def test_long_sequences_thin_their_labels() -> None:
    figure = attention_map(even(300, 800), None, [f"token{i}" for i in range(800)])
    shown = labels(figure, "x")
    assert 20 <= len(shown) <= 100
    assert shown[1] in ("token10", "token20")
    assert 20 <= len(labels(figure, "y")) <= 100
    width, height = figure.get_size_inches()
    assert width < 16
    assert height < 16
    drawn(figure)


HARD = [
    "$x_1$",
    "a_b^{",
    " ",
    "\t",
    "\u2028",
    "\u202e",
    "\ud800",
    "月曜日",
    "الأحد",
    "😀",
    "",
    "x" * 99,
]


def test_no_token_breaks_a_picture() -> None:
    figure = attention_map(even(len(HARD), len(HARD)), HARD, HARD)
    drawn(figure)
    with mpl.rc_context({"font.family": "STIXGeneral"}):  # which has no Arabic
        drawn(attention_map(even(len(HARD), len(HARD)), HARD, HARD))
    shown = labels(figure, "x")
    assert shown[:2] == ["$x_1$", "a_b^{"]
    assert shown[2:7] == ["␣", "U+0009", "U+2028", "U+202E", "U+D800"]
    assert shown[8] == "الأحد"
    assert len(shown[-1]) < 20
    assert not any(text.get_parse_math() for text in figure.axes[0].texts)


def test_a_character_without_a_glyph_is_written_as_its_code_point() -> None:
    families, missing = _fonts(frozenset("a\U000f1234\U000f1235"))  # private use: in no font
    assert "DejaVu Sans" in families
    assert missing == {"\U000f1234", "\U000f1235"}
    figure = attention_map(even(1, 2), ["a"], ["a\U000f1234", "\U000f1234\U000f1235b"])
    drawn(figure)
    assert labels(figure, "x") == ["aU+F1234", "U+F1234·F1235b"]


@pytest.mark.parametrize("shape", [(0, 0), (3, 0), (0, 3), (1, 1), (60, 1), (1, 60)])
def test_degenerate_shapes_are_drawn(shape: tuple[int, int]) -> None:
    drawn(attention_heads(even(2, *shape)))


def test_weights_of_nothing_are_drawn_light() -> None:
    image = drawn(attention_map(np.zeros((2, 2), dtype=np.float32)))
    assert np.median(image[..., 0]) > 200


def test_a_wrong_number_of_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="3 labels on the key axis, got 2"):
        attention_map(even(2, 3), None, ["a", "b"])


def test_labels_lie_within_the_picture_beside_their_cells() -> None:
    rows, columns = ["short", "WIDERTHANOTHERS", "iiiiiiiiiiiiiiii"], ["a", "Bb", "mmmmmmmmmm"]
    figure = attention_heads(even(4, 3, 3), rows, columns, title="t", axes=("target", "source"))
    renderer = FigureCanvasAgg(figure).get_renderer()
    for panel in figure.axes[:4]:
        cells = panel.get_window_extent(renderer)
        for text in panel.texts:
            box = text.get_window_extent(renderer)
            assert box.x1 <= cells.x0 or box.y1 <= cells.y0
            assert box.x0 > figure._supylabel.get_window_extent(renderer).x1
            assert box.y0 > figure._supxlabel.get_window_extent(renderer).y1
    upper, _, lower, _, _ = figure.axes
    assert [text.get_text() for text in upper.texts] == rows
    assert len(lower.texts) == 6
    title = lower.title.get_window_extent(renderer)
    assert title.y1 <= upper.get_window_extent(renderer).y0


def test_no_figure_stays_open() -> None:
    drawn(attention_heads(even(4, 3, 3)))
    assert plt.get_fignums() == []
