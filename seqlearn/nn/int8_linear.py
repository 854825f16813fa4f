"""`Int8Linear`: a linear layer with weights of eight bits, for inference on a CPU.

Each output has a scale of its own, and in each call each row of inputs gets one ("dynamic
quantization"), so the product is one of whole numbers:

    output_ro ≈ s_r s_o Σ_i q_ri w_oi + bias_o,    input_ri ≈ s_r q_ri,    weight_oi ≈ s_o w_oi

A row's output does not depend on the other rows of the batch.
"""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float, Int8, Int32
from torch import Tensor, nn

LARGEST = 127
"""The largest whole number of eight bits whose negative has eight bits, too."""

LARGEST_WITHOUT_VNNI = 63
"""The same for weights where the sum of two products must fit into 16 bits."""


class Int8Linear(nn.Module):
    """A linear layer with weights of eight bits.

    It is made from a trained layer and cannot be trained. Without the VNNI instructions of newer
    processors the weights have seven bits, as products of eight would overflow.

    Args:
        linear: The layer; it is not changed.

    Attributes:
        in_features: Width of the inputs.
        out_features: Width of the outputs.

    Raises:
        ValueError: If a weight is not finite, or the layer is not on the CPU; in a call, if a
            gradient of the inputs is wanted, which rounding does not have.

    Source: Jacob et al. 2018, section 2.1, without zero points.

    Examples:
        >>> layer = nn.Linear(64, 32)
        >>> inputs = torch.randn(5, 64)
        >>> error = (Int8Linear(layer)(inputs) - layer(inputs)).abs().max()
        >>> bool(error < 0.1)
        True
    """

    _weight: Tensor
    _scales: Tensor
    bias: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach()
        if weight.device.type != "cpu":
            raise ValueError(
                f"expected a layer on the CPU, got one on {weight.device}; int8 is for the CPU, "
                "use bf16 there"
            )
        if not weight.isfinite().all():
            raise ValueError("expected finite weights, got NaN or infinity")
        largest = LARGEST if has_vnni() else LARGEST_WITHOUT_VNNI
        quantized, scales = _quantize(weight.float(), largest)
        self.register_buffer("_weight", quantized)
        self.register_buffer("_scales", scales[:, 0])
        bias = torch.zeros(self.out_features) if linear.bias is None else linear.bias.detach()
        self.register_buffer("bias", bias.float().clone())

    @property
    def weight(self) -> Float[Tensor, "outputs inputs"]:
        """The weights that are used, in float32."""
        return self._weight * self._scales[:, None]

    def forward(self, inputs: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """The outputs."""
        return self.outputs(inputs, slice(0, self.out_features))

    def outputs(
        self, inputs: Float[Tensor, "*batch inputs"], which: slice
    ) -> Float[Tensor, "*batch some_outputs"]:
        """Some of the outputs.

        Args:
            inputs: The inputs.
            which: The numbers of the outputs.
        """
        if inputs.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                "a layer with weights of eight bits has no gradients; use the module that "
                "for_inference('int8') was called on"
            )
        rows, scales = _quantize(
            inputs.reshape(math.prod(inputs.shape[:-1]), self.in_features).float(), LARGEST
        )
        product = _product(rows, self._weight[which])
        outputs = product.float().mul_(scales).mul_(self._scales[which]).add_(self.bias[which])
        return outputs.view(*inputs.shape[:-1], outputs.shape[1])

    def extra_repr(self) -> str:
        """The sizes."""
        return f"in_features={self.in_features}, out_features={self.out_features}"


def _quantize(
    values: Float[Tensor, "rows width"], largest: int
) -> tuple[Int8[Tensor, "rows width"], Float[Tensor, "rows 1"]]:
    """Whole numbers of at most `largest`, and the scale of each row."""
    extreme = torch.maximum(values.amax(1, keepdim=True), -values.amin(1, keepdim=True))
    scales = extreme.clamp_(min=1e-30).div_(largest)
    return (values * scales.reciprocal()).round_().to(torch.int8), scales


def _product(
    rows: Int8[Tensor, "rows inputs"], weight: Int8[Tensor, "outputs inputs"]
) -> Int32[Tensor, "rows outputs"]:
    if weight.shape[1] == 1:  # for which PyTorch 2.13 returns memory that nothing was written to
        return rows.int() * weight[:, 0].int()
    if weight.shape[0] == 1:  # for which the factors are exchanged, so that inputs overflow, too
        return (rows.int() * weight.int()).sum(1, keepdim=True, dtype=torch.int32)
    return torch._int_mm(rows, weight.t())  # noqa: SLF001 -- there is no public one


@functools.cache
def has_vnni() -> bool:
    """Whether this CPU multiplies numbers of eight bits exactly, and so quickly.

    Otherwise the library behind PyTorch adds two products in 16 bits, where they may overflow.
    """
    extreme = torch.full((2, 4), LARGEST, dtype=torch.int8)
    product = torch._int_mm(extreme, extreme.t())  # noqa: SLF001 -- as above
    return bool((product == 4 * LARGEST**2).all())
