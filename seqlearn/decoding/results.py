"""The check of what a decoding strategy returns."""

from __future__ import annotations

from typing import Any

from seqlearn.batch import END, PAD, START


def check_generated(
    generated: Any, strategy: object, num_rows: int, max_new_tokens: int, vocab_size: int
) -> list[list[list[int]]]:
    """Check the result of a strategy; see `DecodingStrategy.__call__`.

    Args:
        generated: The result.
        strategy: The strategy, named in errors.
        num_rows: Rows of the prefix.
        max_new_tokens: Most tokens of a text.
        vocab_size: Ids of the target.

    Returns:
        `generated` itself.

    Raises:
        TypeError: If it is not a list of lists of lists of whole numbers.
        ValueError: If the number of rows differs, a row has no text, a text is too long, or an id
            is outside the vocabulary or one of padding, start and end symbol.

    Examples:
        >>> check_generated([[[4, 5], [6]]], None, num_rows=1, max_new_tokens=2, vocab_size=9)
        [[[4, 5], [6]]]
    """
    name = f"the strategy {type(strategy).__name__}"
    if not isinstance(generated, list | tuple):
        raise TypeError(
            f"{name}: expected a list with the texts of each source, got {type(generated).__name__}"
        )
    if len(generated) != num_rows:
        raise ValueError(f"{name}: expected {num_rows} rows, one per source, got {len(generated)}")
    allowed = set(range(vocab_size)) - {PAD, START, END}
    for row, texts in enumerate(generated, 1):
        if not isinstance(texts, list | tuple) or not all(
            isinstance(ids, list | tuple) and all(type(token) is int for token in ids)
            for ids in texts
        ):
            raise TypeError(
                f"{name}: row {row}: expected a list of texts, each a list of ids (int), got "
                f"{texts!r}"
            )
        if not texts:
            raise ValueError(f"{name}: row {row}: expected at least one text, got none")
        for ids in texts:
            if len(ids) > max_new_tokens:
                raise ValueError(
                    f"{name}: row {row}: expected at most max_new_tokens={max_new_tokens} ids, "
                    f"got {len(ids)}"
                )
            if wrong := sorted(set(ids) - allowed):
                raise ValueError(
                    f"{name}: row {row}: expected ids below {vocab_size} without padding ({PAD}), "
                    f"start ({START}) and end ({END}), got {wrong}"
                )
    return list(generated)
