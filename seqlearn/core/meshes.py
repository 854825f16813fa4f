"""Gradients and optimizers of parameters that are sharded over different meshes of processes.

Under tensor parallelism some parameters are sharded over all processes and others over the replicas
alone. torch has no operation on a list of both, so lists are divided, or worked through one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def total_norm(gradients: Iterable[Tensor]) -> Tensor:
    """The 2-norm of all gradients together, over all shards.

    Examples:
        >>> total_norm([torch.tensor([3.0]), torch.tensor([4.0])])
        tensor(5.)
    """
    by_mesh: dict[Any, list[Tensor]] = {}
    for gradient in gradients:
        by_mesh.setdefault(_mesh(gradient), []).append(gradient)
    norms: list[Any] = [torch.nn.utils.get_total_norm(each) for each in by_mesh.values()]
    whole = [each.full_tensor() if hasattr(each, "full_tensor") else each for each in norms]
    return whole[0] if len(whole) == 1 else torch.linalg.vector_norm(torch.stack(whole))


def clip_one_by_one(parameters: Sequence[Tensor], limit: float, algorithm: str) -> None:
    """Clip gradients as the Trainer does, without operations on lists.

    Args:
        parameters: The parameters.
        limit: The largest norm of all gradients together, or the largest absolute value.
        algorithm: `"norm"` or `"value"`.
    """
    if algorithm == "value":
        torch.nn.utils.clip_grad_value_(parameters, limit, foreach=False)
        return
    norm = total_norm(each.grad for each in parameters if each.grad is not None)
    torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm, foreach=False)


def step_one_by_one(optimizer: Optimizer) -> None:
    """Let an optimizer update one parameter after the other, if its parameters have several meshes.

    Raises:
        ValueError: If it is a fused one, which cannot.
    """
    if len({_mesh(p) for group in optimizer.param_groups for p in group["params"]}) < 2:
        return
    for group in optimizer.param_groups:
        if group.get("fused"):
            raise ValueError(
                f"{type(optimizer).__name__}(fused=True) does not work with tensor parallelism, "
                "because its parameters are sharded in two ways; leave `fused` out"
            )
        if "foreach" in group:
            group["foreach"] = False


def _mesh(tensor: Tensor) -> Any:
    return getattr(tensor, "device_mesh", None)
