"""Heatmaps of states: a column for each step, a row for each unit."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import seqlearn as sl
from seqlearn.introspect import state_heatmap


def test_zero_is_the_middle_of_every_scale() -> None:
    state = np.array([[0.5, -0.25], [0.0, 0.1], [0.2, 0.3]], dtype=np.float32)
    heatmaps = {"state $": state, "cell": state * -4}
    figure = state_heatmap(heatmaps, ["a", "$b$", "日"], title="x$y", time="source")
    FigureCanvasAgg(figure).draw()
    panels = [panel for panel in figure.axes if panel.images and panel.get_ylabel()]
    assert [panel.get_ylabel() for panel in panels] == list(heatmaps)
    assert np.array_equal(panels[0].images[0].get_array(), state.T)
    assert [panel.images[0].get_clim() for panel in panels] == [(-0.5, 0.5), (-2.0, 2.0)]
    assert [text.get_text() for text in panels[1].texts][:2] == ["a", "$b$"]
    assert figure.get_supxlabel() == "source"
    assert plt.get_fignums() == []


@pytest.mark.parametrize("shape", [(0, 4), (1, 1), (300, 2), (3, 512)])
def test_any_size_can_be_drawn(shape: tuple[int, int]) -> None:
    figure = state_heatmap({"state": np.zeros(shape, dtype=np.float32)})
    FigureCanvasAgg(figure).draw()
    assert max(figure.get_size_inches()) < 12


def test_what_is_not_finite_is_left_out_of_the_scale() -> None:
    state = np.array([[np.nan, 0.5], [np.inf, -0.1]], dtype=np.float32)
    figure = state_heatmap({"state": state})
    FigureCanvasAgg(figure).draw()
    image = figure.axes[0].images[0]
    assert image.get_clim() == (-0.5, 0.5)
    assert image.get_array().mask.tolist() == [[True, True], [False, False]]


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match=r"equal numbers of steps, got \[2, 3\]"):
        state_heatmap({"a": np.zeros((2, 1)), "b": np.zeros((3, 1))})
    with pytest.raises(ValueError, match=r"equal numbers of steps, got \[1, 2\]"):
        state_heatmap({"a": np.zeros((2, 1))}, ["one"])
    with pytest.raises(ValueError, match="got none"):
        state_heatmap({})


def test_the_scale_of_a_gate_goes_from_0_to_1() -> None:
    gate = np.array([[0.25], [0.5]], dtype=np.float32)
    figure = state_heatmap({"forget": gate, "cell": gate}, gates=["forget"])
    images = [panel.images[0] for panel in figure.axes if panel.images and panel.get_ylabel()]
    assert [image.get_clim() for image in images] == [(0.0, 1.0), (-0.5, 0.5)]
    assert len({image.get_cmap().name for image in images}) == 2
    with pytest.raises(
        ValueError, match=r"forget: expected values of a gate from 0 to 1, got -0\.5"
    ):
        state_heatmap({"forget": -gate}, gates=["forget"])


def test_a_recorded_lstm_is_drawn_with_its_gates_from_0_to_1() -> None:
    """A candidate and a cell state are recorded with the gates, and are none."""
    spec = sl.SequenceSpec(sl.TextSpec(9, 4), sl.ClassesSpec(("no", "yes")))
    model = sl.LSTM(spec, d_model=4).eval()
    with sl.record(model) as recording:
        model.classify([[4, 5, 6]])
    figure = recording.plot(next(iter(recording.gates)))
    panels = {each.get_ylabel(): each.images[0] for each in figure.axes if each.images}
    between = {name for name, image in panels.items() if image.get_clim() == (0.0, 1.0)}
    assert between == {"input", "forget", "output"}
    assert {"states", "candidate", "cell"} < set(panels)
