"""Parts of a recording: some modules, or one head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, TypeVar

R = TypeVar("R", bound=Any)
"""A `Recording`."""


def of_modules(recording: R, patterns: Sequence[str]) -> R:
    """What was heard of the modules that fit one of the patterns.

    Raises:
        ValueError: If a pattern fits none.
    """
    heard = list(dict.fromkeys([*recording.attention, *recording.states, *recording.gates]))
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in heard):
            raise ValueError(f"nothing of {pattern!r} was heard; heard: {heard}")
    names = {name for name in heard if any(fnmatchcase(name, pattern) for pattern in patterns)}
    kept: Any = replace(
        recording,
        **{
            part: {name: value for name, value in getattr(recording, part).items() if name in names}
            for part in ("attention", "states", "gates", "axes", "time_axis")
        },
    )
    return kept


def of_head(recording: R, head: int) -> R:
    """The recording with one head of each attention that has it.

    Raises:
        IndexError: If none has it.
    """
    most = max((weights.shape[1] for weights in recording.attention.values()), default=0)
    if not 0 <= head < most:
        raise IndexError(f"expected a head from 0 to {most - 1}, got {head}")
    attention = {
        name: weights[:, head : head + 1]
        for name, weights in recording.attention.items()
        if head < weights.shape[1]
    }
    axes = {name: axes for name, axes in recording.axes.items() if name in attention}
    kept: Any = replace(recording, attention=attention, axes=axes)
    return kept
