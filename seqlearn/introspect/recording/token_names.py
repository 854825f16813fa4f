"""Names for the tokens of a recorded generation or forward pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from seqlearn.batch import END


def token_names(side: Any, ids: Iterable[int]) -> list[str]:
    """Name token ids.

    Args:
        side: One side of a spec, or any object with a method `tokens(ids)`; `None` names tokens by
            their ids.
        ids: Token ids.

    Examples:
        >>> token_names(None, [4, 5])
        ['4', '5']
    """
    tokens = getattr(side, "tokens", None)
    return list(tokens(ids)) if callable(tokens) else [str(i) for i in ids]


def token_pieces(side: Any, ids: Iterable[int]) -> list[str] | None:
    """The text of token ids in pieces; see `TextSpec.pieces`.

    Args:
        side: One side of a spec, or any object with a method `pieces(ids)`.
        ids: Token ids.

    Examples:
        >>> print(token_pieces(None, [4, 5]))
        None
    """
    pieces = getattr(side, "pieces", None)
    return list(pieces(ids)) if callable(pieces) else None


def source_names(
    spec: Any, source: Tensor | None, lengths: Tensor | None
) -> list[list[str]] | None:
    """The names of the source tokens of each row: of vectors in a sequence, their numbers from 1.

    Args:
        spec: The spec of the model, or `None`.
        source: Ids `batch time`, vectors `batch size` or sequences of vectors `batch time …`.
        lengths: The lengths, where sources are sequences.
    """
    if source is None:
        return None
    if lengths is None and source.is_floating_point():
        return [["vector"]] * len(source)
    if lengths is not None and (source.is_floating_point() or source.ndim > 2):
        return [[str(step) for step in range(1, length + 1)] for length in lengths.tolist()]
    ids: list[list[int]] = source.tolist()
    if lengths is not None:
        ids = [row[:length] for row, length in zip(ids, lengths.tolist(), strict=True)]
    return [token_names(getattr(spec, "source", None), row) for row in ids]


def source_pieces(
    spec: Any, source: Tensor | None, lengths: Tensor | None
) -> list[list[str] | None] | None:
    """The text of each source in pieces; see `token_pieces`. Arguments as of `source_names`."""
    if source is None:
        return None
    if lengths is None or source.is_floating_point() or source.ndim > 2:
        return [None] * len(source)
    ids = [row[:length] for row, length in zip(source.tolist(), lengths.tolist(), strict=True)]
    return [token_pieces(getattr(spec, "source", None), row) for row in ids]


def target_names(
    spec: Any, ids: list[int], num_inputs: int
) -> tuple[list[str], list[str], list[str] | None]:
    """The names of the decoder's inputs and of its outputs.

    Args:
        spec: The spec of the model, or `None`.
        ids: The first decoder input and the generated ids, with or without the end symbol.
        num_inputs: How many tokens the decoder received.

    Returns:
        The inputs and, shifted by one, the outputs; the end symbol is an output, never an input.
        Also the text of the outputs in pieces, where known.
    """
    side = getattr(spec, "target", None)
    whole = ids if ids[-1:] == [END] or len(ids) > num_inputs else [*ids, END]
    fed, outputs = whole[:-1][:num_inputs], whole[1:][:num_inputs]
    return token_names(side, fed), token_names(side, outputs), token_pieces(side, outputs)
