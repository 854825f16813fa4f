"""The ids that mean the same in every vocabulary."""

from __future__ import annotations

PAD, UNKNOWN, START, END = 0, 1, 2, 3
"""Padding, unknown, start and end of a text."""

SPECIAL_TOKENS = ("<pad>", "<unk>", "<s>", "</s>")
"""How the four reserved ids are written, in the order of their ids."""
