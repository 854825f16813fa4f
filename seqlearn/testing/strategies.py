"""Hypothesis strategies for the inputs of a module.

They draw plain data and specs: a strategy must not use torch's random numbers, as building a module
does. Tests build modules and batches from what is drawn; `batch_of` builds the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from hypothesis import strategies as st

from seqlearn.spec import (
    AlignedSpec,
    ClassesSpec,
    SequenceSpec,
    SideSpec,
    TagsSpec,
    TextSpec,
    VectorSpec,
)
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
    "values",
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
def specs(
    draw: st.DrawFn,
    tasks: Sequence[str] | Mapping[str, SequenceSpec] = tuple(TASKS),
    *,
    sides: Mapping[type[SideSpec], st.SearchStrategy[Any]] | None = None,
) -> SequenceSpec:
    """Specs of any of these tasks.

    Vocabularies, labels and vectors are small. Texts have no tokenizer; they are lists of ids.

    Args:
        draw: Passed by hypothesis.
        tasks: Names of `TASKS`, or specs of your own by name; each gives a pair of types.
        sides: A strategy for each type of your own, such as
            `{SeriesSpec: st.builds(SeriesSpec, st.integers(1, 4))}`.
    """
    by_name = tasks if isinstance(tasks, Mapping) else {name: TASKS[name] for name in tasks}
    example = by_name[draw(st.sampled_from(list(by_name)))]
    known: dict[type[SideSpec], st.SearchStrategy[Any]] = {
        TextSpec: st.builds(TextSpec, st.integers(5, 12), st.just(2 * LONGEST)),
        ClassesSpec: st.builds(lambda n: ClassesSpec(tuple("abcde"[:n])), st.integers(2, 5)),
        VectorSpec: st.builds(VectorSpec, st.integers(1, 4)),
        TagsSpec: st.builds(lambda n: TagsSpec(tuple("abcde"[:n])), st.integers(2, 5)),
        **(sides or {}),
    }
    for side in (example.source, example.target):
        if side is not None and type(side) not in known:
            name = type(side).__name__
            raise ValueError(
                f"expected a strategy for {name}; pass sides={{{name}: st.builds({name}, …)}}"
            )
    source = None if example.source is None else draw(known[type(example.source)])
    return SequenceSpec(source, draw(known[type(example.target)]))


@st.composite
def texts(draw: st.DrawFn, vocab_size: int, longest: int = LONGEST) -> list[int]:
    """A text as a list of zero or more ids, without the four reserved ids."""
    size = draw(lengths(longest))
    ids = st.sampled_from(range(4, vocab_size))
    return draw(st.lists(ids, min_size=size, max_size=size))


@st.composite
def values(draw: st.DrawFn, side: SideSpec | None, longest: int = LONGEST) -> Any:
    """Encoded values of a type, from its `random_value`; `None` for no source."""
    if side is None:
        return None
    length = draw(lengths(longest)) if side.is_sequence else 1
    return side.random_value(draw(st.randoms(use_true_random=False)), length)


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
        longest_source: The most items in a source.
        longest_target: The most items in a target, without start and end symbol; a target of one
            item for each word is as long as its source.
    """
    if isinstance(spec.target, AlignedSpec):
        return st.lists(_word_pairs(spec, longest_source), min_size=min_size, max_size=max_size)
    pair = st.tuples(values(spec.source, longest_source), values(spec.target, longest_target))
    return st.lists(pair, min_size=min_size, max_size=max_size)


@st.composite
def _word_pairs(draw: st.DrawFn, spec: SequenceSpec, longest: int) -> Example:
    """A source, and a target with one item for each of its tokens."""
    source = draw(values(spec.source, longest))
    rng = draw(st.randoms(use_true_random=False))
    return source, spec.target.random_value(rng, len(source))


@st.composite
def masks(draw: st.DrawFn, max_rows: int = 4, longest: int = LONGEST) -> list[list[bool]]:
    """A mask `batch time` of rows of different lengths, padded on the right; True is real."""
    sizes = draw(st.lists(lengths(longest), min_size=1, max_size=max_rows))
    width = draw(st.integers(max(sizes), longest))
    return [[position < size for position in range(width)] for size in sizes]


def shapes(*axes: str, least: int = 0, most: int = 4) -> st.SearchStrategy[dict[str, int]]:
    """A size for each of these axes, such as `shapes("batch", "time")`."""
    return st.fixed_dictionaries(dict.fromkeys(axes, st.integers(least, most)))
