"""Seeded random generators of the sources that generate or split examples."""

from __future__ import annotations

import random


def seeded_rng(key: str) -> random.Random:
    """Create a random generator whose seed is a string; the same in every process.

    Args:
        key: Purpose and seed, such as `"splits 0"`; Python hashes strings with SHA-512 here.

    Examples:
        >>> seeded_rng("splits 0").random() == seeded_rng("splits 0").random()
        True
    """
    return random.Random(key)  # noqa: S311 -- not for cryptography
