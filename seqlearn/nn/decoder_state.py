"""The state of a decoder, and how decoding moves its rows.

In beam search a source has several rows, its beams. A decoder with `shares_memory` gets the memory
with one row per source: the beams of a source are the queries of one attention over its states, so
nothing of the memory is copied for each beam.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from seqlearn.instrumentation import beams_as_queries

State = Any
"""The state of a decoder between calls: tuples, lists and dictionaries of tensors (batch first), of
ints (kept as they are), of `PerSource` and of objects with `select(rows)`."""


class Beams(NamedTuple):
    """The rows of the next step of a beam search, whose decoder shares the memory.

    Attributes:
        rows: `sources beams`: the row of the previous step that each row continues. The rows of
            one line continue rows of one source.
        sources: The sources of the previous step that stay, in increasing order; `None` if all do.

    Examples:
        >>> import torch
        >>> from seqlearn.nn import Beams, select
        >>> select(torch.tensor([5, 6, 7]), Beams(torch.tensor([[0, 0, 2]]), sources=None))
        tensor([5, 5, 7])
    """

    rows: Int[Tensor, "sources beams"]
    sources: Int[Tensor, " sources"] | None


class PerSource(NamedTuple):
    """A part of a state with one row per source, such as the projected memory.

    Attributes:
        value: Tensors, batch first, and containers of these.

    Examples:
        >>> import torch
        >>> from seqlearn.nn import Beams, PerSource, select
        >>> keys = PerSource(torch.tensor([5, 6]))
        >>> select(keys, Beams(torch.tensor([[3, 3, 4]]), sources=torch.tensor([1])))
        PerSource(value=tensor([6]))
    """

    value: Any


def tree_map(
    function: Callable[[Any], Any],
    state: State,
    *,
    per_source: Callable[[PerSource], Any] | None = None,
) -> State:
    """Apply a function to every tensor of a state, and to every object that is not a container.

    Args:
        function: Applied to each of them.
        state: The state.
        per_source: Applied to each `PerSource` as a whole; without it `function` is applied within.

    Examples:
        >>> import torch
        >>> tree_map(lambda part: part + 1, [torch.zeros(2), {"step": 3}])
        [tensor([1., 1.]), {'step': 3}]
    """

    def walk(part: Any) -> Any:
        if part is None or isinstance(part, int):
            return part
        if per_source is not None and isinstance(part, PerSource):
            return per_source(part)
        if isinstance(part, dict):
            return {name: walk(each) for name, each in part.items()}
        if isinstance(part, tuple | list):
            parts = [walk(each) for each in part]
            return type(part)(*parts) if hasattr(part, "_fields") else type(part)(parts)
        return function(part)

    return walk(state)


def select(state: State, rows: Int[Tensor, " rows"] | Beams) -> State:
    """Take rows of a state, in the order given; a row may be taken more than once.

    Args:
        state: The state. It is consumed if `rows` is `Beams`.
        rows: The rows to take, each with its source; or the beams of a search whose decoder shares
            the memory: `PerSource` parts then keep one row per source, objects with the method
            `select_beams(beams)` get the beams, and everything else is selected by their rows.
            After that the state is selected by beams alone.

    Raises:
        TypeError: If the state contains anything but tensors, ints, `None`, containers of these and
            objects with `select(rows)`.

    Examples:
        >>> import torch
        >>> select((torch.tensor([5, 6]),), torch.tensor([1, 1, 0]))
        (tensor([6, 6, 5]),)
    """
    beams = rows if isinstance(rows, Beams) else None
    flat = rows.rows.flatten() if isinstance(rows, Beams) else rows

    def take(part: Any) -> Any:
        if isinstance(part, Tensor):
            return part.index_select(0, flat)
        if beams is not None and hasattr(part, "select_beams"):
            return part.select_beams(beams)
        if hasattr(part, "select"):
            return part.select(flat)
        raise TypeError(
            "a decoder's state may contain tensors, ints, None, tuples, lists, dictionaries and "
            f"objects with select(rows); got {type(part).__name__}"
        )

    def keep_or_take(part: PerSource) -> PerSource:
        if beams is None:
            return PerSource(select(part.value, flat))
        return part if beams.sources is None else PerSource(select(part.value, beams.sources))

    return tree_map(take, state, per_source=keep_or_take)


def shares_memory(part: object, method: str = "forward") -> bool:
    """Whether a decoder accepts a memory with one row per source; see `Decoder`.

    The attribute `shares_memory` describes the method beside it: that of a base class does not
    count for a subclass with a method of its own.

    Args:
        part: A decoder, or a part of one.
        method: The method that receives the memory.

    Examples:
        >>> class Mine:
        ...     shares_memory = True
        ...     def forward(self, inputs, memory, state=None): ...
        >>> class Changed(Mine):
        ...     def forward(self, inputs, memory, state=None): ...
        >>> shares_memory(Mine()), shares_memory(Changed())
        (True, False)
    """
    for cls in type(part).__mro__:
        if method in vars(cls):
            return "shares_memory" in vars(cls) and bool(getattr(part, "shares_memory", False))
    return False


def attend_by_source(
    attention: Callable[[Tensor], Tensor],
    queries: Float[Tensor, "rows target d_model"],
    num_sources: int,
) -> Float[Tensor, "rows target d_model"]:
    """Attend to a memory with one row per source: the rows of each source are its queries.

    Args:
        attention: Attends with queries `source query d_model`, each independent of the others, and
            returns as many outputs. What it emits is recorded by row.
        queries: The queries of all rows; those of one source are adjacent and equally many.
        num_sources: Rows of the memory.

    Raises:
        ValueError: If there is not the same number of rows for each source.

    Examples:
        >>> import torch
        >>> attend_by_source(lambda queries: queries.mean(1, keepdim=True).expand_as(queries),
        ...                  torch.tensor([1.0, 3.0, 5.0, 7.0]).view(4, 1, 1), 2).flatten()
        tensor([2., 2., 6., 6.])
    """
    rows, time, d_model = queries.shape
    if rows == num_sources:
        return attention(queries)
    if num_sources == 0 or rows % num_sources:
        raise ValueError(
            f"expected one or several rows for each of the {num_sources} sources of the memory, "
            f"got {rows} rows"
        )
    with beams_as_queries(rows // num_sources):
        outputs = attention(queries.reshape(num_sources, -1, d_model))
    return outputs.reshape(rows, time, -1)
