"""Vectors and texts that stand side by side in one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from seqlearn.data.preparation import Split
from seqlearn.data.sources.tables import MemoryTable, is_table

TEXTS_ONLY = (
    "a vector with a class or another vector is no sequence model; what is: a vector with a text "
    "(a class may be given in words), a text with a vector, and a text with a class (LabelledText)"
)
"""Why a vector with a label is refused."""


def is_vector_table(given: Any) -> bool:
    """Whether a split is a table, not a pair `(vectors, texts)`."""
    if not is_table(given) or isinstance(given, np.ndarray):
        return False
    if not isinstance(given, tuple | list):
        return True
    pairs = all(isinstance(row, tuple | list) and len(row) == 2 for row in given)
    words = all(isinstance(row[1], str) for row in given) if pairs else False
    first = not given or isinstance(given[0], Mapping)
    return first or (words and not isinstance(given[0][0], str))


def vector_columns(split: Split, given: Any, columns: Any) -> tuple[Any, list[str]]:
    """The vectors and the texts of a table.

    Args:
        split: What the table is for, to be named in errors.
        given: The table.
        columns: The column (or list of columns) of the vectors and that of the texts, or `None`.

    Raises:
        ValueError: If it is no table, a column is not there, or a text is none.
    """
    if not is_table(given) or (isinstance(given, tuple | list) and not is_vector_table(given)):
        raise ValueError(
            f"{split}: columns={columns} are for a table, but {split} is a pair (vectors, texts); "
            "leave out columns"
        )
    names = None
    if columns is not None:
        numbers, text = columns
        names = [numbers, text] if isinstance(numbers, str) else [*numbers, text]
    table = MemoryTable(split, given, names, ("vector", "text"), any_two=True)
    one = columns is None or isinstance(columns[0], str)
    vectors, texts = [], []
    for number, (*cells, text) in table.rows():
        if not isinstance(text, str):
            raise ValueError(  # noqa: TRY004 -- bad data is a ValueError, here as everywhere
                f"{table.place(number)}: expected a text, got {type(text).__name__} "
                f"{str(text)[:40]!r}; {TEXTS_ONLY}"
            )
        vectors.append(cells[0] if one else cells)
        texts.append(text)
    return vectors, texts
