"""What is compared: contenders and their work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.machine import CPU
from benchmarks.measuring import Work


@dataclass(frozen=True)
class Contender:
    """One implementation of the work.

    Attributes:
        name: Its name in tables, plots and `--only`.
        build: Imports and builds what is necessary, and returns the function that does the work of
            one item. It raises `UnavailableError` (as `peer` does) if that is impossible here.
        packages: Distributions whose versions the result names.
        dtype: The type of its matrix products, which decides the peak it is compared with.
    """

    name: str
    build: Callable[[], Work]
    packages: tuple[str, ...] = ()
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Comparison:
    """Contenders and their work.

    Attributes:
        name: The benchmark's command.
        label: The name of the file of results; the commands of one benchmark may differ.
        contenders: The first is the baseline.
        items: The work of the rounds, in turn.
        workload: Describes the work, as plain data.
        flops: Floating-point operations of an item; `None` if no share of a peak is reported.
        memory: Whether peak memory is measured, in a process for each contender.
        device: Where contenders are built, and where the items are.
    """

    name: str
    label: str
    contenders: Sequence[Contender]
    items: Sequence[Any]
    workload: dict[str, Any] = field(default_factory=dict)
    flops: Callable[[Any], int] | None = None
    memory: bool = True
    device: torch.device = CPU
