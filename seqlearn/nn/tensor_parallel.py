"""Tensor parallelism: the ranks of a mesh hold parts of a module's width, and compute one batch.

    x ── copied ──►  own heads, or own inner units, of each rank  ──► summed over the ranks ──► y

Source: Shoeybi et al. 2019 (Megatron-LM), section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import (
    DTensor,
    Partial,
    Placement,
    Replicate,
    Shard,
    distribute_tensor,
)

from seqlearn.nn.dropout_layer import dropout


@runtime_checkable
class TensorParallel(Protocol):
    """A module that says how it is divided over ranks, such as `MultiHeadAttention`.

    A part of your own is divided if it has this method; `torch.distributed.tensor.parallel` has
    plans for linear layers:

    ```python
    class GatedBlock(nn.Module):  # with three linear layers: gate, inner and outer
        def tensor_parallelize(self, mesh):
            split, merge = ColwiseParallel(), RowwiseParallel()
            parallelize_module(self, mesh, {"gate": split, "inner": split, "outer": merge})
    ```

    Examples:
        >>> from seqlearn.nn import MultiHeadAttention
        >>> isinstance(MultiHeadAttention(8, 2), TensorParallel)
        True
    """

    def tensor_parallelize(self, mesh: DeviceMesh) -> None:
        """Divide the weights over the ranks of a mesh of one axis; called once, before training.

        Afterwards all ranks must call the module with the same inputs, and get the same outputs.

        Raises:
            ValueError: If the number of ranks does not fit.
        """


def check_divides(mesh: DeviceMesh, size: int, name: str) -> None:
    """Check that the ranks of a mesh divide a size.

    Raises:
        ValueError: If they do not.
    """
    if size % mesh.size():
        raise ValueError(
            f"expected a tensor_parallel_size that divides {name}={size}, got {mesh.size()}"
        )


def divide_projection(projection: nn.Linear, mesh: DeviceMesh) -> None:
    """Keep a part of the columns of a fused projection on each rank; its bias stays whole.

    Ranks need whole rows, those of their heads (`rows_of_heads`). The rows of one head do not lie
    side by side, so they are not a shard that torch can save; the columns are. Names and shapes of
    the parameters do not change.
    """
    for name, placement in (("weight", Shard(1)), ("bias", Replicate())):
        _distribute(projection, name, mesh, placement)


def _distribute(module: nn.Module, name: str, mesh: DeviceMesh, placement: Placement) -> None:
    whole: nn.Parameter = getattr(module, name)
    part = distribute_tensor(whole.detach(), mesh, [placement])
    setattr(module, name, nn.Parameter(part, requires_grad=whole.requires_grad))


def rows_of_heads(parameter: Tensor, parts: slice) -> Tensor:
    """The rows of a fused projection for the heads of this rank, by an all-to-all exchange.

    Args:
        parameter: Weight or bias of `divide_projection`, whose rows are those of queries, keys and
            values.
        parts: Which of the three.

    Returns:
        Whole rows: a share of each of the parts.
    """
    assert isinstance(parameter, DTensor)
    rows: Any = parameter.view(3, -1, *parameter.shape[1:])[parts]
    own: Tensor = rows.redistribute(placements=[Shard(1)]).to_local()
    return own.flatten(0, 1)


def copy_to_ranks(inputs: Float[Tensor, "*shape"], mesh: DeviceMesh) -> Float[Tensor, "*shape"]:
    """The identity; in the backward pass the gradients of all ranks are summed."""
    if not torch.is_grad_enabled():
        return inputs
    shared = DTensor.from_local(inputs, mesh, [Replicate()], run_check=False)
    return shared.to_local(grad_placements=[Partial()])


def gather_heads(
    weights: Float[Tensor, "batch own query key"], mesh: DeviceMesh
) -> Float[Tensor, "batch heads query key"]:
    """The attention weights of the heads of all ranks. All ranks must call it."""
    whole: Tensor = DTensor.from_local(weights, mesh, [Shard(1)], run_check=False).full_tensor()
    return whole


@contextmanager
def own_random_numbers(mesh: DeviceMesh, device: torch.device) -> Iterator[None]:
    """Draw other random numbers on each rank, for parts that only this rank has.

    All ranks have drawn the same numbers before, and draw the same ones afterwards.
    """
    seed = int(torch.randint(2**62, ()))
    cpu = device.type == "cpu"
    with torch.random.fork_rng([] if cpu else [device], device_type="cuda" if cpu else device.type):
        torch.manual_seed(seed + mesh.get_local_rank())
        yield


class OwnDropout(nn.Module):
    """`Dropout` over units that only this rank has.

    Args:
        probability: Of each element to be zeroed.
        mesh: The ranks.
    """

    def __init__(self, probability: float, mesh: DeviceMesh) -> None:
        super().__init__()
        self.probability, self._mesh = probability, mesh

    def forward(self, inputs: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Zero elements of `inputs` in training; return `inputs` in `eval`."""
        if not self.training:
            return inputs
        with own_random_numbers(self._mesh, inputs.device):
            return dropout(inputs, self.probability)
