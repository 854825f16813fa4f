"""Combining recorded slices: over forward passes, over decoding steps, row by row.

Every slice has the axes `batch parts time width`: attention weights are `batch heads query key`,
states and gates `batch 1 time width`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqlearn.introspect.recording.kinds import KINDS


class Key(NamedTuple):
    """What a slice belongs to: its kind, the name of the module, and which gate."""

    kind: str
    name: str
    gate: str = ""


@dataclass(frozen=True)
class Slice:
    """A tensor that a module reported once.

    Attributes:
        values: `batch parts time width`.
        indices: For the largest weights of each row, their keys; `None` if all were kept.
        width: The width of a row before the largest were selected.
        has_time: False for one vector per example, which belongs to no time step.
    """

    values: Tensor
    indices: Tensor | None
    width: int
    has_time: bool = True

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return self.values.nbytes + (0 if self.indices is None else self.indices.nbytes)


Activations = dict[Key, list[Slice]]
"""The recorded slices by key, one for each call."""


@dataclass
class Step:
    """One decoding step.

    Attributes:
        parents: For each of its rows, the row of the previous step that it continues; `None` if no
            row has moved.
        activations: What was recorded in it.
    """

    parents: list[int] | None
    activations: Activations = field(default_factory=dict)

    @property
    def num_inputs(self) -> int:
        """The number of tokens that the decoder received in this step."""
        slices = [
            each
            for key, slices in self.activations.items()
            if KINDS[key.kind].over_steps == "concatenate"
            for each in slices
            if each.has_time
        ]
        return max((each.values.shape[2] for each in slices), default=0)


def backtrack(steps: Sequence[Step], last: int, row: int) -> list[int]:
    """The row of a hypothesis in each step, from the first step to its last."""
    path = []
    for step in reversed(steps[: last + 1]):
        path.append(row)
        row = row if step.parents is None else step.parents[row]
    return path[::-1]


def assemble(steps: Sequence[Step], paths: Sequence[Sequence[int]]) -> Activations:
    """Combine the slices along each path through the steps: one row per path."""
    found: Activations = {}
    for key in {key: None for step in steps for key in step.activations}:
        kind = KINDS[key.kind]
        combine = _take_last if kind.over_steps == "last" else _concat_paths
        for call_index in range(max(len(step.activations.get(key, [])) for step in steps)):
            slices = [
                (number, step.activations[key][call_index])
                for number, step in enumerate(steps)
                if call_index < len(step.activations.get(key, []))
            ]
            found.setdefault(key, []).append(combine(slices, paths, kind.padding))
    return found


def _concat_paths(
    slices: Sequence[tuple[int, Slice]], paths: Sequence[Sequence[int]], padding: float
) -> Slice:
    """The steps of each path one after the other in time."""
    slices = _on_paths(slices, paths)
    longest = max((len(path) for path in paths), default=0)
    time = sum(each.values.shape[2] for number, each in slices if number < longest)

    def gather(tensors: Sequence[Tensor]) -> Tensor:
        first = tensors[0]
        width = max(tensor.shape[3] for tensor in tensors)
        whole = first.new_full((len(paths), first.shape[1], time, width), padding)
        start = 0
        for (number, _), tensor in zip(slices, tensors, strict=True):
            active = [row for row, path in enumerate(paths) if number < len(path)]
            rows = [paths[row][number] for row in active]
            stop = start + tensor.shape[2]
            if active:
                whole[active, :, start:stop, : tensor.shape[3]] = tensor[rows]
            start = stop
        return whole

    return _map([each for _, each in slices], gather)


def _take_last(
    slices: Sequence[tuple[int, Slice]], paths: Sequence[Sequence[int]], padding: float
) -> Slice:
    """The last step of each path; padding for a path without steps."""
    slices = _on_paths(slices, paths)

    def gather(tensors: Sequence[Tensor]) -> Tensor:
        time, width = (max(tensor.shape[axis] for tensor in tensors) for axis in (2, 3))
        whole = tensors[0].new_full((len(paths), tensors[0].shape[1], time, width), padding)
        for (number, _), tensor in zip(slices, tensors, strict=True):  # a later step overwrites
            active = [row for row, path in enumerate(paths) if number < len(path)]
            if active:
                whole[active] = padding
                rows = [paths[row][number] for row in active]
                whole[active, :, : tensor.shape[2], : tensor.shape[3]] = tensor[rows]
        return whole

    return _map([each for _, each in slices], gather)


def _on_paths(
    slices: Sequence[tuple[int, Slice]], paths: Sequence[Sequence[int]]
) -> Sequence[tuple[int, Slice]]:
    """The slices up to the end of the longest path; all of them if that has none.

    A beam search ends later than its best hypotheses, and keys of self-attention grow until then.
    """
    longest = max((len(path) for path in paths), default=0)
    return [each for each in slices if each[0] < longest] or slices


def concat_batch(key: Key, slices: Sequence[Slice]) -> Slice:
    """Concatenate slices along `batch`, padded in time and width.

    Raises:
        ValueError: If they have different numbers of heads.
    """
    heads = sorted({each.values.shape[1] for each in slices})
    if len(heads) > 1:
        raise ValueError(
            f"{key.name!r} reported {key.kind} with {heads} heads in different calls; expected the "
            "same number of heads under one name"
        )

    def stack(tensors: Sequence[Tensor]) -> Tensor:
        time, width = (max(tensor.shape[axis] for tensor in tensors) for axis in (2, 3))
        return torch.cat([_padded(key, t, time - t.shape[2], width) for t in tensors])

    return _map(slices, stack)


def concat_time(key: Key, slices: Sequence[Slice]) -> Slice:
    """Combine the slices of a loop along time, padded in width."""
    if KINDS[key.kind].over_steps == "last":
        return slices[-1]

    def join(tensors: Sequence[Tensor]) -> Tensor:
        width = max(tensor.shape[3] for tensor in tensors)
        return torch.cat([_padded(key, t, 0, width) for t in tensors], 2)

    return _map(slices, join)


def _padded(key: Key, tensor: Tensor, steps: int, width: int) -> Tensor:
    """A tensor with more steps, as wide as this."""
    amount = (0, width - tensor.shape[3], 0, steps)
    return nn.functional.pad(tensor, amount, value=KINDS[key.kind].padding)


def index_rows(one: Slice, order: Sequence[int]) -> Slice:
    """The slice with its rows in this order."""
    return _map([one], lambda tensors: tensors[0][list(order)])


def empty_like(one: Slice, batch: int) -> Slice:
    """A slice of `batch` rows and no time steps."""
    return _map([one], lambda t: t[0].new_zeros(batch, t[0].shape[1], 0, 0))


def _map(slices: Sequence[Slice], combine: Callable[[Sequence[Tensor]], Tensor]) -> Slice:
    """Combine the values, and likewise the indices."""
    indices = [each.indices for each in slices if each.indices is not None]
    return Slice(
        combine([each.values for each in slices]),
        combine(indices) if indices else None,
        max(each.width for each in slices),
        has_time=all(each.has_time for each in slices),
    )
