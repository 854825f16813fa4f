"""Hypothesis strategies for the inputs of a module.

They draw plain data and specs: a strategy must not use torch's random numbers, as building a module
does. Tests build modules and batches from what is drawn; `batch_of` builds the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from hypothesis import strategies as st

from seqlearn.spec import ClassesSpec, SequenceSpec, TextSpec, VectorSpec
from seqlearn.testing.cases import LONGEST, TASKS, Example, batch_of

__all__ = [
    "batch_of",
    "dtypes",
    "examples",
    "lengths",
    "masks",
    "seeds",
    "shapes",
    "specs",
    "texts",
]


def seeds() -> st.SearchStrategy[int]:
    """Seeds of a module's parameters."""
    return st.integers(0, 2**16 - 1)


def lengths(longest: int = LONGEST) -> st.SearchStrategy[int]:
    """Lengths of a sequence: zero, one and more are equally likely."""
    if longest < 2:
        return st.integers(0, max(0, longest))
    return st.one_of(st.integers(2, longest), st.just(1), st.just(0))


def dtypes() -> st.SearchStrategy[torch.dtype]:
    """Dtypes of a module: float64, float32 and bfloat16."""
    return st.sampled_from([torch.float64, torch.float32, torch.bfloat16])


@st.composite
def specs(draw: st.DrawFn, tasks: Sequence[str] = tuple(TASKS)) -> SequenceSpec:
    """Specs of any of these tasks (names as in `TASKS`).

    Vocabularies, labels and vectors are small. Texts have no tokenizer; they are lists of ids.
    """
    example = TASKS[draw(st.sampled_from(list(tasks)))]
    text = st.builds(TextSpec, st.integers(5, 12), st.just(2 * LONGEST))
    sides: dict[str, st.SearchStrategy[Any]] = {
        "text": text,
        "classes": st.builds(lambda n: ClassesSpec(tuple("abcde"[:n])), st.integers(2, 5)),
        "vector": st.builds(VectorSpec, st.integers(1, 4)),
    }
    source = None if example.source is None else draw(sides[example.source.kind])
    return SequenceSpec(source, draw(sides[example.target.kind]))


@st.composite
def texts(draw: st.DrawFn, vocab_size: int, longest: int = LONGEST) -> list[int]:
    """A text as a list of zero or more ids, without the four reserved ids."""
    size = draw(lengths(longest))
    ids = st.sampled_from(range(4, vocab_size))
    return draw(st.lists(ids, min_size=size, max_size=size))


def _side(side: Any, longest: int) -> st.SearchStrategy[Any]:
    if side is None:
        return st.none()
    strategies: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
        "text": lambda: texts(side.vocab_size, longest),
        "classes": lambda: st.integers(0, len(side.labels) - 1),
        "vector": lambda: st.lists(
            st.integers(-4, 4).map(lambda number: number / 2),
            min_size=side.size,
            max_size=side.size,
        ),
    }
    return strategies[side.kind]()


def examples(
    spec: SequenceSpec,
    *,
    min_size: int = 1,
    max_size: int = 4,
    longest_source: int = LONGEST,
    longest_target: int = LONGEST,
) -> st.SearchStrategy[list[Example]]:
    """The examples of one batch, from which `batch_of` builds it.

    Args:
        spec: The types of source and target.
        min_size: The smallest number of examples.
        max_size: The largest number of examples.
        longest_source: The most tokens in a text source.
        longest_target: The most tokens in a text target, without start and end symbol.
    """
    pair = st.tuples(_side(spec.source, longest_source), _side(spec.target, longest_target))
    return st.lists(pair, min_size=min_size, max_size=max_size)


@st.composite
def masks(draw: st.DrawFn, max_rows: int = 4, longest: int = LONGEST) -> list[list[bool]]:
    """A mask `batch time` of rows of different lengths, padded on the right; True is real."""
    sizes = draw(st.lists(lengths(longest), min_size=1, max_size=max_rows))
    width = draw(st.integers(max(sizes), longest))
    return [[position < size for position in range(width)] for size in sizes]


def shapes(*axes: str, least: int = 0, most: int = 4) -> st.SearchStrategy[dict[str, int]]:
    """A size for each of these axes, such as `shapes("batch", "time")`."""
    return st.fixed_dictionaries(dict.fromkeys(axes, st.integers(least, most)))
