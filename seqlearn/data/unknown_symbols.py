"""Symbols of validation and test examples that do not occur in the training split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from seqlearn.batch import UNKNOWN
from seqlearn.spec.raw_inputs import EXAMPLES_NAMED, UnknownSymbolWarning


class UnknownSymbols:
    """Counts the tokens outside the vocabulary by side and split, and keeps the first examples."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {}
        self._first: dict[str, dict[str, list[tuple[int, str]]]] = {}

    def keep_first(
        self, split: str, side: str, spec: Any, texts: Sequence[Any], encoded: Any, row: int
    ) -> None:
        """Keep the first examples of a split that have a symbol outside the vocabulary.

        Args:
            split: The split.
            side: `"source"` or `"target"`.
            spec: The type of the side; one without `unknown_symbols` has no vocabulary.
            texts: The texts of consecutive examples.
            encoded: Their ids.
            row: Row of the first text.
        """
        first = self._first.setdefault(side, {}).setdefault(split, [])
        if not hasattr(spec, "unknown_symbols"):
            return
        for number, (text, ids) in enumerate(zip(texts, encoded, strict=True), row):
            if len(first) == EXAMPLES_NAMED:
                return
            if UNKNOWN in ids:
                first.append((number, next(iter(spec.unknown_symbols(text)), "")))

    def count(self, split: str, side: str, number: int | None) -> None:
        """Note the tokens of a split outside the vocabulary; `None` without a vocabulary."""
        if number is not None:
            self._counts.setdefault(side, {})[split] = number

    def summary(self) -> dict[str, Any]:
        """Counts and first examples, as plain data."""
        return {"counts": self._counts, "first": self._first}


def warn_of_unknown(summary: Mapping[str, Any], describe_row: Callable[[Any, int], str]) -> None:
    """Warn of each side whose validation or test split has what training does not have.

    Args:
        summary: That of `UnknownSymbols`.
        describe_row: Describes an example, given split and row.
    """
    for side, counts in summary["counts"].items():
        splits = [split for split in ("val", "test") if counts[split]]
        if not splits or counts["train"]:
            continue
        numbers = ", ".join(f"{counts[split]} in {split}" for split in splits)
        named = "; ".join(
            f"{describe_row(split, row)}: {symbol}"
            for split in splits
            for row, symbol in summary["first"][side][split]
        )
        rank_zero_warn(
            f"the {side} has tokens that do not occur in the training split ({numbers}); they are "
            f"encoded as unknown, an id that does not occur in training; the first are {named}",
            category=UnknownSymbolWarning,
        )
