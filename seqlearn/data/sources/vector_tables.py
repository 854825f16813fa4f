"""Vectors and texts as columns of one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from seqlearn.data.columns import check_text
from seqlearn.data.preparation import Split
from seqlearn.data.sources.tables import MemoryTable, is_table

TEXTS_ONLY = (
    "a vector paired with a class or another vector has no sequence; supported are a vector with a "
    "text (which may name a class), a text with a vector, and a text with a class (LabelledText)"
)
"""The message for vectors with labels."""


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
    """Read the vectors and the texts of a table.

    Args:
        split: The split of the table, for errors.
        given: The table.
        columns: The column (or list of columns) of the vectors and that of the texts, or `None`.

    Raises:
        ValueError: If it is not a table, a column does not exist, or a text is not a string.
    """
    if not is_table(given) or (isinstance(given, tuple | list) and not is_vector_table(given)):
        raise ValueError(
            f"{split}: columns={columns} are for a table, but {split} is a pair (vectors, texts); "
            "remove columns"
        )
    names = None
    if columns is not None:
        numbers, text = columns
        names = [numbers, text] if isinstance(numbers, str) else [*numbers, text]
    table = MemoryTable(split, given, names, ("vector", "text"), any_two=True)
    one = columns is None or isinstance(columns[0], str)
    vectors, texts = [], []
    for number, (*cells, text) in table.rows():
        vectors.append(cells[0] if one else cells)
        texts.append(check_text(text, table.location(number), TEXTS_ONLY))
    return vectors, texts
