"""Tensor parallelism of a module: the ranks of a group hold parts of it, and compute one batch.

Attention is divided by heads, the feed-forward block by its inner units
(`seqlearn.nn.tensor_parallel`). Everything else (embeddings, norms, output layer, loss) is computed
equally on each rank of a group.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, distribute_tensor
from torch.utils._pytree import tree_leaves
from torchmetrics import Metric

from seqlearn.nn.tensor_parallel import TensorParallel


def unshared(module: nn.Module, parts: Sequence[Any]) -> list[Any]:
    """The parts with parameters, none of which belongs to a module outside of the part."""
    users: dict[Tensor, set[nn.Module | None]] = {}

    def walk(each: nn.Module, part: nn.Module | None) -> None:
        part = each if each in parts else part
        for parameter in each.parameters(recurse=False):
            users.setdefault(parameter, set()).add(part)
        for child in each.children():
            walk(child, part)

    walk(module, None)
    own = {part: [*part.parameters()] for part in parts}
    return [
        part
        for part, parameters in own.items()
        if parameters and all(users[parameter] == {part} for parameter in parameters)
    ]


def parallelize(module: nn.Module, name: str, mesh: DeviceMesh) -> None:
    """Divide the parts that say how, and give all ranks the other weights of the first rank.

    Args:
        module: The module. Parts that share a weight with a part elsewhere stay whole, and those
            that are divided already stay as they are.
        name: Its class.
        mesh: The ranks, one axis of the device mesh.

    Raises:
        ValueError: If no part says how it is divided, or the number of ranks does not fit.
    """
    parts: list[Any] = [each for each in module.modules() if isinstance(each, TensorParallel)]
    parts = [part for part in unshared(module, parts) if not _is_divided(part)]
    if not parts and not _is_divided(module):
        raise ValueError(
            f"{name} has no part that tensor parallelism divides; use ModelParallelStrategy("
            "data_parallel_size=…, tensor_parallel_size=1), which is FSDP2"
        )
    for part in parts:
        part.tensor_parallelize(mesh)
    for whole in (*module.parameters(), *module.buffers()):
        if not isinstance(whole, DTensor):
            whole.data = distribute_tensor(whole.detach(), mesh, [Replicate()]).to_local()


def _is_divided(part: nn.Module) -> bool:
    """Whether a plan, such as one of the user, has been applied to a module or a part of it."""
    return any(isinstance(each, DTensor) for each in part.parameters())


def measure_once(module: nn.Module, replicas: Any) -> None:
    """Reduce metrics over the replicas only, since all ranks of one replica have the same batch."""
    for part in module.modules():
        if isinstance(part, Metric):
            part.process_group = replicas


class SameCalls:
    """Checks that the ranks of a replica make the same calls, with the same random numbers.

    Args:
        mesh: The ranks, one axis of the device mesh.
    """

    def __init__(self, mesh: DeviceMesh) -> None:
        self._group, self._device = mesh.get_group(), torch.device(mesh.device_type)

    def check(self, name: str, arguments: Any) -> None:
        """Check the arguments of a call, and take the random state of the first rank.

        Raises:
            ValueError: On all ranks, if the arguments differ.
        """
        own = _fingerprint(arguments)
        lowest, highest = (torch.tensor(own, device=self._device) for _ in range(2))
        dist.all_reduce(lowest, dist.ReduceOp.MIN, self._group)
        dist.all_reduce(highest, dist.ReduceOp.MAX, self._group)
        if int(lowest) != int(highest):
            raise ValueError(
                f"{name}: expected the same arguments on all ranks of a tensor-parallel group, got "
                "different ones; shard the sources by trainer.distributed_sampler_kwargs"
            )
        torch.set_rng_state(self._of_first(torch.get_rng_state()))
        if self._device.type != "cpu":
            device: Any = torch.get_device_module(self._device)
            device.set_rng_state(self._of_first(device.get_rng_state()))

    def _of_first(self, state: Tensor) -> Tensor:
        shared = state.to(self._device)
        dist.broadcast(shared, group=self._group, group_src=0)
        return shared.cpu()


def _fingerprint(arguments: Any) -> int:
    """A number made of the texts, numbers, tensors and generators among the arguments."""
    found = 0
    for leaf in tree_leaves(arguments):
        if isinstance(leaf, torch.Generator):
            leaf = leaf.get_state()  # noqa: PLW2901
        if isinstance(leaf, Tensor):
            numbers = leaf.detach().cpu().reshape(-1).view(torch.uint8)
            found = zlib.crc32(bytes(numbers.tolist()), found)
        elif isinstance(leaf, str | int | float | bytes | None):
            found = zlib.crc32(repr(leaf).encode(), found)
    return found
