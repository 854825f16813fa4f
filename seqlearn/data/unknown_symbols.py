"""Symbols of validation and test examples that do not occur in the training split."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from seqlearn.batch import UNKNOWN
from seqlearn.spec.raw_inputs import UnknownSymbolWarning

FIRST = 2
"""Number of examples of a split that the warning names."""

START_LENGTH = 4096
"""Characters of a long text that are searched first."""


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
            if len(first) == FIRST:
                return
            if isinstance(text, str) and UNKNOWN in ids:
                first.append((number, first_unknown(spec, text)))

    def count(self, split: str, side: str, number: int | None) -> None:
        """Note the tokens of a split outside the vocabulary; `None` without a vocabulary."""
        if number is not None:
            self._counts.setdefault(side, {})[split] = number

    def summary(self) -> dict[str, Any]:
        """Counts and first examples, as plain data."""
        return {"counts": self._counts, "first": self._first}


def first_unknown(spec: Any, text: str) -> str:
    """The first symbol of a text outside the vocabulary, with its position.

    A book is one text, so its start is searched before all of it. It is cut at white space, so that
    no word is.
    """
    length = START_LENGTH
    while length < len(text):
        cut = re.search(r"\s\S*\Z", text[:length])
        found = spec.unknown_symbols(text[: cut.start()]) if cut else []
        if found:
            return str(found[0])
        length *= 4
    return str(next(iter(spec.unknown_symbols(text)), ""))


def warn_of_unknown(summary: Mapping[str, Any], describe_row: Callable[[Any, int], str]) -> None:
    """Warn of each side whose validation or test split has unknown tokens, and training has none.

    Rank zero warns. If the warning is turned into an error, all ranks raise it.

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
        first = f"; the first are {named}" if named else ""
        message = (
            f"the {side} has tokens that do not occur in the training split ({numbers}); they are "
            f"encoded as unknown, an id that does not occur in training{first}"
        )
        with warnings.catch_warnings(record=getattr(rank_zero_only, "rank", 0) not in (0, None)):
            warnings.warn(message, UnknownSymbolWarning, stacklevel=2)
