"""Where the time of a contender goes: operations of PyTorch, by sizes of inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

PRODUCTS = {
    f"aten::{name}"
    for name in (
        "addmm",
        "addmm_",
        "mm",
        "bmm",
        "baddbmm",
        "addbmm",
        "mkldnn_rnn_layer",
        "_cudnn_rnn",
    )
}
"""Products of matrices, and the layers of a recurrent network that are made of them."""


class Operation(NamedTuple):
    """An operation on inputs of certain sizes.

    Attributes:
        name: As PyTorch calls it.
        sizes: The sizes of its tensors.
        share: Its share of the time, without that of the operations that it calls.
    """

    name: str
    sizes: str
    share: float


def operations_of(
    work: Callable[[Any], object], item: Any, device: torch.device
) -> list[Operation]:
    """The operations of one call by their time on the device, the longest first.

    The call before warms up.
    """
    work(item)
    activities, time = [ProfilerActivity.CPU], "self_cpu_time_total"
    if device.type == "cuda":
        activities, time = [*activities, ProfilerActivity.CUDA], "self_device_time_total"
    with profile(activities=activities, record_shapes=True) as found:
        work(item)
    rows = [  # those of kernels would be counted twice: an operation has the time of its kernels
        row
        for row in found.key_averages(group_by_input_shape=True)
        if row.device_type.name == "CPU"
    ]
    total = sum(getattr(row, time) for row in rows)
    operations = [
        Operation(row.key, _sizes(row.input_shapes), getattr(row, time) / total) for row in rows
    ]
    return sorted(operations, key=lambda one: -one.share)


def operations_table(operations: list[Operation], count: int = 12) -> str:
    """The longest operations, and the share of all products, as Markdown."""
    lines = ["| operation | sizes | share of the time |", "| --- | --- | --- |"]
    lines += [
        f"| `{name.removeprefix('aten::')}` | {sizes} | {share:.1%} |"
        for name, sizes, share in operations[:count]
    ]
    products = sum(one.share for one in operations if one.name in PRODUCTS)
    return "\n".join([*lines, f"| all matrix products | | {products:.1%} |"])


def _sizes(shapes: list[list[int]]) -> str:
    return ", ".join(" × ".join(map(str, shape)) for shape in shapes if shape)
