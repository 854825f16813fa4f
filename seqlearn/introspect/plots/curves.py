"""Curves over the distance from the last step: how far back a gradient reaches.

Figures are created without `pyplot`, so none stays open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from seqlearn.batch import length_mask
from seqlearn.introspect.plots.figure import Figure

_FAINTEST, _FAINT = 0.1, 0.45


def distance_curve(
    norms: Float[Tensor, "batch time"], lengths: Int[Tensor, " batch"] | None = None
) -> Float[np.ndarray, " distance"]:
    """Average a quantity of each step over the examples, by the distance from their last step.

    Args:
        norms: One number for each step, such as the norms of `gradient_flow`.
        lengths: Steps in each example; all are real, if `None`.

    Returns:
        At index d, the mean over the examples that have a step d steps before their last one, in
        the unit of `norms`, in float64.

    Examples:
        >>> distance_curve(torch.tensor([[1.0, 2.0, 4.0]]))
        array([4., 2., 1.])
    """
    norms = norms.detach().cpu().double()
    if lengths is None:
        lengths = torch.full((len(norms),), norms.shape[1])
    lengths = lengths.cpu()
    distances = int(lengths.max()) if len(lengths) else 0
    real = length_mask(lengths, distances)
    step = (lengths[:, None] - 1 - torch.arange(distances)).clamp(min=0)
    backwards = norms.gather(1, step).where(real, 0.0)
    mean: np.ndarray = (backwards.sum(0) / real.sum(0)).numpy()
    return mean


def gradient_curves(
    curves: Mapping[str, Float[np.ndarray, " _distance"]],
    *,
    earlier: Sequence[Float[np.ndarray, " _distance"]] = (),
    title: str = "",
    steps: str = "steps before the last one",
) -> Figure:
    """Draw gradient norms over the distance from the last step, on a logarithmic axis.

        gradient_curves({"RNN": rnn.curves[600], "LSTM": lstm.curves[600]})

    Args:
        curves: By name, a norm for each distance, nearest first, as returned by `distance_curve`
            or stored in `GradientFlow.curves`. Norms that are zero or not finite are omitted.
        earlier: Earlier curves, the oldest first; drawn faintly behind the others.
        title: The title of the figure.
        steps: The label of the horizontal axis.

    Returns:
        The figure; `savefig` writes it.

    Examples:
        >>> curves = {"RNN": np.array([1.0, 0.1, 0.01]), "LSTM": np.array([1.0, 0.9, 0.8])}
        >>> gradient_curves(curves).axes[0].get_yscale()
        'log'
    """
    figure = Figure(figsize=(6.4, 4.0), dpi=120, layout="constrained")
    panel = figure.add_subplot()
    strengths = np.linspace(_FAINTEST, _FAINT, len(earlier))
    for norms, strength in zip(earlier, strengths, strict=True):
        panel.plot(_drawable(norms), color="gray", alpha=float(strength), linewidth=1)
    for name, norms in curves.items():
        panel.plot(_drawable(norms), label=name, linewidth=1.8, marker=".", markersize=4)
    panel.set_yscale("log", nonpositive="mask")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel(steps, fontsize=9)
    panel.set_ylabel("‖∂ loss / ∂ embedded input‖, nats", fontsize=9)
    panel.set_title(title, fontsize=11, parse_math=False)
    panel.grid(visible=True, alpha=0.25)
    panel.tick_params(labelsize=8)
    if len(curves) > 1:
        for text in panel.legend(fontsize=8, frameon=False).get_texts():
            text.set_parse_math(False)  # A dollar sign is a name.
    return figure


def _drawable(norms: Float[np.ndarray, " distance"]) -> Float[np.ndarray, " distance"]:
    """The norms that have a logarithm; NaN, a gap, for the others."""
    norms = np.asarray(norms, dtype=np.float64)
    return np.where(np.isfinite(norms) & (norms > 0), norms, np.nan)
