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
class Piece:
    """What a module offered.

    Attributes:
        values: `batch parts time width`.
        places: Of the greatest weights of each row, where they stood; `None` if all were kept.
        width: How wide a row was before.
        timed: False of one vector an example, which belongs to no step.
    """

    values: Tensor
    places: Tensor | None
    width: int
    timed: bool = True

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self.values.nbytes + (0 if self.places is None else self.places.nbytes)


Heard = dict[Key, list[Piece]]
"""By key what was heard, once for each time that it was."""


@dataclass
class Step:
    """One decoding step: which rows of the step before its rows continue, and what was heard."""

    parents: list[int] | None
    heard: Heard = field(default_factory=dict)

    @property
    def fed(self) -> int:
        """Tokens that it fed."""
        pieces = [piece for pieces in self.heard.values() for piece in pieces if piece.timed]
        return max((piece.values.shape[2] for piece in pieces), default=0)


def trace(steps: Sequence[Step], last: int, row: int) -> list[int]:
    """The row of a hypothesis in each step from the first to its last."""
    path = []
    for step in reversed(steps[: last + 1]):
        path.append(row)
        row = row if step.parents is None else step.parents[row]
    return path[::-1]


def histories(steps: Sequence[Step], paths: Sequence[Sequence[int]]) -> Heard:
    """What each path through the steps saw, one row a path, the steps along time."""
    found: Heard = {}
    for key in {key: None for step in steps for key in step.heard}:
        for turn in range(max(len(step.heard.get(key, [])) for step in steps)):
            pieces = [
                (number, step.heard[key][turn])
                for number, step in enumerate(steps)
                if turn < len(step.heard.get(key, []))
            ]
            found.setdefault(key, []).append(_history(pieces, paths))
    return found


def _history(pieces: Sequence[tuple[int, Piece]], paths: Sequence[Sequence[int]]) -> Piece:
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


def below(key: Key, pieces: Sequence[Piece]) -> Piece:
    """Put pieces below one another along `batch`, padded with zeros in time and width.

    Raises:
        ValueError: If they have not equally many heads.
    """
    heads = sorted({piece.values.shape[1] for piece in pieces})
    if len(heads) > 1:
        raise ValueError(
            f"{key.name!r} offered attention with {heads} heads in turn; expected one number of "
            "heads under one name"
        )

    def stacked(tensors: Sequence[Tensor]) -> Tensor:
        time, width = (max(tensor.shape[axis] for tensor in tensors) for axis in (2, 3))
        return torch.cat(
            [nn.functional.pad(t, (0, width - t.shape[3], 0, time - t.shape[2])) for t in tensors]
        )

    return _each(pieces, stacked)


def one_after_another(pieces: Sequence[Piece]) -> Piece:
    """Put the pieces of a loop together along time, padded with zeros in width."""

    def joined(tensors: Sequence[Tensor]) -> Tensor:
        width = max(tensor.shape[3] for tensor in tensors)
        return torch.cat([nn.functional.pad(t, (0, width - t.shape[3])) for t in tensors], 2)

    return _each(pieces, joined)


def rows(piece: Piece, order: Sequence[int]) -> Piece:
    """The piece with its rows in this order."""
    return _each([piece], lambda tensors: tensors[0][list(order)])


def nothing_like(piece: Piece, batch: int) -> Piece:
    """As many rows, in which nothing was heard."""
    return _each([piece], lambda t: t[0].new_zeros(batch, t[0].shape[1], 0, 0))


def _each(pieces: Sequence[Piece], put: Callable[[Sequence[Tensor]], Tensor]) -> Piece:
    """Do the same with values and places."""
    places = [piece.places for piece in pieces if piece.places is not None]
    return Piece(
        put([piece.values for piece in pieces]),
        put(places) if places else None,
        max(piece.width for piece in pieces),
        timed=all(piece.timed for piece in pieces),
    )
