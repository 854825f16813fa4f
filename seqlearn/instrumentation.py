"""The one meeting place of those who compute and those who look.

Mechanisms in `seqlearn.nn` *offer* what is informative, decoding tells how its rows move, and
`seqlearn.introspect` listens. This file imports nothing of seqlearn. While nobody listens, an
offer costs one look at an empty tuple, and nothing is computed: what is offered is a function
that makes the tensor beside the kernel, called only for a listener that wants it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Literal, Protocol, TypeVar, cast, get_args, runtime_checkable

from torch import Tensor, nn

Activation = Tensor | Mapping[str, Tensor]
"""A tensor; of gates one for each, by name."""

_Activation = TypeVar("_Activation", bound=Activation)

Axis = Literal["source", "target", "pooled"]
"""The sequence that an axis follows; `"pooled"` is a single vector made from a whole sequence."""

Axes = tuple[Axis, ...]
"""Of attention what the queries and the keys are; of states and gates what their steps are."""


@runtime_checkable
class ActivationListener(Protocol):
    """What hears offers. All methods are called in the thread that computes."""

    def on_activation(
        self,
        kind: str,
        owner: nn.Module | str,
        make: Callable[[], Activation],
        axes: Axes | None,
    ) -> None:
        """Take note of a tensor; call `make` to compute it.

        Args:
            kind: `"attention"` (axes `batch heads query key`), `"states"` (`batch time width`, or
                `batch width` for one vector an example) or `"gates"` (`batch time width` each).
            owner: The module that offers, or a name.
            make: Computes the tensor, or one for each gate by its name.
            axes: Which sequences its axes follow; `None` if the module does not state it.
        """

    def loop(self, *, begins: bool) -> None:
        """A loop over time begins or ends: what one owner offers within it follows in time."""

    def begin(
        self,
        outputs: Sequence[int],
        total: int,
        source: Tensor | None,
        source_lengths: Tensor | None,
    ) -> None:
        """Generation, or the reading of a known target, starts: before the sources are encoded.

        Args:
            outputs: Position of each row's output among all that the caller asked for.
            total: Outputs of the whole call, which may be made in several generations.
            source: Source ids or vectors, one row each; `None` without a source.
            source_lengths: Tokens in each source, where it is ids.
        """

    def step(self, parents: Tensor | None) -> None:
        """A decoding step starts; its row `i` continues row `parents[i]` of the step before.

        `None` says that no row has moved. A known target is one step.
        """

    def end(
        self, beam_paths: Sequence[Sequence[tuple[int, int]]], tokens: Sequence[Sequence[int]]
    ) -> None:
        """Generation, or the reading of a known target, ends.

        Args:
            beam_paths: For each output, in the order given to `begin`, each of its hypotheses (the
                best first) as the last step (from 0) and the row in it.
            tokens: For each output the ids of its best hypothesis, the first token fed included;
                with or without the end symbol.
        """


class _Listeners(threading.local):
    active: tuple[ActivationListener, ...] = ()


_listeners = _Listeners()


def active_listeners() -> tuple[ActivationListener, ...]:
    """Those who listen in this thread."""
    return _listeners.active


@contextmanager
def add_listener(listener: ActivationListener) -> Iterator[None]:
    """Let `listener` hear all that is offered in this thread, until the block ends."""
    before = _listeners.active
    _listeners.active = (*before, listener)
    try:
        yield
    finally:
        _listeners.active = before


@contextmanager
def muted() -> Iterator[None]:
    """Let nobody hear what is offered in this thread, until the block ends."""
    before = _listeners.active
    _listeners.active = ()
    try:
        yield
    finally:
        _listeners.active = before


def emit(
    kind: str,
    owner: nn.Module | str,
    value_or_fn: Activation | Callable[[], Activation],
    axes: Axes | None = None,
) -> None:
    """Offer what is there, or a function that makes it, to whoever listens.

    Args:
        kind: See `ActivationListener.on_activation`.
        owner: The module that offers, or a name.
        value_or_fn: The tensor; or what makes it, called only if somebody wants it.
        axes: Which sequences its axes follow: `(queries, keys)` of attention, `(steps,)` of states
            and gates. Without it a recording infers them from the sizes, which is ambiguous where
            source and target are equally long.
    """
    for listener in _listeners.active:
        listener.on_activation(
            kind,
            owner,
            value_or_fn if callable(value_or_fn) else partial(_constant, value_or_fn),
            axes,
        )


def _constant(value_or_fn: Activation) -> Activation:
    return value_or_fn


@contextmanager
def time_loop() -> Iterator[None]:
    """Tell all listeners that this block is a loop over time.

    What one owner offers again and again within it is put together along time, as if it had been
    offered once for all steps.
    """
    heard = _listeners.active
    for listener in heard:
        listener.loop(begins=True)
    try:
        yield
    finally:
        for listener in heard:
            listener.loop(begins=False)


def begin(
    outputs: Sequence[int], total: int, source: Tensor | None, source_lengths: Tensor | None
) -> None:
    """Tell all listeners that a generation begins; see `ActivationListener.begin`."""
    for listener in _listeners.active:
        listener.begin(outputs, total, source, source_lengths)


def step(parents: Tensor | None) -> None:
    """Tell all listeners that a decoding step begins; see `ActivationListener.step`."""
    for listener in _listeners.active:
        listener.step(parents)


def end(beam_paths: Sequence[Sequence[tuple[int, int]]], tokens: Sequence[Sequence[int]]) -> None:
    """Tell all listeners that a generation has ended; see `ActivationListener.end`."""
    for listener in _listeners.active:
        listener.end(beam_paths, tokens)


def end_teacher_forcing(
    rows: int, target: Tensor | None = None, lengths: Tensor | None = None
) -> None:
    """Tell all listeners that a known target has been read, in one step; see `end`.

    Args:
        rows: Outputs.
        target: Target ids `rows time`, the first token fed first; `None` if there was no step.
        lengths: Tokens in each target; all are whole, if `None`.
    """
    if not _listeners.active:
        return
    if target is None:
        end([[]] * rows, [[]] * rows)
        return
    ids = target.tolist()
    if lengths is not None:
        ids = [row[:length] for row, length in zip(ids, lengths.tolist(), strict=True)]
    end([[(0, row)] for row in range(rows)], ids)


def probe(
    name: str, tensor: _Activation, kind: str = "attention", *, axes: Sequence[str] | None = None
) -> _Activation:
    """Offer a tensor of one's own under a name, and pass it on unchanged.

    With this one line a user's own softmax joins a recording:

        weights = sl.probe("mixer.0", weights, axes=("target", "source"))

    Args:
        name: The key under which a recording holds it.
        tensor: For `kind="attention"` the weights, `batch heads query key` (or without heads); for
            `"states"` `batch time width`; for `"gates"` a dictionary of such tensors.
        kind: `"attention"`, `"states"` or `"gates"`.
        axes: Which sequences the axes follow, each `"source"`, `"target"` or `"pooled"` (one
            vector made from a whole sequence): `(queries, keys)` of attention, `(steps,)` of
            states and gates. Cross-attention is `("target", "source")`, causal self-attention
            `("target", "target")`. Without it a recording infers them from the sizes, which is
            ambiguous where source and target are equally long.

    Returns:
        `tensor` itself.

    Raises:
        ValueError: If `axes` are not as many, or none of those names.

    Example:
        >>> import torch
        >>> import seqlearn as sl
        >>> with sl.record(torch.nn.Identity()) as recording:
        ...     weights = sl.probe("mine", torch.ones(1, 1, 2, 3) / 3, axes=("target", "source"))
        >>> recording.axes
        {'mine': ('target', 'source')}
    """
    emit(kind, name, tensor, None if axes is None else _checked_axes(kind, axes))
    return tensor


def _checked_axes(kind: str, axes: Sequence[str]) -> Axes:
    expected = "(queries, keys)" if kind == "attention" else "(steps,)"
    count = 2 if kind == "attention" else 1
    if len(axes) != count or set(axes) - set(get_args(Axis)):
        raise ValueError(
            f"expected axes of {kind} as {expected}, each one of {get_args(Axis)}, got {axes!r}"
        )
    return cast(Axes, tuple(axes))
