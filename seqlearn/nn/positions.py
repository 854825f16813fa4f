"""Where a token stands: encodings of positions."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def sinusoidal(
    start: int, length: int, d_model: int, device: torch.device | None = None
) -> Float[Tensor, "{length} {d_model}"]:
    """Encode positions by sines and cosines, for any length.

        PE(pos, 2i)   = sin(pos / 10000^(2i / d_model))
        PE(pos, 2i+1) = cos(pos / 10000^(2i / d_model))

    Args:
        start: The first position.
        length: Number of positions.
        d_model: Width of an encoding.
        device: Where to make it.

    Returns:
        One encoding per position, from `start`.

    Source: Vaswani et al. 2017, section 3.5.
    """
    position = torch.arange(start, start + length, device=device, dtype=torch.float32)
    pair = torch.arange(0, d_model, 2, device=device, dtype=torch.float32)
    angle = position[:, None] * torch.exp(pair * (-math.log(10000.0) / d_model))
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :d_model]
