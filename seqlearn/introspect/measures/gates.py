"""Saturation of the gates of recurrent layers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

SATURATION_LIMITS = (0.1, 0.9)
"""A gate value below the first is saturated low, above the second saturated high."""

_NO_GATES = ("candidate", "cell")  # recorded with the gates


class Saturation(NamedTuple):
    """Shares of real time steps, one number for each unit of a gate, `width`.

    Attributes:
        saturated_low: Share of values below 0.1 ("left-saturated").
        saturated_high: Share of values above 0.9 ("right-saturated").

    Examples:
        >>> import torch
        >>> from seqlearn.introspect import gate_saturation
        >>> gate = torch.tensor([[[0.05], [0.95], [0.5], [0.99]]])
        >>> low, high = gate_saturation(gate, torch.ones(1, 4, dtype=torch.bool))
        >>> low, high
        (tensor([0.2500]), tensor([0.5000]))
    """

    saturated_low: Tensor
    saturated_high: Tensor


def is_gate(name: str, values: Tensor) -> bool:
    """Whether what is recorded with the gates is one: its values are from 0 to 1."""
    known = values[values.isfinite()]
    return name not in _NO_GATES and bool(((known >= 0) & (known <= 1)).all())


def gate_saturation(
    gate: Float[Tensor, "batch time width"], steps: Bool[Tensor, "batch time"]
) -> Saturation:
    """How often each unit of a gate is nearly closed or nearly open.

    Args:
        gate: Values from 0 to 1 of one gate, such as the forget gate of an LSTM.
        steps: True where a step is real.

    Returns:
        Two shares for each unit, in float32 or wider; zero if no step is real.

    Source: Karpathy, Johnson & Fei-Fei 2015, "Visualizing and Understanding Recurrent Networks",
    section 4.2, the gate statistics.

    Examples:
        >>> import torch
        >>> from seqlearn.introspect import gate_saturation
        >>> gate = torch.tensor([[[0.05], [0.95], [0.5], [0.99]]])
        >>> gate_saturation(gate, torch.ones(1, 4, dtype=torch.bool)).saturated_high
        tensor([0.5000])
    """
    low, high = SATURATION_LIMITS
    values = gate.to(torch.promote_types(gate.dtype, torch.float32))
    count = steps.sum().clamp(min=1)
    shares = [
        (saturated & steps[..., None]).sum((0, 1)).to(values.dtype) / count
        for saturated in (values < low, values > high)
    ]
    return Saturation(*shares)
