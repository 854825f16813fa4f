"""Which sequences the axes of recorded tensors follow: as stated, else inferred from their sizes.

Modules of seqlearn state their axes. For modules of other libraries, and for `sl.probe` without
`axes=`, they are inferred from the numbers of queries and keys in each step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from seqlearn.instrumentation import Axes
from seqlearn.introspect.recording.assembly import Key, Slice, Step
from seqlearn.introspect.recording.kinds import KINDS


def encoder_axes(
    key: Key, slices: Sequence[Slice], width: int | None, stated: Axes | None
) -> Axes | None:
    """The axes of the tensors that an encoder module reported.

    Args:
        key: The kind and the module.
        slices: What it reported for one batch, in the order of its calls.
        width: Positions of the padded source; `None` without a source.
        stated: The axes that the module stated; `None` if it stated none.

    Returns:
        `(queries, keys)` of attention, `(steps,)` of states and gates; `None` if not known. Stated
        axes that do not fit the sizes, such as "source" over a memory that is shorter than the
        source, are not known either: they could not be labelled.
    """
    times = {one.values.shape[2] for one in slices}
    sizes = [times, {one.width for one in slices}]
    if stated is not None:
        expected = {"source": {width}, "pooled": {1}}
        fit = all(
            size == expected.get(axis, size) for axis, size in zip(stated, sizes, strict=False)
        )
        return stated if fit else None
    if width is None or not all(one.has_time for one in slices):
        return None
    if not KINDS[key.kind].has_keys:
        return ("source",) if times == {width} else None
    if sizes[1] != {width}:
        return None
    if times == {width}:
        return "source", "source"
    return ("pooled", "source") if times == {1} else None


def decoder_axes(
    key: Key,
    steps: Sequence[Step],
    num_inputs: Sequence[int],
    width: int | None,
    stated: Axes | None,
) -> Axes | None:
    """The axes of the tensors that a decoder module reported, step by step.

    Args:
        key: The kind and the module.
        steps: The decoding steps.
        num_inputs: The number of tokens that the decoder received in each step.
        width: Positions of the padded source; `None` without a source.
        stated: The axes that the module stated; `None` if it stated none.

    Returns:
        As `encoder_axes`.
    """
    if KINDS[key.kind].over_steps == "last":
        return stated
    slices = [step.activations[key][0] if key in step.activations else None for step in steps]
    queries = [p.values.shape[2] if p is not None and p.has_time else 0 for p in slices]
    keys = [None if one is None else one.width for one in slices]
    total = [sum(num_inputs[: number + 1]) for number in range(len(num_inputs))]
    if stated is not None:
        # An axis of the source or a pooled vector does not grow from step to step.
        once = [[size] if len(steps) == 1 else [] for size in (width, 1)]
        as_query = {"target": list(num_inputs), "source": once[0], "pooled": once[1]}
        as_key = {
            "target": total,
            "source": [width] * len(num_inputs),
            "pooled": [1] * len(num_inputs),
        }
        fit = queries == as_query[stated[0]]
        fit = fit and (len(stated) == 1 or keys == as_key[stated[1]])
        return stated if fit else None
    if not KINDS[key.kind].has_keys:
        return ("target",) if queries == list(num_inputs) else None
    grows, stays = keys == total, set(keys) == {width}
    if grows and stays and num_inputs[0] > 1 and slices[0] is not None:
        # Teacher forcing with target and source of one length: self-attention is causal.
        grows = not (stays := _sees_later_key(slices[0]))
    if grows == stays:  # Neither, or one token over a source of one token: ambiguous.
        return None
    return ("target", "target") if grows else ("target", "source")


def _sees_later_key(one: Slice) -> bool:
    """Whether a query has weight on a key after its own position."""
    if one.indices is None:
        return bool(one.values.triu(1).any())
    query = torch.arange(one.values.shape[2], device=one.indices.device)[:, None]
    return bool((one.values * (one.indices > query)).any())
