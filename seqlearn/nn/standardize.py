"""Scaling of numbers to zero mean and unit variance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Standardize(nn.Module):
    """Subtracts the mean and divides by the standard deviation of each number of a vector.

    Mean and deviation belong to the data, so they are buffers that `state_dict` leaves out.

    Args:
        mean: The mean of each number; `None` for 0.
        std: The standard deviation of each; `None` for 1.
        size: How many numbers a vector has.
        flags: Whether each vector is followed by as many flags, 1 for a number that is there and 0
            for a missing one, which becomes 0, the mean.

    Example:
        >>> Standardize([1.0], [2.0], 1)(torch.tensor([[3.0]]))
        tensor([[1.]])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        size: int,
        *,
        flags: bool = False,
    ) -> None:
        super().__init__()
        self.flags = flags
        values = [0.0] * size if mean is None else list(mean)
        scales = [1.0] * size if std is None else list(std)
        self.register_buffer("mean", torch.tensor(values), persistent=False)
        self.register_buffer("std", torch.tensor(scales), persistent=False)

    def forward(self, vectors: Float[Tensor, "*batch numbers"]) -> Float[Tensor, "*batch numbers"]:
        """Scale vectors; their flags stay as they are."""
        if not self.flags:
            return (vectors - self.mean) / self.std
        values, present = vectors.chunk(2, -1)
        return torch.cat([(values - self.mean) / self.std * present, present], -1)

    def inverse(self, scaled: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        """Turn scaled vectors back."""
        return scaled * self.std + self.mean
