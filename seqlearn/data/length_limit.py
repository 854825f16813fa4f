"""Maximum length of training examples: longer ones are an error, dropped or truncated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn


class LengthLimit:
    """Applies the `max_length` of the fields to encoded training examples, and counts them.

    Args:
        fields: The fields by side, `"source"` and `"target"`.
        describe_row: Describes a row in errors.
    """

    def __init__(self, fields: Mapping[str, Any], describe_row: Callable[[int], str]) -> None:
        self._limits = {
            side: (field.max_length, field.overflow)
            for side, field in fields.items()
            if getattr(field, "max_length", None) is not None
        }
        self._describe_row = describe_row
        self._total = 0
        self._kept: list[int] = []
        self._truncated: dict[str, list[int]] = {}

    def apply(self, encoded: dict[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """Apply the limits to the next examples.

        Args:
            encoded: By side, the ids of each text (or class ids, or vectors).

        Returns:
            The same for the examples that are not dropped, with truncated texts.

        Raises:
            ValueError: If an example is too long and `overflow="error"`; the message names it.
        """
        size = len(next(iter(encoded.values())))
        keep = np.ones(size, dtype=bool)
        for side, (most, overflow) in self._limits.items():
            long = [row for row, ids in enumerate(encoded[side]) if len(ids) > most]
            if long and overflow == "error":
                raise ValueError(
                    f"{self._describe_row(self._total + long[0])}: {side}: expected at most "
                    f"max_length={most} tokens, got {len(encoded[side][long[0]])}; remove "
                    "the example, or set overflow='drop' or overflow='truncate'"
                )
            if overflow == "drop":
                keep[long] = False
        kept = np.flatnonzero(keep).tolist()
        result = {side: [values[row] for row in kept] for side, values in encoded.items()}
        for side, (most, overflow) in self._limits.items():
            if overflow == "truncate":
                cut = [row for row, ids in zip(kept, result[side], strict=True) if len(ids) > most]
                self._truncated.setdefault(side, []).extend(self._total + row for row in cut)
                result[side] = [ids[:most] for ids in result[side]]
        self._kept.extend(self._total + row for row in kept)
        self._total += size
        return dict(result)

    @property
    def kept(self) -> list[int] | None:
        """The rows that were not dropped; `None` if none was dropped."""
        return None if len(self._kept) == self._total else self._kept

    def summary(self) -> dict[str, Any]:
        """Counts and first rows of dropped and truncated examples, as plain data."""
        dropped = sorted(set(range(self._total)).difference(self._kept))
        return {
            "total": self._total,
            "dropped": [len(dropped), dropped[0]] if dropped else None,
            "truncated": {side: [len(r), r[0]] for side, r in self._truncated.items() if r},
        }


def warn_of_overflow(
    summary: Mapping[str, Any],
    fields: Mapping[str, Any],
    describe_row: Callable[[int], str],
) -> None:
    """Warn of dropped and truncated training examples: their number and the first one."""
    total = summary["total"]
    limits = ", ".join(
        f"{side} {field.max_length}"
        for side, field in fields.items()
        if getattr(field, "max_length", None) is not None
    )
    if summary["dropped"]:
        count, first = summary["dropped"]
        rank_zero_warn(
            f"train: {count} of {total} examples are dropped, because they have more tokens than "
            f"max_length allows ({limits}); the first is {describe_row(first)}"
        )
    for side, (count, first) in summary["truncated"].items():
        rank_zero_warn(
            f"train: the {side} of {count} of {total} examples is truncated to max_length "
            f"({limits}); the first is {describe_row(first)}"
        )
