"""Hooks for recording internal activations.

Modules in `seqlearn.nn` call `emit(kind, module, fn)`, where `fn` computes attention weights,
states or gates. Decoding reports how beams are reordered (`generation`, `decoding_step`). With no
listener active, `emit` returns at once and `fn` is never called. It imports nothing of seqlearn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Literal, NamedTuple, Protocol, TypeVar, cast, get_args, runtime_checkable

import torch
from torch import Tensor, nn

Activation = Tensor | Mapping[str, Tensor]
"""A tensor; for gates a dictionary of tensors by name."""

_Activation = TypeVar("_Activation", bound=Activation)

_kinds = ["attention", "states", "gates"]  # and those that `introspect` adds


def add_kind(kind: str) -> None:
    """Accept a kind in `probe`; `introspect.register_kind` calls it."""
    if kind not in _kinds:
        _kinds.append(kind)


Axis = Literal["source", "target", "pooled"]
"""The sequence that an axis follows; `"pooled"` is one vector made from a whole sequence."""

Axes = tuple[Axis, ...]
"""For attention the sequences of queries and keys; for states and gates that of their steps."""


class GenerationResult(NamedTuple):
    """The outputs of a generation, and in which decoding step and row each of them ended.

    Attributes:
        beam_paths: For each output, in the order of `outputs`, each of its hypotheses (the best
            first) as a pair: its last step (from 0) and its row in that step.
        tokens: For each output the ids of its best hypothesis, including the first decoder input;
            with or without the end symbol.
        answers: For each output the predicted label or vector as a text, if there is one.
    """

    beam_paths: Sequence[Sequence[tuple[int, int]]]
    tokens: Sequence[Sequence[int]]
    answers: Sequence[str] | None = None


@runtime_checkable
class ActivationListener(Protocol):
    """Receives activations. All methods are called in the thread that computes."""

    def on_activation(
        self,
        kind: str,
        owner: nn.Module | str,
        make: Callable[[], Activation],
        axes: Axes | None,
    ) -> None:
        """Receive an activation, which `make` computes.

        Args:
            kind: `"attention"` (axes `batch heads query key`), `"states"` (`batch time width`, or
                `batch width` for one vector per example) or `"gates"` (`batch time width` each).
            owner: The module that emits it, or a name.
            make: Computes the tensor, or a dictionary of tensors for gates.
            axes: The sequences that its axes follow; `None` if they are not known.
        """

    def loop_start(self) -> None:
        """A loop over time starts: values that one owner emits within it follow in time."""

    def loop_end(self) -> None:
        """The innermost loop over time ends."""

    def generation_start(
        self,
        outputs: Sequence[int],
        total: int,
        source: Tensor | None,
        source_lengths: Tensor | None,
    ) -> None:
        """A generation or a teacher-forced forward pass starts, before the sources are encoded.

        Args:
            outputs: Position of each row's output among all outputs of the call.
            total: Outputs of the whole call, which may be divided into several generations.
            source: Source ids or vectors, `batch …`; `None` without a source.
            source_lengths: Tokens in each source, `batch`, where it is ids.
        """

    def decoding_step(self, parents: Tensor | None) -> None:
        """A decoding step starts; its row `i` continues row `parents[i]` of the previous step.

        `parents` are row numbers, `rows`; `None` if no row has moved. Teacher forcing is one step.
        """

    def generation_end(self, result: GenerationResult | None) -> None:
        """The generation or teacher-forced forward pass ends.

        Args:
            result: The decoded outputs; `None` if an exception ended it.
        """


class _Listeners(threading.local):
    active: tuple[ActivationListener, ...] = ()
    result: GenerationResult | None = None
    in_generation: bool = False
    beams: int = 1


_listeners = _Listeners()


def active_listeners() -> tuple[ActivationListener, ...]:
    """The listeners of this thread."""
    return _listeners.active


@contextmanager
def add_listener(listener: ActivationListener) -> Iterator[None]:
    """Send the activations of this thread to `listener` until the block ends."""
    before = _listeners.active
    _listeners.active = (*before, listener)
    try:
        yield
    finally:
        _listeners.active = before


@contextmanager
def muted() -> Iterator[None]:
    """Send the activations of this thread to no listener until the block ends."""
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
    if not _listeners.active:
        return
    make = value_or_fn if callable(value_or_fn) else lambda: value_or_fn
    if _listeners.beams > 1:
        make = partial(_by_row, make, _listeners.beams, shared=shared)
    for listener in _listeners.active:
        listener.on_activation(kind, owner, make, axes)


def beams_as_queries(beams: int) -> AbstractContextManager[None]:
    """Mark a block whose queries are those of several beams of each source.

    What is emitted within it has one row per source, and the queries of its beams after one another
    on the last axis but one. Listeners receive it with one row for each beam.

    Args:
        beams: Beams of each source.
    """
    return _beams_as_queries(beams) if _listeners.active else _NOTHING


@contextmanager
def _beams_as_queries(beams: int) -> Iterator[None]:
    before, _listeners.beams = _listeners.beams, beams
    try:
        yield
    finally:
        _listeners.beams = before


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


_NOTHING: AbstractContextManager[None] = nullcontext()


@contextmanager
def time_loop() -> Iterator[None]:
    """Mark a block as a loop over time.

    The activations that one owner emits within it are concatenated along time, as if they had been
    emitted at once for all steps.
    """
    listeners = _listeners.active
    for listener in listeners:
        listener.loop_start()
    try:
        yield
    finally:
        for listener in listeners:
            listener.loop_end()


def generation(
    outputs: Sequence[int], total: int, source: Tensor | None, source_lengths: Tensor | None
) -> AbstractContextManager[None]:
    """Report a generation, or a teacher-forced forward pass, to all listeners.

    The sources are encoded within the block. `decoding_step` reports each step, and `end_decoding`
    (or `end_teacher_forcing`) the result; the listeners receive it when the block ends. If an
    exception ends the block, they receive `None`. A block within a block belongs to the outer one.

    Args:
        outputs: Position of each row's output among all outputs of the call.
        total: Outputs of the whole call, which may be divided into several generations.
        source: Source ids or vectors, `batch …`; `None` without a source.
        source_lengths: Tokens in each source, `batch`, where it is ids.

    Raises:
        RuntimeError: At the end of the block, if a listener is active and no result was reported.
        ValueError: At the end of the block, if the result has another number of outputs.
    """
    if not _listeners.active or _listeners.in_generation:
        return _NOTHING
    return _generation(outputs, total, source, source_lengths)


@contextmanager
def _generation(
    outputs: Sequence[int], total: int, source: Tensor | None, source_lengths: Tensor | None
) -> Iterator[None]:
    listeners, outer = _listeners.active, _listeners.result
    _listeners.result, _listeners.in_generation = None, True
    for listener in listeners:
        listener.generation_start(outputs, total, source, source_lengths)
    try:
        yield
        _check_result(_listeners.result, len(outputs))
    except BaseException:
        _listeners.result = None
        raise
    finally:
        result, _listeners.result = _listeners.result, outer
        _listeners.in_generation = False
        for listener in listeners:
            listener.generation_end(result)


def _check_result(result: GenerationResult | None, num_outputs: int) -> None:
    if result is None:
        raise RuntimeError(
            "the decoding strategy reports no steps, so what it generates cannot be recorded; in "
            "it, call seqlearn.instrumentation.decoding_step(parents) before each step and "
            "end_decoding(beam_paths, tokens) after the last one, or generate outside of record()"
        )
    paths, tokens = len(result.beam_paths), len(result.tokens)
    if (paths, tokens) != (num_outputs, num_outputs):
        raise ValueError(
            f"end_decoding: expected {num_outputs} beam_paths and tokens, got {paths} and {tokens}"
        )


def decoding_step(parents: Tensor | None) -> None:
    """Report the start of a step, `parents` as in `ActivationListener.decoding_step`: `rows`."""
    for listener in _listeners.active:
        listener.decoding_step(parents)


def end_decoding(
    beam_paths: Sequence[Sequence[tuple[int, int]]], tokens: Sequence[Sequence[int]]
) -> None:
    """Report the result of the current `generation`; see `GenerationResult` for the arguments."""
    _listeners.result = GenerationResult(beam_paths, tokens)


def report_answers(answers: Sequence[str]) -> None:
    """Add what a model without a decoder predicts, as texts, to the result of a `generation`."""
    if _listeners.result is not None:
        _listeners.result = _listeners.result._replace(answers=answers)


def end_teacher_forcing(
    rows: int, target: Tensor | None = None, lengths: Tensor | None = None
) -> None:
    """Report the result of a teacher-forced forward pass, which is one step.

    Args:
        rows: Number of outputs.
        target: Target ids `rows time`, the first decoder input first; `None` if there was no step.
        lengths: Tokens in each target, `rows`; `None` if no target is padded.
    """
    if not _listeners.active:
        return
    if target is None:
        end_decoding([[]] * rows, [[]] * rows)
        return
    sizes = [target.shape[1]] * rows if lengths is None else lengths.tolist()
    ids = [row[:size] for row, size in zip(target.tolist(), sizes, strict=True)]
    end_decoding([[(0, row)] for row in range(rows)], ids)


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
