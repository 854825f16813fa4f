"""Sending activations: `emit`, `probe`, and blocks that say how those within belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TypeVar, cast, get_args

import torch
from torch import Tensor, nn

from seqlearn.instrumentation.listeners import LISTENERS, Activation, Axes, Axis

_Activation = TypeVar("_Activation", bound=Activation)
_NOTHING: AbstractContextManager[None] = nullcontext()

_kinds = ["attention", "states", "gates"]  # and those that `introspect` adds


def add_kind(kind: str) -> None:
    """Accept a kind in `probe`; `introspect.register_kind` calls it."""
    if kind not in _kinds:
        _kinds.append(kind)


def emit(
    kind: str,
    owner: nn.Module | str,
    value_or_fn: Activation | Callable[[], Activation],
    axes: Axes | None = None,
    *,
    shared: bool = False,
) -> None:
    """Send an activation, or a function that computes it, to all listeners.

    Args:
        kind: See `ActivationListener.on_activation`.
        owner: The module that emits it, or a name.
        value_or_fn: The tensor, or a function that computes it; called only if a listener needs it.
        axes: The sequences that its axes follow: `(queries, keys)` of attention, `(steps,)` of
            states and gates. Without it a recording infers them from the sizes, which is ambiguous
            if source and target are equally long.
        shared: Within `beams_as_queries`: whether it belongs to a source, as keys do, and is the
            same for all of its beams.

    Examples:
        >>> import torch
        >>> import seqlearn as sl
        >>> with sl.record(torch.nn.Identity()) as recording:
        ...     emit("states", "mine", lambda: torch.ones(1, 2, 3), axes=("source",))
        >>> recording.states["mine"].shape
        torch.Size([1, 2, 3])
    """
    if not LISTENERS.active:
        return
    make = value_or_fn if callable(value_or_fn) else lambda: value_or_fn
    if LISTENERS.beams > 1:
        make = partial(_by_row, make, LISTENERS.beams, shared=shared)
    for listener in LISTENERS.active:
        listener.on_activation(kind, owner, make, axes)


def beams_as_queries(beams: int) -> AbstractContextManager[None]:
    """Mark a block whose queries are those of several beams of each source.

    What is emitted within it has one row per source, and the queries of its beams after one another
    on the last axis but one. Listeners receive it with one row for each beam.

    Args:
        beams: Beams of each source.

    Examples:
        >>> import torch
        >>> import seqlearn as sl
        >>> with sl.record(torch.nn.Identity()) as recording, beams_as_queries(2):
        ...     emit("attention", "mine", torch.ones(1, 4, 2, 3), axes=("target", "source"))
        >>> recording.attention["mine"].shape  # two rows of one query each
        torch.Size([2, 4, 1, 3])
    """
    return _beams_as_queries(beams) if LISTENERS.active else _NOTHING


@contextmanager
def _beams_as_queries(beams: int) -> Iterator[None]:
    before, LISTENERS.beams = LISTENERS.beams, beams
    try:
        yield
    finally:
        LISTENERS.beams = before


def _by_row(make: Callable[[], Activation], beams: int, *, shared: bool) -> Activation:
    """An activation of sources as one of rows, which are the beams of the sources."""

    def unfold(tensor: Tensor) -> Tensor:
        if shared or tensor.ndim < 3:  # one vector for each source
            return tensor.repeat_interleave(beams, 0)
        return torch.unflatten(tensor, -2, (beams, -1)).movedim(-3, 1).flatten(0, 1)

    value = make()
    if isinstance(value, Tensor):
        return unfold(value)
    return {name: unfold(tensor) for name, tensor in value.items()}


@contextmanager
def time_loop() -> Iterator[None]:
    """Mark a block as a loop over time.

    The activations that one owner emits within it are concatenated along time, as if they had been
    emitted at once for all steps.

    Examples:
        >>> import torch
        >>> import seqlearn as sl
        >>> with sl.record(torch.nn.Identity()) as recording, time_loop():
        ...     for _ in range(4):
        ...         emit("states", "mine", torch.ones(1, 1, 3), axes=("source",))
        >>> recording.states["mine"].shape
        torch.Size([1, 4, 3])
    """
    listeners = LISTENERS.active
    for listener in listeners:
        listener.loop_start()
    try:
        yield
    finally:
        for listener in listeners:
            listener.loop_end()


def probe(
    name: str, tensor: _Activation, kind: str = "attention", *, axes: Sequence[str] | None = None
) -> _Activation:
    """Emit a tensor under a name, such as attention weights of your module; return it unchanged.

    Args:
        name: The key of the tensor in a recording.
        tensor: For `kind="attention"` the weights, `batch heads query key` (or without heads); for
            `"states"` `batch time width`; for `"gates"` a dictionary of such tensors.
        kind: `"attention"`, `"states"`, `"gates"` or a kind registered with
            `introspect.register_kind`.
        axes: The sequences that the axes follow, each `"source"`, `"target"` or `"pooled"` (one
            vector made from a whole sequence): `(queries, keys)` of attention, `(steps,)` of
            states and gates. Cross-attention is `("target", "source")`, causal self-attention
            `("target", "target")`. Without it a recording infers them from the sizes, which is
            ambiguous where source and target are equally long.

    Returns:
        `tensor` itself.

    Raises:
        TypeError: If `tensor` is neither a tensor nor a dictionary of tensors.
        ValueError: If the kind is not known, the number of axes is wrong, or an axis has another
            name.

    Examples:
        >>> import torch
        >>> import seqlearn as sl
        >>> with sl.record(torch.nn.Identity()) as recording:
        ...     weights = sl.probe("mine", torch.ones(1, 1, 2, 3) / 3, axes=("target", "source"))
        >>> recording.axes
        {'mine': ('target', 'source')}
    """
    if kind not in _kinds:
        raise ValueError(
            f"probe {name!r}: expected a kind among {', '.join(map(repr, _kinds))}, got {kind!r}; "
            "register a kind of your own with introspect.register_kind"
        )
    parts = tensor.values() if isinstance(tensor, Mapping) else [tensor]
    if not all(isinstance(part, Tensor) for part in parts):
        raise TypeError(
            f"probe {name!r}: expected a tensor or a dictionary of tensors, got "
            f"{type(tensor).__name__}"
        )
    emit(kind, name, tensor, None if axes is None else _checked_axes(kind, axes))
    return tensor


def _checked_axes(kind: str, axes: Sequence[str]) -> Axes:
    sizes = {"attention": (2,), "states": (1,), "gates": (1,)}.get(kind, (1, 2))
    names = ("(steps,)", "(queries, keys)")
    if len(axes) not in sizes or set(axes) - set(get_args(Axis)):
        expected = " or ".join(names[size - 1] for size in sizes)
        raise ValueError(
            f"expected axes of {kind} as {expected}, each one of {get_args(Axis)}, got {axes!r}"
        )
    return cast(Axes, tuple(axes))
