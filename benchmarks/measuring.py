"""Time, operations and memory of a piece of work, on the CPU or a GPU."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import CPU, held_memory, reset_peak

Work = Callable[[Any], object]
MEMORY_ITEMS = 4
PEAK_SIZES = {"cpu": 1024, "cuda": 8192}
"""Rows and columns of the product that stands for the peak of a device."""


def device_here(name: str) -> torch.device:
    """The device `cpu`, `cuda` or `cuda:N`, as the type of an option.

    Raises:
        argparse.ArgumentTypeError: If it is another one, or this machine has none.
    """
    kind, _, number = name.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else int(kind == "cpu" and not number)
    wrong = name.endswith(":") or (number and not number.isdecimal())
    if wrong or int(number or 0) >= count:
        found = f"this machine has {torch.cuda.device_count()} GPUs that PyTorch can use"
        raise argparse.ArgumentTypeError(f"expected cpu, cuda or cuda:N, got {name!r}; {found}")
    return torch.device(name)


def time_of(work: Work, item: Any, device: torch.device = CPU) -> float:
    """Seconds of one call, with all that it started on the device."""
    _wait(device)
    start = time.perf_counter()
    work(item)
    _wait(device)
    return time.perf_counter() - start


def matrix_multiply_peak(dtype: torch.dtype, device: torch.device = CPU) -> float:
    """Operations per second of a large product of matrices, the better of two."""
    size = PEAK_SIZES[device.type]
    if not dtype.is_floating_point:  # PyTorch has no fast product of integers for all sizes
        dtype = torch.float32
    left, right = torch.ones(2, size, size, dtype=dtype, device=device)
    best = min(time_of(lambda _: left @ right, None, device) for _ in range(2))
    return 2 * size**3 / best


def count_flops(work: Work, item: Any) -> int:
    """Floating-point operations of a call; attention counts as explicit matrix products."""
    layers = {
        torch.ops.aten.mkldnn_rnn_layer: _recurrent_flops,
        torch.ops.aten._cudnn_rnn: _cudnn_flops,  # noqa: SLF001 -- nn.LSTM on a GPU
    }
    with (
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False, custom_mapping=layers) as counter,
    ):
        work(item)
    return counter.get_total_flops()


class Flops:
    """Floating-point operations of an item, padding included, counted once for each.

    Args:
        build: Builds the work of the baseline, whose operations stand for all contenders.
        device: Where it is built.
        factor: They are multiplied by it.
    """

    def __init__(self, build: Callable[[], Work], device: torch.device, factor: int = 1) -> None:
        self._build, self._device, self._factor = build, device, factor
        self._work: Work | None = None
        self._known: dict[int, int] = {}

    def __call__(self, item: Any) -> int:
        """Operations of an item."""
        if id(item) not in self._known:
            with torch.no_grad(), self._device:
                self._work = self._work or self._build()
                self._known[id(item)] = self._factor * count_flops(self._work, item)
        return self._known[id(item)]


def _recurrent_flops(
    inputs: torch.Size, from_input: torch.Size, from_hidden: torch.Size, *_: Any, **__: Any
) -> int:
    """The products of one recurrent layer, from the shapes of its inputs and weights."""
    return 2 * inputs[0] * inputs[1] * (from_input.numel() + from_hidden.numel())


def _cudnn_flops(inputs: torch.Size, weights: Sequence[torch.Size], *_: Any, **__: Any) -> int:
    """The products of all layers, from the shapes of the inputs, of weights and of biases."""
    products = sum(shape.numel() for shape in weights if len(shape) == 2)
    return 2 * inputs[0] * inputs[1] * products


def peak_memory(build: Callable[[], Work], items: Sequence[Any], device: torch.device = CPU) -> int:
    """Bytes that a work needs at most, beyond those held before it is built."""
    reset_peak(device)
    before = held_memory(device, peak=False)
    with device:
        work = build()
    for item in items[:MEMORY_ITEMS]:
        work(item)
    return held_memory(device, peak=True) - before


def _wait(device: torch.device) -> None:
    """Wait until a GPU has done what was started on it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
