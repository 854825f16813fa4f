"""Draws that decide what the examples of a source are."""

from __future__ import annotations

import random


def seeded_rng(purpose: str) -> random.Random:
    """A generator that is the same in every process, and another for each purpose.

    Args:
        purpose: What is drawn, with the seed: `"splits 0"`. Strings are hashed with SHA-512 here.
    """
    return random.Random(purpose)  # noqa: S311 -- nothing is secret
