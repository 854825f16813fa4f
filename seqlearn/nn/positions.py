"""Position encodings, added to the embeddings or applied to queries and keys.

sinusoidal   x_m + PE(m), fixed                    Vaswani et al. 2017, section 3.5
learned      x_m + E[m], a row for each m         Gehring et al. 2017, section 3.1
rotary       queries and keys rotated by angles    Su et al. 2021, section 3.4.2
             that grow with m, in every layer
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Positions = Literal["sinusoidal", "learned", "rotary"]
POSITIONS = ("sinusoidal", "learned", "rotary")


def frequencies(width: int, device: torch.device | None = None) -> Float[Tensor, " pairs"]:
    """The angle per position, in radians, of each pair of elements: `10000^(-2i / width)`.

    Examples:
        >>> frequencies(2)
        tensor([1.])
    """
    pair = torch.arange(0, width, 2, device=device, dtype=torch.float32)
    return torch.exp(pair * (-math.log(10000.0) / width))


def angles(
    start: int, length: int, width: int, device: torch.device | None = None
) -> Float[Tensor, "{length} pairs"]:
    """Position times frequency, in radians, for each position from `start` and each pair."""
    position = torch.arange(start, start + length, device=device, dtype=torch.float32)
    return position[:, None] * frequencies(width, device)


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
        device: The device of the result.

    Returns:
        One encoding per position, from `start`.

    Examples:
        >>> sinusoidal(0, 1, 4)
        tensor([[0., 1., 0., 1.]])

    Source: Vaswani et al. 2017, section 3.5.
    """
    angle = angles(start, length, d_model, device)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :d_model]


def rotary(
    inputs: Float[Tensor, "*batch time d_head"], start: int
) -> Float[Tensor, "*batch time d_head"]:
    """The textbook form: rotate each pair of elements by an angle proportional to the position.

        x'_{2i}   = x_{2i} cos mθ_i - x_{2i+1} sin mθ_i        θ_i = 10000^(-2i / d_head)
        x'_{2i+1} = x_{2i} sin mθ_i + x_{2i+1} cos mθ_i

    The dot product of a query at `m` and a key at `n` depends only on `m - n`. The pairs are
    adjacent elements, (0, 1), (2, 3) …, as in the paper; some other implementations pair `i` with
    `i + d_head / 2`.

    Args:
        inputs: Queries or keys, of even width.
        start: The position of the first query or key.

    Examples:
        >>> rotary(torch.ones(1, 2), start=0)  # position 0 is not rotated
        tensor([[1., 1.]])

    Source: Su et al. 2021, section 3.4.2, equation 34.
    """
    real = torch.promote_types(inputs.dtype, torch.float32)
    *batch, time, d_head = inputs.shape
    angle = angles(start, time, d_head, inputs.device).to(real)
    even, odd = inputs.reshape(*batch, time, d_head // 2, 2).unbind(-1)
    cos, sin = angle.cos(), angle.sin()
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return turned.flatten(-2).to(inputs.dtype)


def apply_rotary(
    inputs: Float[Tensor, "*batch time d_head"], start: int
) -> Float[Tensor, "*batch time d_head"]:
    """The fast path of `rotary`: multiply each pair, as a complex number, by `exp(i m θ)`.

    It takes one kernel instead of seven. `torch.compile` fuses the seven kernels of `rotary` and
    does not support complex numbers, so compiled code uses `rotary`.

    Examples:
        >>> apply_rotary(torch.ones(1, 2), start=0)  # position 0 is not rotated
        tensor([[1., 1.]])
    """
    if torch.compiler.is_compiling():
        return rotary(inputs, start)
    real = torch.promote_types(inputs.dtype, torch.float32)  # complex numbers need float32
    *batch, time, d_head = inputs.shape
    angle = angles(start, time, d_head, inputs.device).to(real)
    pairs = torch.view_as_complex(inputs.to(real).reshape(*batch, time, d_head // 2, 2))
    turned = torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle))
    return turned.flatten(-2).to(inputs.dtype)


class SinusoidalPositions(nn.Module):
    """Multiply embeddings by √d_model and add sinusoidal position encodings, for any length.

    Source: Vaswani et al. 2017, sections 3.4 and 3.5.

    Examples:
        >>> SinusoidalPositions()(torch.zeros(1, 1, 4), start=0)
        tensor([[[0., 1., 0., 1.]]])
    """

    def forward(
        self, inputs: Float[Tensor, "batch time d_model"], start: int
    ) -> Float[Tensor, "batch time d_model"]:
        """Add the positions from `start` on."""
        _, time, d_model = inputs.shape
        positions = sinusoidal(start, time, d_model, inputs.device)
        return inputs * math.sqrt(d_model) + positions.to(inputs.dtype)


class LearnedPositions(nn.Module):
    """Add a learned vector for each position, up to a maximum, to embeddings.

    Vectors are initialized with standard deviation 0.02. Positions that do not occur in training
    keep their initial values.

    Args:
        max_length: Number of positions.
        d_model: Width of an embedding.

    Source: Gehring et al. 2017, section 3.1; unscaled embeddings as in Radford et al. 2018.

    Examples:
        >>> LearnedPositions(max_length=16, d_model=8)(torch.zeros(2, 3, 8), start=0).shape
        torch.Size([2, 3, 8])
    """

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(max_length, d_model))
        nn.init.normal_(self.weight, std=0.02)

    def forward(
        self, inputs: Float[Tensor, "batch time d_model"], start: int
    ) -> Float[Tensor, "batch time d_model"]:
        """Add the positions from `start` on.

        Raises:
            ValueError: If a position exceeds the maximum.
        """
        end, most = start + inputs.shape[1], len(self.weight)
        if end > most:
            raise ValueError(
                f"expected at most {most} positions, got {end}; positions='learned' end "
                "there: shorten the text or max_length, or train with 'sinusoidal' or 'rotary'"
            )
        return inputs + self.weight[start:end]


class ScaledEmbedding(nn.Module):
    """Multiply embeddings by √d_model; used with rotary positions, which the attention applies.

    Examples:
        >>> ScaledEmbedding()(torch.ones(1, 1, 4), start=0)
        tensor([[[2., 2., 2., 2.]]])
    """

    def forward(
        self,
        inputs: Float[Tensor, "batch time d_model"],
        start: int,  # noqa: ARG002 -- same signature as the others
    ) -> Float[Tensor, "batch time d_model"]:
        """Scale the inputs; `start` has no effect."""
        return inputs * math.sqrt(inputs.shape[-1])


def make_position_encoding(positions: Positions, d_model: int, max_length: int) -> nn.Module:
    """Make the module, called with `(inputs, start)`, that adds positions to embeddings.

    Args:
        positions: The encoding; `"rotary"` also needs rotary attention.
        d_model: Width of an embedding.
        max_length: Number of positions of `"learned"`.

    Raises:
        ValueError: If `positions` is not one of `POSITIONS`.

    Examples:
        >>> make_position_encoding("sinusoidal", 8, 16)(torch.zeros(1, 3, 8), 0).shape
        torch.Size([1, 3, 8])
    """
    if positions == "learned":
        return LearnedPositions(max_length, d_model)
    if positions not in POSITIONS:
        raise ValueError(f"expected positions to be one of {POSITIONS}, got {positions!r}")
    return SinusoidalPositions() if positions == "sinusoidal" else ScaledEmbedding()
