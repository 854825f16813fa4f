"""Saturation of gates."""

from __future__ import annotations

import pytest
import torch

from seqlearn.introspect import gate_saturation


def test_saturation_counts_real_steps_only() -> None:
    gate = torch.tensor([[[0.05, 0.5], [0.95, 0.5]], [[0.01, 0.99], [0.0, 0.0]]])
    steps = torch.tensor([[True, True], [True, False]])
    found = gate_saturation(gate, steps)
    assert found.saturated_low.tolist() == pytest.approx([2 / 3, 0.0])
    assert found.saturated_high.tolist() == pytest.approx([1 / 3, 1 / 3])
    assert gate_saturation(gate, torch.zeros(2, 2, dtype=torch.bool)).saturated_high.tolist() == [
        0.0,
        0.0,
    ]
