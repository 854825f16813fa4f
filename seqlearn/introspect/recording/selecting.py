"""Parts of a recording: some modules, one head, or one example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from torch import Tensor

from seqlearn.introspect.recording.kinds import KINDS

R = TypeVar("R", bound=Any)
"""A `Recording`."""


def select_modules(recording: R, patterns: Sequence[str]) -> R:
    """The recording of the modules whose names match one of the patterns.

    Raises:
        ValueError: If a pattern matches no module.
    """
    recorded = recording.modules
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in recorded):
            raise ValueError(f"nothing of {pattern!r} was recorded; recorded: {recorded}")
    names = {name for name in recorded if any(fnmatchcase(name, p) for p in patterns)}
    parts: Any = {
        part: {name: value for name, value in getattr(recording, part).items() if name in names}
        for part in ("attention", "states", "gates", "axes", "time_axis")
    }
    for part in ("extra", "extra_axes"):
        parts[part] = {
            kind: {name: value for name, value in by_name.items() if name in names}
            for kind, by_name in getattr(recording, part).items()
        }
    selected: Any = replace(recording, **parts)
    return selected


def select_head(recording: R, head: int) -> R:
    """The recording with one head of each attention module that has it, also in `extra`.

    Raises:
        IndexError: If none has it.
    """
    heads = max((weights.shape[1] for weights in recording.attention.values()), default=0)
    if not 0 <= head < heads:
        raise IndexError(f"expected a head from 0 to {heads - 1}, got {head}")
    attention = {
        name: weights[:, head : head + 1]
        for name, weights in recording.attention.items()
        if head < weights.shape[1]
    }
    axes = {name: axes for name, axes in recording.axes.items() if name in attention}
    extra = {
        kind: {
            name: tensor[:, head : head + 1] if _has_heads(kind, tensor) else tensor
            for name, tensor in tensors.items()
            if not _has_heads(kind, tensor) or head < tensor.shape[1]
        }
        for kind, tensors in recording.extra.items()
    }
    selected: Any = replace(recording, attention=attention, axes=axes, extra=extra)
    return selected


def _has_heads(kind: str, tensor: Tensor) -> bool:
    """Whether a tensor has heads; its kind may have combined them, or be unknown after loading."""
    known = KINDS.get(kind)
    return known is not None and "heads" in known.axes and tensor.ndim == len(known.axes)


def select_example(recording: R, example: int) -> R:
    """The recording of one example, as a batch of one, without padding where its length is known.

    Modules that were not recorded once for each example are left out.

    Raises:
        IndexError: If there is no such example.
    """
    count = len(recording.tokens)
    if not 0 <= example < count:
        raise IndexError(f"expected an example from 0 to {count - 1}, got {example}")

    def cut(tensor: Tensor, *axes: Any) -> Tensor:
        one = tensor[example : example + 1]
        for place, axis in zip((-2, -1), axes, strict=False):
            tokens = recording.tokens_along(axis, example)
            if tokens is not None and one.ndim > 2:
                one = one.narrow(place, 0, min(len(tokens), one.shape[place]))
        return one

    times = recording.time_axis
    states = {n: cut(t, times.get(n)) for n, t in recording.states.items() if len(t) == count}
    gates = {
        name: {gate: cut(tensor, times.get(name)) for gate, tensor in gates.items()}
        for name, gates in recording.gates.items()
        if all(len(tensor) == count for tensor in gates.values())
    }
    names = [name for name, weights in recording.attention.items() if len(weights) == count]
    extra = {
        kind: {
            name: cut(tensor, *recording.extra_axes.get(kind, {}).get(name, ()))
            for name, tensor in tensors.items()
            if len(tensor) == count
        }
        for kind, tensors in recording.extra.items()
    }
    selected: Any = replace(
        recording,
        attention={name: recording.weights_of(name, example)[None] for name in names},
        states=states,
        gates=gates,
        tokens=[recording.tokens[example]],
        axes={name: axes for name, axes in recording.axes.items() if name in names},
        time_axis={n: time for n, time in times.items() if n in states or n in gates},
        extra=extra,
    )
    return selected
