"""A notebook shows a figure once, without a call of `show`."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from seqlearn.introspect import (
    Recording,
    attention_heads,
    attention_map,
    gradient_curves,
    state_heatmap,
)
from seqlearn.introspect.plots.figure import Figure

PNG = b"\x89PNG\r\n\x1a\n"

CELL = """
import torch
from seqlearn.introspect import Recording
Recording({"a": torch.eye(3)[None, None]}).plot("a")
"""


def test_every_figure_is_a_picture_for_a_notebook() -> None:
    import torch

    recording = Recording({"a": torch.eye(3)[None, None]}, {"b": torch.ones(1, 3, 2)})
    figures = [
        attention_map(np.eye(2)),
        attention_heads(np.ones((2, 1, 3))),
        state_heatmap({"state": np.ones((3, 2))}),
        gradient_curves({"RNN": np.ones(3)}),
        recording.plot("a"),
        recording.plot("b"),
    ]
    for figure in figures:
        assert isinstance(figure, Figure)
        assert figure._repr_png_().startswith(PNG)


def test_a_cell_that_ends_with_a_plot_shows_one_picture() -> None:
    """Before and after `%matplotlib inline`."""
    reason = "a notebook's kernel comes with the extra docs: pip install '.[docs]'"
    pytest.importorskip("ipykernel", reason=reason)
    nbclient = pytest.importorskip("nbclient", reason=reason)
    nbformat = pytest.importorskip("nbformat", reason=reason)
    cells = [CELL, "%matplotlib inline", CELL]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(book, timeout=600, kernel_name="python3")
    asyncio.run(client.async_execute())  # `execute` leaves an event loop open
    outputs = [output for cell in book.cells for output in cell.outputs]
    shown = [output["data"] for output in outputs if "data" in output]  # no warnings of imports
    assert [sorted(data) for data in shown] == 2 * [["image/png", "text/plain"]]
