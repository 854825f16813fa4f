"""Maximum length of training examples: longer ones are an error, dropped or truncated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

Overflow = Literal["error", "drop", "truncate"]
"""How to treat a training example that is longer than `max_length`."""


def check_length_limit(max_length: int | None, overflow: str) -> None:
    """Check the two attributes of a field.

    Raises:
        ValueError: If `max_length` is below 1, or `overflow` is not one of `Overflow`.
    """
    if max_length is not None and max_length < 1:
        raise ValueError(f"expected a max_length of at least 1, got {max_length}")
    if overflow not in get_args(Overflow):
        raise ValueError(
            f"expected overflow to be one of {', '.join(get_args(Overflow))}, got {overflow!r}"
        )


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
        self._units = {side: getattr(field, "length_unit", "") for side, field in fields.items()}
        self._describe_row = describe_row
        self._total = 0
        self._dropped: list[NDArray[np.int64]] = []
        self._truncated: dict[str, list[int]] = {}  # the number of texts, and the first row

    def apply(self, encoded: dict[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """Apply the limits to the next examples.

        Args:
            encoded: By side, the ids of each text (or class ids, vectors, or series).

        Returns:
            The same for the examples that are not dropped, with truncated texts and series.

        Raises:
            ValueError: If an example is too long and `overflow="error"`; the message names it.
        """
        first, size = self._total, len(next(iter(encoded.values())))
        self._total += size
        keep = np.ones(size, dtype=bool)
        for side, (most, overflow) in self._limits.items():
            long = [row for row, ids in enumerate(encoded[side]) if len(ids) > most]
            if long and overflow == "error":
                length = len(encoded[side][long[0]])
                raise ValueError(
                    f"{self._describe_row(first + long[0])}: {side}: expected at most "
                    f"max_length={most} {self._units[side]}, got {length}; remove the example, or "
                    "set overflow='drop' or overflow='truncate'"
                )
            if overflow == "drop":
                keep[long] = False
        result = dict(encoded)
        if not keep.all():
            self._dropped.append(first + np.flatnonzero(~keep))
            rows = np.flatnonzero(keep).tolist()
            result = {side: [values[row] for row in rows] for side, values in encoded.items()}
        kept = first + np.flatnonzero(keep)
        for side, (most, overflow) in self._limits.items():
            if overflow == "truncate":
                cut = [row for row, ids in zip(kept, result[side], strict=True) if len(ids) > most]
                if cut:
                    count = self._truncated.setdefault(side, [0, int(cut[0])])
                    count[0] += len(cut)
                    result[side] = [ids[:most] for ids in result[side]]
        return result

    @property
    def kept(self) -> NDArray[np.int64] | None:
        """The rows that were not dropped; `None` if none was dropped."""
        if not self._dropped:
            return None
        keep = np.ones(self._total, dtype=bool)
        keep[np.concatenate(self._dropped)] = False
        return np.flatnonzero(keep)

    def summary(self) -> dict[str, Any]:
        """Counts and first rows of dropped and truncated examples, as plain data."""
        dropped = np.concatenate(self._dropped) if self._dropped else None
        return {
            "total": self._total,
            "dropped": None if dropped is None else [len(dropped), int(dropped[0])],
            "truncated": self._truncated,
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
            f"train: {count} of {total} examples are dropped, because they are longer than "
            f"max_length allows ({limits}); the first is {describe_row(first)}"
        )
    for side, (count, first) in summary["truncated"].items():
        rank_zero_warn(
            f"train: the {side} of {count} of {total} examples is truncated to max_length "
            f"({limits}); the first is {describe_row(first)}"
        )
