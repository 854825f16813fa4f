"""Which sequences the axes of recorded tensors follow: as stated, else inferred from their sizes.

Modules of seqlearn state their axes. Those of other people's models, and of a `sl.probe` without
`axes=`, are inferred from how many queries and keys there were at each step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from seqlearn.instrumentation import Axes
from seqlearn.introspect.recording.assembly import Key, Slice, Step


def encoder_axes(
    key: Key, pieces: Sequence[Slice], width: int | None, stated: Axes | None
) -> Axes | None:
    """The axes of what an encoder emitted.

    Args:
        key: The kind and the module.
        pieces: What it emitted for one batch, in the order of its calls.
        width: Positions of the padded source; `None` without a source.
        stated: What the module stated, if it did.

    Returns:
        `(queries, keys)` of attention, `(steps,)` of states and gates; `None` if not known. A
        statement that does not fit the sizes, such as "source" over a memory shorter than the
        source, counts as not known: it could not be labelled.
    """
    times = {piece.values.shape[2] for piece in pieces}
    sizes = [times, {piece.width for piece in pieces}]
    if stated is not None:
        expected = {"source": {width}, "pooled": {1}}
        fit = all(
            size == expected.get(axis, size) for axis, size in zip(stated, sizes, strict=False)
        )
        return stated if fit else None
    if width is None or not all(piece.has_time for piece in pieces):
        return None
    if key.kind != "attention":
        return ("source",) if times == {width} else None
    if sizes[1] != {width}:
        return None
    if times == {width}:
        return "source", "source"
    return ("pooled", "source") if times == {1} else None


def decoder_axes(
    key: Key,
    steps: Sequence[Step],
    fed: Sequence[int],
    width: int | None,
    stated: Axes | None,
) -> Axes | None:
    """The axes of what a decoder emitted, step by step.

    Args:
        key: The kind and the module.
        steps: The decoding steps.
        fed: Tokens that each of them read.
        width: Positions of the padded source; `None` without a source.
        stated: What the module stated, if it did.

    Returns:
        As `encoder_axes`.
    """
    pieces = [step.heard[key][0] if key in step.heard else None for step in steps]
    queries = [p.values.shape[2] if p is not None and p.has_time else 0 for p in pieces]
    keys = [None if piece is None else piece.width for piece in pieces]
    read = [sum(fed[: number + 1]) for number in range(len(fed))]
    if stated is not None:
        # What follows the source or a pooled vector does not grow from step to step.
        once = [[size] if len(steps) == 1 else [] for size in (width, 1)]
        as_query = {"target": list(fed), "source": once[0], "pooled": once[1]}
        as_key = {"target": read, "source": [width] * len(fed), "pooled": [1] * len(fed)}
        fit = queries == as_query[stated[0]]
        fit = fit and (len(stated) == 1 or keys == as_key[stated[1]])
        return stated if fit else None
    if key.kind != "attention":
        return ("target",) if queries == list(fed) else None
    grows, stays = keys == read, set(keys) == {width}
    if grows and stays and fed[0] > 1 and pieces[0] is not None:
        # A known target as long as its source: its own keys are seen only up to the query.
        grows = not (stays := _sees_later(pieces[0]))
    if grows == stays:  # Neither, or one token over a source of one: it cannot be told.
        return None
    return ("target", "target") if grows else ("target", "source")


def _sees_later(piece: Slice) -> bool:
    """Whether a query sees a key after its own place."""
    if piece.indices is None:
        return bool(piece.values.triu(1).any())
    query = torch.arange(piece.values.shape[2], device=piece.indices.device)[:, None]
    return bool((piece.values * (piece.indices > query)).any())
