"""Curves over the distance from the last step."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from seqlearn.introspect import distance_curve, gradient_curves


def test_steps_are_counted_from_the_end_of_each_example() -> None:
    norms = torch.tensor([[1.0, 2.0, 4.0, 9.0], [3.0, 6.0, 9.0, 9.0], [9.0, 9.0, 9.0, 9.0]])
    curve = distance_curve(norms, torch.tensor([3, 2, 0]))
    assert curve.tolist() == [5.0, 2.5, 1.0]
    assert distance_curve(norms[:1]).tolist() == [9.0, 4.0, 2.0, 1.0]
    assert distance_curve(norms, torch.tensor([0, 0, 0])).tolist() == []
    assert distance_curve(norms[:0]).tolist() == []


def test_all_curves_stand_on_one_logarithmic_axis() -> None:
    curves = {"RNN $x$": np.array([1.0, 0.1, 0.0, np.inf]), "LSTM": np.array([1.0, 0.9])}
    figure = gradient_curves(curves, earlier=[np.array([2.0, 1.0])], title="$ is no formula")
    FigureCanvasAgg(figure).draw()
    (panel,) = figure.axes
    assert panel.get_yscale() == "log"
    past, rnn, lstm = panel.lines
    assert past.get_alpha() < 0.5
    assert np.array_equal(rnn.get_ydata(), [1.0, 0.1, np.nan, np.nan], equal_nan=True)
    assert lstm.get_xdata().tolist() == [0, 1]
    assert [text.get_text() for text in panel.get_legend().get_texts()] == list(curves)
    assert plt.get_fignums() == []


def test_nothing_to_draw_is_drawn_as_nothing() -> None:
    figure = gradient_curves({"newest": np.array([])})
    FigureCanvasAgg(figure).draw()
    figure = gradient_curves({"newest": np.zeros(3)})
    FigureCanvasAgg(figure).draw()
    assert figure.axes[0].get_legend() is None
