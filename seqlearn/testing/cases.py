"""Test cases as plain data: a spec for each task, examples, and batches built from them.

An example is a pair of plain data: a source (a list of ids, a list of numbers, or `None`) and a
target (a list of ids, the number of a class, or a list of numbers).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from seqlearn.batch import START, SequenceBatch, length_mask
from seqlearn.spec import ClassesSpec, SequenceSpec, SideSpec, TextSpec, VectorSpec

_SOURCE, _TARGET = TextSpec(9, 8), TextSpec(7, 8)

TASKS: dict[str, SequenceSpec] = {
    "sequence-to-sequence": SequenceSpec(_SOURCE, _TARGET),
    "sequence-to-vector (classes)": SequenceSpec(_SOURCE, ClassesSpec(("a", "b", "c"))),
    "sequence-to-vector": SequenceSpec(_SOURCE, VectorSpec(2)),
    "vector-to-sequence": SequenceSpec(VectorSpec(3), _TARGET),
    "language-modeling": SequenceSpec(None, _TARGET),
}
"""The five tasks on which a module is tried, small, in the order of trying."""

Example = tuple[Any, Any]

LONGEST = 5
"""The most tokens in a text that is drawn."""

WIDEST = 8
"""The most positions in a padded text that is drawn, without start and end symbol."""


def batch_of(
    spec: SequenceSpec, examples: Sequence[Example], dtype: torch.dtype = torch.float32
) -> SequenceBatch:
    """Build the batch of these examples, as a data module builds it.

    Args:
        spec: The types of source and target.
        examples: Pairs of source and target, as plain data.
        dtype: The dtype of vectors.
    """
    device = torch.device("cpu")
    source: tuple[Tensor | None, Tensor | None] = (None, None)
    if spec.source is not None:
        source = spec.source.collate([source for source, _ in examples], device, dtype)
    target = spec.target.collate_targets([target for _, target in examples], device, dtype)
    return SequenceBatch(*source, *target)


def rich_examples(spec: SequenceSpec) -> list[Example]:
    """Four different examples, with five, three, one and no tokens."""
    vectors = [[0.5, -1.0, 2.0], [1.5, 0.0, -0.5], [-1.0, 1.0, 0.5], [0.0, 2.0, 1.0]]
    sources: dict[str, list[Any]] = {
        "text": [[7, 8, 4, 5, 6], [8, 4, 4], [7], []],
        "vector": vectors,
    }
    targets: dict[str, list[Any]] = {
        "text": [[4, 5, 6, 4, 6], [6, 4, 4], [5], []],
        "classes": [number % spec.target.output_size for number in range(4)],
        "vector": [vector[: spec.target.output_size] for vector in vectors],
    }
    given: list[Any] = [None] * 4 if spec.source is None else sources[spec.source.kind]
    return list(zip(given, targets[spec.target.kind], strict=True))


def short_examples(spec: SequenceSpec) -> list[Example]:
    """Two examples whose texts have one token each."""

    def cut(side: Any, kind: SideSpec | None) -> Any:
        return side[:1] if kind is not None and kind.is_sequence else side

    return [(cut(s, spec.source), cut(t, spec.target)) for s, t in rich_examples(spec)[:2]]


def rows_of(batch: SequenceBatch, rows: Sequence[int]) -> SequenceBatch:
    """Some rows of a batch, in this order, with the padding of the batch."""
    picked = [None if part is None else part[list(rows)] for part in batch[:4]]
    assert picked[2] is not None
    return SequenceBatch(picked[0], picked[1], picked[2], picked[3])


def counted_targets(batch: SequenceBatch) -> int:
    """The number of targets that count in a loss: tokens after the start, classes or elements."""
    if batch.target_lengths is None:
        return int(batch.target[~batch.is_duplicate].numel())
    labels = batch.target[:, 1:]
    mask = length_mask(batch.target_lengths - 1, labels.shape[1]) & (labels != START)
    return int(mask[~batch.is_duplicate].sum())


def real_outputs(batch: SequenceBatch, outputs: Tensor) -> Tensor:
    """The logits that predict a real token; all outputs of a class or vector."""
    if batch.target_lengths is None:
        return outputs
    size = min(outputs.shape[1], batch.target.shape[1] - 1)
    return outputs[:, :size][length_mask(batch.target_lengths - 1, size)]


def repad_with_garbage(
    ids: Int[Tensor, "batch time"], lengths: Int[Tensor, " batch"], width: int, vocab: int
) -> Int[Tensor, "batch {width}"]:
    """The same texts padded to `width` with random ids."""
    garbage = torch.randint(vocab, (ids.shape[0], width))
    garbage[length_mask(lengths, width)] = ids[length_mask(lengths, ids.shape[1])]
    return garbage
