"""Putting together what was heard piece by piece: in chunks, in steps, row by row.

Everything heard has the axes `batch parts time width`: weights are `batch heads query key`, states
and gates `batch 1 time hidden`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Key(NamedTuple):
    """Under what something is kept: its kind, the module's name, and which gate."""

    kind: str
    name: str
    gate: str = ""


@dataclass(frozen=True)
class Slice:
    """What a module offered.

    Attributes:
        values: `batch parts time width`.
        indices: Of the greatest weights of each row, where they stood; `None` if all were kept.
        width: How wide a row was before.
        has_time: False of one vector an example, which belongs to no step.
    """

    values: Tensor
    indices: Tensor | None
    width: int
    has_time: bool = True

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self.values.nbytes + (0 if self.indices is None else self.indices.nbytes)


Activations = dict[Key, list[Slice]]
"""By key what was heard, once for each time that it was."""


@dataclass
class Step:
    """One decoding step: which rows of the step before its rows continue, and what was heard."""

    parents: list[int] | None
    heard: Activations = field(default_factory=dict)

    @property
    def num_inputs(self) -> int:
        """Tokens that it fed."""
        pieces = [piece for pieces in self.heard.values() for piece in pieces if piece.has_time]
        return max((piece.values.shape[2] for piece in pieces), default=0)


def backtrack(steps: Sequence[Step], last: int, row: int) -> list[int]:
    """The row of a hypothesis in each step from the first to its last."""
    path = []
    for step in reversed(steps[: last + 1]):
        path.append(row)
        row = row if step.parents is None else step.parents[row]
    return path[::-1]


def assemble(steps: Sequence[Step], paths: Sequence[Sequence[int]]) -> Activations:
    """What each path through the steps saw, one row a path, the steps along time."""
    found: Activations = {}
    for key in {key: None for step in steps for key in step.heard}:
        for call_index in range(max(len(step.heard.get(key, [])) for step in steps)):
            pieces = [
                (number, step.heard[key][call_index])
                for number, step in enumerate(steps)
                if call_index < len(step.heard.get(key, []))
            ]
            found.setdefault(key, []).append(_assemble_key(pieces, paths))
    return found


def _assemble_key(pieces: Sequence[tuple[int, Slice]], paths: Sequence[Sequence[int]]) -> Slice:
    longest = max((len(path) for path in paths), default=0)
    kept = sum(piece.values.shape[2] for number, piece in pieces if number < longest)

    def gathered(tensors: Sequence[Tensor]) -> Tensor:
        first = tensors[0]
        width = max(tensor.shape[3] for tensor in tensors)
        whole = first.new_zeros(len(paths), first.shape[1], kept, width)
        start = 0
        for (number, _), tensor in zip(pieces, tensors, strict=True):
            alive = [row for row, path in enumerate(paths) if number < len(path)]
            rows = [paths[row][number] for row in alive]
            stop = start + tensor.shape[2]
            if alive:
                whole[alive, :, start:stop, : tensor.shape[3]] = tensor[rows]
            start = stop
        return whole

    return _each([piece for _, piece in pieces], gathered)


def concat_batch(key: Key, pieces: Sequence[Slice]) -> Slice:
    """Put pieces below one another along `batch`, padded with zeros in time and width.

    Raises:
        ValueError: If they have not equally many heads.
    """
    heads = sorted({piece.values.shape[1] for piece in pieces})
    if len(heads) > 1:
        raise ValueError(
            f"{key.name!r} reported attention with {heads} heads in different calls; expected the "
            "same number of heads under one name"
        )

    def stacked(tensors: Sequence[Tensor]) -> Tensor:
        time, width = (max(tensor.shape[axis] for tensor in tensors) for axis in (2, 3))
        return torch.cat(
            [nn.functional.pad(t, (0, width - t.shape[3], 0, time - t.shape[2])) for t in tensors]
        )

    return _each(pieces, stacked)


def concat_time(pieces: Sequence[Slice]) -> Slice:
    """Put the pieces of a loop together along time, padded with zeros in width."""

    def joined(tensors: Sequence[Tensor]) -> Tensor:
        width = max(tensor.shape[3] for tensor in tensors)
        return torch.cat([nn.functional.pad(t, (0, width - t.shape[3])) for t in tensors], 2)

    return _each(pieces, joined)


def index_rows(piece: Slice, order: Sequence[int]) -> Slice:
    """The piece with its rows in this order."""
    return _each([piece], lambda tensors: tensors[0][list(order)])


def empty_like(piece: Slice, batch: int) -> Slice:
    """As many rows, in which nothing was heard."""
    return _each([piece], lambda t: t[0].new_zeros(batch, t[0].shape[1], 0, 0))


def _each(pieces: Sequence[Slice], put: Callable[[Sequence[Tensor]], Tensor]) -> Slice:
    """Do the same with values and indices."""
    indices = [piece.indices for piece in pieces if piece.indices is not None]
    return Slice(
        put([piece.values for piece in pieces]),
        put(indices) if indices else None,
        max(piece.width for piece in pieces),
        has_time=all(piece.has_time for piece in pieces),
    )
