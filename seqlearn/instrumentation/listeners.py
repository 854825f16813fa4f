"""Who receives activations: the protocol of listeners, and the listeners of each thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

Activation = Tensor | Mapping[str, Tensor]
"""A tensor; for gates a dictionary of tensors by name."""

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

    Examples:
        >>> result = GenerationResult(beam_paths=[[(1, 0)]], tokens=[[2, 7, 8]])
        >>> result.beam_paths[0][0]  # the best hypothesis ended in step 1, in row 0
        (1, 0)
    """

    beam_paths: Sequence[Sequence[tuple[int, int]]]
    tokens: Sequence[Sequence[int]]
    answers: Sequence[str] | None = None


@runtime_checkable
class ActivationListener(Protocol):
    """Receives activations. All methods are called in the thread that computes.

    Examples:
        >>> import torch
        >>> from seqlearn.instrumentation import ActivationListener, add_listener, emit
        >>> class PrintShapes(ActivationListener):  # what it does not need, it inherits
        ...     def on_activation(self, kind, owner, make, axes):
        ...         print(kind, owner, tuple(make().shape))
        >>> with add_listener(PrintShapes()):
        ...     emit("states", "mine", torch.ones(1, 2, 3))
        states mine (1, 2, 3)
    """

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


class ThreadListeners(threading.local):
    """The listeners of a thread, and what they are told together."""

    active: tuple[ActivationListener, ...] = ()
    result: GenerationResult | None = None
    in_generation: bool = False
    beams: int = 1


LISTENERS = ThreadListeners()


def active_listeners() -> tuple[ActivationListener, ...]:
    """The listeners of this thread.

    Examples:
        >>> import torch
        >>> import seqlearn as sl
        >>> with sl.record(torch.nn.Identity()):
        ...     weights = sl.probe("mine", torch.ones(1, 1, 2, 3) / 3)
        ...     len(active_listeners())
        1
        >>> active_listeners()
        ()
    """
    return LISTENERS.active


@contextmanager
def add_listener(listener: ActivationListener) -> Iterator[None]:
    """Send the activations of this thread to `listener` until the block ends.

    Examples:
        >>> import torch
        >>> from seqlearn.nn import MultiHeadAttention
        >>> class PrintKinds(ActivationListener):
        ...     def on_activation(self, kind, owner, make, axes):
        ...         if kind in ("attention", "scores"):
        ...             print(kind, axes)
        >>> with add_listener(PrintKinds()):
        ...     outputs = MultiHeadAttention(8, 2)(torch.ones(1, 3, 8), torch.ones(1, 3) > 0)
        attention ('source', 'source')
        scores ('source', 'source')
    """
    before = LISTENERS.active
    LISTENERS.active = (*before, listener)
    try:
        yield
    finally:
        LISTENERS.active = before


@contextmanager
def muted() -> Iterator[None]:
    """Send the activations of this thread to no listener until the block ends.

    Examples:
        >>> import torch
        >>> import seqlearn as sl
        >>> with sl.record(torch.nn.Identity()) as recording:
        ...     weights = sl.probe("mine", torch.ones(1, 1, 2, 3) / 3)
        ...     with muted():
        ...         others = sl.probe("others", torch.ones(1, 1, 2, 3) / 3)
        >>> list(recording.attention)
        ['mine']
    """
    before = LISTENERS.active
    LISTENERS.active = ()
    try:
        yield
    finally:
        LISTENERS.active = before
