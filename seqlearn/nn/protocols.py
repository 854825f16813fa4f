"""The two small protocols behind which every architecture stands, and what a state is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from seqlearn.batch import Memory

State = Any
"""What a decoder carries from call to call: tuples, lists and dictionaries of tensors with the
batch first, of ints (kept as they are) and of objects with `select(rows)`."""


@runtime_checkable
class Encoder(Protocol):
    """Reads a source.

    It is called by `SequenceModule.encode`, which shows it an empty source as one visible position
    of padding: the mask of every row is True at its first position.
    """

    def __call__(
        self,
        inputs: Float[Tensor, "batch source d_model"],
        mask: Bool[Tensor, "batch source"],
    ) -> Memory:
        """Read embedded tokens, of which those are real where `mask` is True."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """Writes a target, knowing what came before and, of the source, the memory.

    It is causal: fed `T` tokens with `state=None` it answers what it answers when fed the same
    tokens one by one, threading `state`. A call consumes the state that it is given. It is never
    called without tokens; an empty source has a memory whose mask is False throughout the row, with
    states and pooled vector of zero.

    A decoder with an attribute `stateful` that is true goes on from batch to batch of a long
    text, where its state is made of tensors, ints and plain containers.
    """

    def __call__(
        self,
        inputs: Float[Tensor, "batch target d_model"],
        memory: Memory | None,
        state: State | None = None,
    ) -> tuple[Float[Tensor, "batch target d_model"], State]:
        """Answer each embedded token with a vector from which the next token is read."""
        ...


def tree_map(function: Callable[[Any], Any], state: State) -> State:
    """Apply a function to every tensor of a state, and to every object that is no container."""
    if state is None or isinstance(state, int):
        return state
    if isinstance(state, dict):
        return {name: tree_map(function, part) for name, part in state.items()}
    if isinstance(state, tuple | list):
        parts = [tree_map(function, part) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    return function(state)


def select(state: State, rows: Int[Tensor, " rows"]) -> State:
    """Take these rows of a state, in this order; a row may come more than once.

    Raises:
        TypeError: If the state holds what is neither a tensor, an int, `None`, a container of
            these nor an object with `select(rows)`.
    """

    def take(part: Any) -> Any:
        if isinstance(part, Tensor):
            return part.index_select(0, rows)
        if hasattr(part, "select"):
            return part.select(rows)
        raise TypeError(
            "a decoder's state may hold tensors, ints, None, tuples, lists, dictionaries and "
            f"objects with select(rows); got {type(part).__name__}"
        )

    return tree_map(take, state)
