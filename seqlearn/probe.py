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
from typing import Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

Offered = Tensor | Mapping[str, Tensor]
"""A tensor; of gates one for each, by name."""

_Offered = TypeVar("_Offered", bound=Offered)


@runtime_checkable
class Listener(Protocol):
    """What hears offers. All methods are called in the thread that computes."""

    def hear(self, kind: str, owner: nn.Module | str, make: Callable[[], Offered]) -> None:
        """Take note of a tensor; call `make` to compute it.

        Args:
            kind: `"attention"` (axes `batch heads query key`), `"states"` (`batch time width`, or
                `batch width` for one vector an example) or `"gates"` (`batch time width` each).
            owner: The module that offers, or a name.
            make: Computes the tensor, or one for each gate by its name.
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
        self, histories: Sequence[Sequence[tuple[int, int]]], tokens: Sequence[Sequence[int]]
    ) -> None:
        """Generation, or the reading of a known target, ends.

        Args:
            histories: For each output, in the order given to `begin`, each of its hypotheses (the
                best first) as the last step (from 0) and the row in it.
            tokens: For each output the ids of its best hypothesis, the first token fed included;
                with or without the end symbol.
        """


class _Listeners(threading.local):
    active: tuple[Listener, ...] = ()


_listeners = _Listeners()


def listeners() -> tuple[Listener, ...]:
    """Those who listen in this thread."""
    return _listeners.active


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let `listener` hear all that is offered in this thread, until the block ends."""
    before = _listeners.active
    _listeners.active = (*before, listener)
    try:
        yield
    finally:
        _listeners.active = before


@contextmanager
def unheard() -> Iterator[None]:
    """Let nobody hear what is offered in this thread, until the block ends."""
    before = _listeners.active
    _listeners.active = ()
    try:
        yield
    finally:
        _listeners.active = before


def offer(kind: str, owner: nn.Module | str, made: Offered | Callable[[], Offered]) -> None:
    """Offer what is there, or a function that makes it, to whoever listens.

    Args:
        kind: See `Listener.hear`.
        owner: The module that offers, or a name.
        made: The tensor; or what makes it, called only if somebody wants it.
    """
    for listener in _listeners.active:
        listener.hear(kind, owner, made if callable(made) else partial(_given, made))


def _given(made: Offered) -> Offered:
    return made


@contextmanager
def loop() -> Iterator[None]:
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
    """Tell all listeners that a generation begins; see `Listener.begin`."""
    for listener in _listeners.active:
        listener.begin(outputs, total, source, source_lengths)


def step(parents: Tensor | None) -> None:
    """Tell all listeners that a decoding step begins; see `Listener.step`."""
    for listener in _listeners.active:
        listener.step(parents)


def end(histories: Sequence[Sequence[tuple[int, int]]], tokens: Sequence[Sequence[int]]) -> None:
    """Tell all listeners that a generation has ended; see `Listener.end`."""
    for listener in _listeners.active:
        listener.end(histories, tokens)


def end_known(rows: int, target: Tensor | None = None, lengths: Tensor | None = None) -> None:
    """Tell all listeners that a known target has been read, in one step; see `Listener.end`.

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


def probe(name: str, tensor: _Offered, kind: str = "attention") -> _Offered:
    """Offer a tensor of one's own under a name, and pass it on unchanged.

    With this one line a user's own softmax joins: `weights = sl.probe("mixer.0", weights)`.

    Args:
        name: The key under which a recording holds it.
        tensor: For `kind="attention"` the weights, `batch heads query key` (or without heads); for
            `"states"` `batch time width`; for `"gates"` a dictionary of such tensors.
        kind: `"attention"`, `"states"` or `"gates"`.

    Returns:
        `tensor` itself.
    """
    offer(kind, name, tensor)
    return tensor
