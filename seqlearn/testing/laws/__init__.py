"""The laws, one file per theme, in the order of their numbers."""

from __future__ import annotations

from seqlearn.testing.definition import Law
from seqlearn.testing.laws import (
    attention,
    causality,
    checkpointing,
    decoding,
    distributed,
    incremental,
    learning,
    padding,
    shapes,
    side_effects,
)

LAWS: tuple[Law, ...] = (
    *attention.LAWS,
    *shapes.LAWS,
    *padding.LAWS,
    *causality.LAWS,
    *incremental.LAWS,
    *decoding.LAWS,
    *side_effects.LAWS,
    *learning.LAWS,
    *checkpointing.LAWS,
    *distributed.LAWS,
)
"""All laws, in the order of their numbers."""
