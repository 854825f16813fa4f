"""Checks the arguments in a file against its weights, before a module is built from them.

The arguments in a file are data of another's making. `num_layers=100000` or `d_model=10000000`
beside a few weights would fill the memory before the weights are compared. Therefore the module is
built on the meta device first, which allocates nothing, and the construction stops once it makes
more modules and parameters than fit the file.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.modules import module as hooks

Module = TypeVar("Module", bound=nn.Module)

SPARE_ELEMENTS = 2**20
"""Numbers that a module may have besides twice those in its file."""

SPARE_PARTS = 2000
"""Parameters, buffers and modules that a constructor may make besides twenty for each tensor."""


@dataclass(frozen=True)
class Stored:
    """The tensors in a file.

    Attributes:
        shapes: By name.
        elements: Numbers in the file; what several tensors share counts once.
    """

    shapes: dict[str, tuple[int, ...]]
    elements: int


class TooLargeError(ValueError):
    """A constructor makes more than the file holds."""


def stored_in_checkpoint(weights: object) -> Stored:
    """The tensors of a state dict that `torch.load` read.

    Raises:
        ValueError: If it is something else, or a tensor has a size that its data does not have.
    """
    if not isinstance(weights, Mapping):
        raise ValueError("its state_dict is missing")  # noqa: TRY004 -- a damaged file
    held: dict[int, int] = {}
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ValueError(f"its state_dict holds {name!r}, no tensor")  # noqa: TRY004
        if tensor.layout != torch.strided or tensor.is_meta:
            raise ValueError(f"its tensor {name} has no data")
        storage = tensor.untyped_storage()
        size = tensor.element_size()
        if tensor.numel() * size > storage.nbytes():
            raise ValueError(
                f"its tensor {name} has the shape {tuple(tensor.shape)} and data of "
                f"{storage.nbytes() // size} numbers"
            )
        held[storage._cdata] = storage.nbytes() // size  # noqa: SLF001 -- the identity in torch
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    return Stored(shapes, sum(held.values()))


def stored_in_safetensors(path: Path) -> Stored:
    """The tensors of a safetensors file, whose format ensures that each has its data."""
    with safe_open(path, framework="pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 -- not a dictionary
    return Stored(shapes, sum(map(_product, shapes.values())))


def build_within(stored: Stored, make: Callable[[], Module]) -> Module:
    """Build a module, unless it is larger than what a file holds.

    Args:
        stored: The tensors in the file.
        make: Calls the constructor. It is called twice: first on the meta device.

    Raises:
        TooLargeError: If the constructor makes too many modules and parameters, or too large ones.
        Exception: What the constructor raises.
    """
    try:
        # Warnings are not suppressed here: filters are those of all threads, and loads in several
        # threads at once could leave them changed. By default each place warns once.
        with torch.device("meta"), _limited(stored):
            trial = make()
            _check_elements(stored, trial)
    except TooLargeError:
        raise
    except Exception:  # noqa: BLE001, S110 -- wrong arguments, or it needs real tensors
        pass  # the second call raises the error
    with _limited(stored):
        return make()


def _check_elements(stored: Stored, module: nn.Module) -> None:
    named = module.state_dict(keep_vars=True)
    distinct = {id(tensor): tensor.numel() for tensor in named.values()}
    if sum(distinct.values()) <= 2 * stored.elements + SPARE_ELEMENTS:
        return
    wrong = next(
        (name for name, tensor in named.items() if stored.shapes.get(name) != tensor.shape), ""
    )
    raise TooLargeError(
        f"{sum(distinct.values())} numbers by its arguments and {stored.elements} in its weights, "
        f"for example {wrong}: {tuple(named[wrong].shape)} and {stored.shapes.get(wrong)}"
    )


@contextmanager
def _limited(stored: Stored) -> Iterator[None]:
    """Stop a constructor in this thread once it makes too many parts, or too large a tensor."""
    thread, made = threading.get_ident(), 0
    most = 20 * len(stored.shapes) + SPARE_PARTS

    def count(_module: nn.Module, name: str, part: Any) -> None:
        nonlocal made
        if threading.get_ident() != thread:
            return
        made += 1
        if made > most:
            raise TooLargeError(
                f"more than {most} parts by its arguments, and {len(stored.shapes)} tensors in its "
                "weights"
            )
        if isinstance(part, Tensor) and not part.is_meta:
            allowed = 2 * stored.elements + 2**8 * SPARE_ELEMENTS
            if part.numel() > allowed:
                raise TooLargeError(
                    f"a {name} of {part.numel()} numbers, and {stored.elements} in all"
                )

    handles = [
        hooks.register_module_parameter_registration_hook(count),
        hooks.register_module_buffer_registration_hook(count),
        hooks.register_module_module_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
