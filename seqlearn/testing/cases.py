"""Test cases as plain data: a spec for each task, examples, and batches built from them.

An example is a pair of encoded values, such as lists of ids: a source, or `None`, and a target. The
types of the spec draw them (`random_value`), so that types of your own are tested like others.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from seqlearn.batch import SequenceBatch, length_mask
from seqlearn.spec import (
    AlignedSpec,
    ClassesSpec,
    SequenceSpec,
    Side,
    TagsSpec,
    TextSpec,
    VectorSpec,
)

_SOURCE, _TARGET = TextSpec(9, 8), TextSpec(7, 8)

TASKS: dict[str, SequenceSpec] = {
    "sequence-to-sequence": SequenceSpec(_SOURCE, _TARGET),
    "sequence-to-vector (classes)": SequenceSpec(_SOURCE, ClassesSpec(("a", "b", "c"))),
    "sequence-to-vector": SequenceSpec(_SOURCE, VectorSpec(2)),
    "vector-to-sequence": SequenceSpec(VectorSpec(3), _TARGET),
    "language-modeling": SequenceSpec(None, _TARGET),
    "tagging": SequenceSpec(_SOURCE, TagsSpec(("a", "b", "c"))),
}
"""The six tasks on which a module is tried, small, in the order of trying."""

Example = tuple[Any, Any]

LONGEST = 5
"""The most items in a sequence that is drawn."""

WIDEST = 8
"""The most positions in a padded sequence that is drawn, without start and end symbol."""


def batch_of(
    spec: SequenceSpec, examples: Sequence[Example], dtype: torch.dtype = torch.float32
) -> SequenceBatch:
    """Build the batch of these examples, as a data module builds it.

    Args:
        spec: The types of source and target.
        examples: Pairs of encoded source and target.
        dtype: The dtype of vectors.

    Examples:
        >>> spec = SequenceSpec(TextSpec(9, 4), ClassesSpec(("no", "yes")))
        >>> batch = batch_of(spec, [([4, 5], 0), ([6], 1)])
        >>> batch.source, batch.target
        (tensor([[4, 5],
                [6, 0]]), tensor([0, 1]))
    """
    device = torch.device("cpu")
    source: tuple[Tensor | None, Tensor | None] = (None, None)
    if spec.source is not None:
        source = spec.source.collate([source for source, _ in examples], device, dtype)
    target = spec.target.collate_targets([target for _, target in examples], device, dtype)
    return SequenceBatch(*source, *target)


def rich_examples(spec: SequenceSpec) -> list[Example]:
    """Four different examples; sequences have five, three, one and no items."""
    rng, lengths = Random(0), (5, 3, 1, 0)
    sides = [distinct_values(side, rng, lengths) for side in (spec.source, spec.target)]
    return list(zip(*sides, strict=True))


def overfitting_examples(spec: SequenceSpec) -> list[Example]:
    """Four examples that a model can tell apart by order alone; without a source a single one.

    The fourth source is the first one reversed. Its target differs, in a sequence from the first
    item on, so that no small difference within an output has to be learned.
    """
    rng = Random(0)
    if spec.source is None:
        return [(None, _two_items(spec.target, rng))]
    sources = distinct_values(spec.source, rng, (2, 1, 3, 2))
    if spec.source.is_sequence:
        sources[0] = _two_items(spec.source, rng)
        backwards = sources[0][::-1]
        sources[3] = backwards.copy() if isinstance(backwards, np.ndarray) else backwards
        # A window of two items tells all of them apart.
        while any(_equal(sources[2][-2:], sources[row][-2:]) for row in (0, 1, 3)):
            sources[2] = spec.source.random_value(rng, 3)
    if isinstance(spec.target, AlignedSpec):
        return _tagged(spec.target, sources)
    targets = distinct_values(spec.target, rng, (2, 2, 1, 2))
    while _equal(_start(spec.target, targets[0]), _start(spec.target, targets[3])):
        targets[3] = spec.target.random_value(rng, 2)
    return list(zip(sources, targets, strict=True))


def _tagged(target: AlignedSpec, sources: Sequence[Any]) -> list[Example]:
    """Sources with an item for each token that depends on the tokens up to it alone.

    Equal beginnings have equal items, so that an encoder that reads from left to right can learn
    them. The first items of the first and the last source differ.
    """
    for salt in itertools.count():
        rows = []
        for source in sources:
            seeds = [f"{salt} {np.asarray(source[: n + 1]).tolist()}" for n in range(len(source))]
            items = [target.random_value(Random(seed), 1)[0] for seed in seeds]
            numbers = [int(item[1]) for item in items]
            rows.append((source, target.place(range(len(source)), numbers)))
        if not _equal(rows[0][1][0], rows[-1][1][0]):
            break
    return rows


def _start(side: Side, value: Any) -> Any:
    """The first item of a sequence; any other value itself."""
    return value[:1] if side.is_sequence else value


def _two_items(side: Side, rng: Random) -> Any:
    """A random sequence of two different items."""
    value = side.random_value(rng, 2)
    while _equal(value[0], value[1]):
        value = side.random_value(rng, 2)
    return value


def distinct_values(side: Side | None, rng: Random, lengths: Sequence[int]) -> list[Any]:
    """A random value of each of these lengths, different from the others if the type has as many.

    Args:
        side: The type; `None` for no source.
        rng: Makes all random choices.
        lengths: The lengths.
    """
    values: list[Any] = []
    for length in lengths:
        value = None
        for _ in range(20):
            value = None if side is None else side.random_value(rng, length)
            if not any(_equal(value, other) for other in values):
                break
        values.append(value)
    return values


def _equal(value: Any, other: Any) -> bool:
    return bool(np.array_equal(np.asarray(value), np.asarray(other)))


def short_examples(spec: SequenceSpec) -> list[Example]:
    """Two examples whose sequences have one item each."""
    return cut_examples(spec, rich_examples(spec)[:2], source=1, target=1)


def cut_examples(
    spec: SequenceSpec, examples: Sequence[Example], *, source: int, target: int
) -> list[Example]:
    """Cut the sequences of examples to a number of items; a target of items for words as words."""
    target = source if isinstance(spec.target, AlignedSpec) else target

    def cut(value: Any, side: Side | None, size: int) -> Any:
        return value[:size] if side is not None and side.is_sequence else value

    return [(cut(s, spec.source, source), cut(t, spec.target, target)) for s, t in examples]


def rows_of(batch: SequenceBatch, rows: Sequence[int]) -> SequenceBatch:
    """Some rows of a batch, in this order, with the padding of the batch."""
    picked = [None if part is None else part[list(rows)] for part in batch[:4]]
    assert picked[2] is not None
    return SequenceBatch(picked[0], picked[1], picked[2], picked[3])


def counted_targets(spec: SequenceSpec, batch: SequenceBatch) -> int:
    """The number of items of a batch in the loss, as a data module counts them."""
    lengths = batch.target_lengths
    lengths = torch.ones(batch.size, dtype=torch.long) if lengths is None else lengths
    counts = torch.from_numpy(spec.target.count_items(lengths.numpy()))
    return int(counts[~batch.is_duplicate].sum())


def real_outputs(spec: SequenceSpec, batch: SequenceBatch, outputs: Tensor) -> Tensor:
    """The outputs at positions that are not padding; all outputs of a target without a length."""
    if not spec.target.is_sequence:
        return outputs
    _, mask = spec.target.labels_of(batch)
    size = min(outputs.shape[1], mask.shape[1])
    return outputs[:, :size][mask[:, :size]]


def repad_with_garbage(values: Tensor, lengths: Int[Tensor, " batch"], garbage: Tensor) -> Tensor:
    """The same sequences, with padding from `garbage`.

    Args:
        values: A padded batch of sequences, `batch time …`.
        lengths: Their lengths.
        garbage: The batch that is overwritten with them, at least as wide.
    """
    garbage = garbage.clone()
    real = length_mask(lengths, values.shape[1])
    garbage[:, : values.shape[1]][real] = values[real]
    return garbage
