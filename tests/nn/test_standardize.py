"""`Standardize`: numbers in the units of the data and back."""

from __future__ import annotations

import pytest
import torch

from seqlearn.nn import Standardize


def test_scaling_is_exact_also_in_half_precision() -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        scaling = Standardize([1000.7], [2.3], 1)
    finally:
        torch.set_default_dtype(before)
    assert scaling.inverse(torch.zeros(1)).item() == pytest.approx(1000.7)
    assert scaling(torch.tensor([1000.7])).dtype == torch.bfloat16
