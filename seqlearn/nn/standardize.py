"""Scaling of numbers to zero mean and unit variance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Standardize(nn.Module):
    """Subtracts the mean and divides by the standard deviation of each number of a vector.

    Mean and deviation belong to the data, so they are buffers that `state_dict` leaves out. They
    stay in single precision at least, and so does the difference: around 293, a bfloat16 number is
    a multiple of 2. Only the result has the precision of the module.

    Args:
        mean: The mean of each number; `None` for 0.
        std: The standard deviation of each; `None` for 1.
        size: How many numbers a vector has.
        flags: Whether each vector is followed by as many flags, 1 for a number that is there and 0
            for a missing one, which becomes 0, the mean.

    Examples:
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
        self._dtype = torch.get_default_dtype()
        exact = torch.promote_types(self._dtype, torch.float32)
        self.register_buffer("mean", torch.tensor(values, dtype=exact), persistent=False)
        self.register_buffer("std", torch.tensor(scales, dtype=exact), persistent=False)

    def forward(self, vectors: Float[Tensor, "*batch numbers"]) -> Float[Tensor, "*batch numbers"]:
        """Scale vectors; their flags stay as they are."""
        if not self.flags:
            return ((vectors - self.mean) / self.std).to(self._dtype)
        values, present = vectors.chunk(2, -1)
        scaled = torch.cat([(values - self.mean) / self.std * present, present], -1)
        return scaled.to(self._dtype)

    def inverse(self, scaled: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        """Turn scaled vectors back."""
        return scaled * self.std + self.mean

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Standardize:
        before = {name: getattr(self, name) for name in ("mean", "std")}
        result = fn(torch.zeros(1, dtype=self._dtype, device=self.mean.device))
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, exact in before.items():
            if getattr(self, name).dtype.itemsize < exact.dtype.itemsize:
                setattr(self, name, exact.to(result.device))
        self._dtype = result.dtype
        return self
