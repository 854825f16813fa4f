"""The feed-forward block of the Transformer (Vaswani et al. 2017, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)
from torch.nn import functional

from seqlearn.nn.dropout_layer import Dropout
from seqlearn.nn.tensor_parallel import OwnDropout, check_divides
from seqlearn.plain_data import check_whole_number

ActivationFunction = Literal["relu", "gelu"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
}


class FeedForwardBlock(nn.Module):
    """The same two layers at every position: `max(0, x W_1 + b_1) W_2 + b_2` (equation 2).

    Args:
        d_model: Width of inputs and outputs.
        d_feedforward: Width of the inner layer.
        dropout: Probability with which a number of the inner layer is zeroed.
        activation: `"relu"` or `"gelu"`.

    Raises:
        ValueError: If `d_feedforward` is not positive, or there is no such activation.

    Source: Vaswani et al. 2017, section 3.3.

    Examples:
        >>> import torch
        >>> FeedForwardBlock(8, 32, dropout=0.1)(torch.zeros(2, 3, 8)).shape
        torch.Size([2, 3, 8])
    """

    def __init__(
        self,
        d_model: int,
        d_feedforward: int,
        dropout: float,
        activation: ActivationFunction = "relu",
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"expected activation 'relu' or 'gelu', got {activation!r}")
        d_feedforward = check_whole_number(d_feedforward, "d_feedforward", 1)
        self.activation = ACTIVATIONS[activation]
        self.inner = nn.Linear(d_model, d_feedforward)
        self.dropout: Dropout | OwnDropout = Dropout(dropout)
        self.outer = nn.Linear(d_feedforward, d_model)
        for layer in (self.inner, self.outer):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def tensor_parallelize(self, mesh: DeviceMesh) -> None:
        """Divide the inner layer over the ranks of a mesh (tensor parallelism).

        Raises:
            ValueError: If the number of ranks does not divide `d_feedforward`.
        """
        check_divides(mesh, self.inner.out_features, "d_feedforward")
        parallelize_module(self, mesh, {"inner": ColwiseParallel(), "outer": RowwiseParallel()})
        if self.dropout.probability > 0:
            mode = self.dropout.training
            self.dropout = OwnDropout(self.dropout.probability, mesh).train(mode)

    def forward(
        self, inputs: Float[Tensor, "batch time d_model"]
    ) -> Float[Tensor, "batch time d_model"]:
        """Transform each position independently."""
        inner = self.inner(inputs)
        if self.activation is functional.relu:
            # ReLU and dropout commute; in this order one result less is kept for the gradient.
            return self.outer(functional.relu(self.dropout(inner)))
        return self.outer(self.dropout(self.activation(inner)))
