"""The laws, in files by theme, in the order of their numbers."""

from __future__ import annotations

from seqlearn.testing.law import Law
from seqlearn.testing.laws import (
    attention,
    causality,
    decoding,
    learning,
    looking,
    padding,
    saving,
    shapes,
    steps,
    together,
)

LAWS: tuple[Law, ...] = (
    *attention.LAWS,
    *shapes.LAWS,
    *padding.LAWS,
    *causality.LAWS,
    *steps.LAWS,
    *decoding.LAWS,
    *looking.LAWS,
    *learning.LAWS,
    *saving.LAWS,
    *together.LAWS,
)
"""All laws, in the order of their numbers."""
