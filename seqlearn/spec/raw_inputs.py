"""Checks of what users pass to a model: lists of texts, lists of ids, and vectors.

A wrong type is a `TypeError`, a wrong value a `ValueError`; every message names the item.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqlearn.batch import END, PAD, START, UNKNOWN

EXAMPLES_NAMED = 5
"""How many unknown symbols a message names."""


class UnknownSymbolWarning(UserWarning):
    """Texts contain symbols that do not occur in training; they are encoded as unknown (`<unk>`).

    To refuse such texts: `warnings.simplefilter("error", UnknownSymbolWarning)`.
    """


class EncodedIds(list[int]):
    """The ids of one row of a batch. They come from a data module and are not checked again."""


def check_surrogates(text: str) -> None:
    """Check that a text has no unpaired surrogate, which is not a character.

    Raises:
        ValueError: If the text contains one; the message says where.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"character {error.start + 1} is {text[error.start]!r}, half of a surrogate pair, "
            "which no text file can hold; remove it"
        ) from error


def unknown_symbols(ids: Sequence[int], offsets: Sequence[tuple[int, int]], text: str) -> list[str]:
    """The parts of a text that were encoded as unknown, each with its place.

    Args:
        ids: Of each token.
        offsets: Where each token starts and ends in the text.
        text: The text.
    """
    spans = [span for token, span in zip(ids, offsets, strict=True) if token == UNKNOWN]
    return [f"{text[start:end]!r} at character {start + 1}" for start, end in spans]


def check_list(values: Any, label: str) -> list[Any]:
    """Turn an argument for several items into a list.

    Args:
        values: A list, tuple, array, tensor or other iterable in a fixed order.
        label: The name of one item in errors, such as `"source"`.

    Raises:
        TypeError: If it is one string, or not a list of items.
    """
    if isinstance(values, str | bytes):
        kind = "string" if isinstance(values, str) else "bytes object"
        raise TypeError(f"expected a list of {label}s, got one {kind}; pass [{values[:40]!r}]")
    advice = None
    if hasattr(values, "_fields"):
        advice = "use model.generate_batch(batch) or trainer.predict for a batch"
    elif hasattr(values, "columns") or isinstance(values, Mapping):
        advice = "pass one of its columns"
    elif isinstance(values, AbstractSet) or not isinstance(values, Iterable) or _is_scalar(values):
        advice = f"pass a list, such as [{label}]"
    if advice is not None:
        raise TypeError(f"expected a list of {label}s, got {type(values).__name__}; {advice}")
    return list(values)


def to_ids(value: Any, vocab_size: int, label: str) -> list[int]:
    """Turn a list, an array or a tensor of integers into a list of ids.

    Args:
        value: The argument.
        vocab_size: Number of ids, the four reserved ones included.
        label: How an error names it.

    Raises:
        TypeError: If it is not one list of integers.
        ValueError: If an id is outside the vocabulary, or is padding, start or end.
    """
    wanted = f"{label}: expected a text or a list of ids, got"
    if isinstance(value, bytes | bytearray):
        raise TypeError(f"{wanted} bytes; decode them first, with .decode('utf-8')")
    items = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(items, int | float) and not isinstance(items, bool):
        raise TypeError(f"{wanted} the number {items}; put the ids of each text in a list")
    if isinstance(items, Mapping | AbstractSet) or not isinstance(items, Iterable):
        raise TypeError(f"{wanted} {'None' if items is None else type(value).__name__}")
    ids: list[int] = []
    for position, item in enumerate(items, 1):
        token = item.item() if _is_scalar(item) else item
        if type(token) is not int:
            kind = (
                "a list within a list" if isinstance(token, list | tuple) else type(token).__name__
            )
            shown = repr(token)[:40]
            raise TypeError(f"{wanted} {kind} ({shown}) at position {position}; ids are integers")
        if not 0 <= token < vocab_size:
            raise ValueError(f"{label}: expected ids from 0 to {vocab_size - 1}, got {token}")
        ids.append(token)
    check_no_special_ids(ids, label)
    return ids


def written_ids(ids: Any) -> list[int]:
    """The ids of a generated or padded row, which may be reserved ones, as a list of `int`.

    Args:
        ids: A list, an array or a tensor of integers.

    Raises:
        TypeError: If it is not one row of integers.

    Examples:
        >>> written_ids(np.array([2, 4, 3, 0]))
        [2, 4, 3, 0]
    """
    try:
        return [operator.index(token) for token in ids]
    except TypeError:
        raise TypeError(
            "expected a list of ids (whole numbers) for each text, such as [[4, 5], [6]], got a "
            f"row {str(ids)[:60]} ({type(ids).__name__})"
        ) from None


def check_no_special_ids(ids: Sequence[int], label: str) -> None:
    """Check that ids are those of a text, without padding, start and end.

    Raises:
        ValueError: If one of them is among the ids.
    """
    if any(token in (PAD, START, END) for token in ids):
        raise ValueError(
            f"{label}: expected the ids of a text, without padding ({PAD}), start ({START}) and "
            f"end ({END}), got {list(ids)[:10]}; cut padding off with row[:length], start and end "
            "with row[1:length - 1], or use trainer.predict, which reads batches as they are"
        )


def to_vector(value: Any, size: int, label: str) -> NDArray[np.float32]:
    """Make a vector of `size` numbers, in single precision.

    Args:
        value: A list, an array or a tensor.
        size: Numbers in it.
        label: How an error names it.

    Raises:
        TypeError: If it is not made of numbers.
        ValueError: If there are not `size` of them, or one is not finite.
    """
    try:
        array = np.asarray(value.tolist() if hasattr(value, "tolist") else value)
    except (TypeError, ValueError):
        array = np.asarray(None)
    if array.dtype.kind not in "iufb" and array.size:
        kind = "" if isinstance(value, str) else f"{type(value).__name__} "
        raise TypeError(
            f"{label}: expected {size} numbers, got {kind}{str(value)[:40]!r}; pass a list, an "
            "array or a tensor of numbers"
        )
    if array.shape != (size,):
        raise ValueError(f"{label}: expected {size} numbers, got {array.shape}")
    with np.errstate(over="ignore"):
        vector = array.astype(np.float32)
    if not np.isfinite(vector).all():
        position = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise ValueError(
            f"{label}: expected finite numbers, got {array[position]} at position {position + 1}"
        )
    return vector


def unmasked(value: Any) -> Any:
    """A masked array with NaN where a number is masked; anything else as it is."""
    if not np.ma.is_masked(value):
        return value
    numbers = np.asarray(value, np.float64)
    return np.where(np.ma.getmaskarray(value), np.nan, numbers)


def to_series(value: Any, size: int, label: str, *, missing: bool) -> NDArray[np.float32]:
    """Make an array `time size`, in single precision.

    Args:
        value: An array, a tensor or nested lists `time size`; also `time` if `size` is 1.
        size: Numbers of each time step.
        label: How an error names it.
        missing: Whether a number may be NaN.

    Raises:
        TypeError: If it is not made of numbers.
        ValueError: If its shape is another one, or a number is not finite.
    """
    form = f"a series of vectors of {size} number{'s' * (size > 1)}, (time, {size})"
    if isinstance(value, str | bytes) or not hasattr(value, "__len__"):
        raise TypeError(f"{label}: expected {form}, got {type(value).__name__} {str(value)[:40]!r}")
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        array = np.asarray(unmasked(value))
        if array.dtype.kind not in "iufb":
            array = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        widths = sorted({np.size(row) for row in value})
        found = f"vectors of {widths[:5]} numbers" if len(widths) > 1 else f"{str(value)[:40]!r}"
        raise ValueError(f"{label}: expected {form}, got {found}") from error
    if array.ndim == 1 and (size == 1 or not len(array)):
        array = array.reshape(-1, size)
    if array.ndim != 2 or array.shape[1] != size:
        raise ValueError(f"{label}: expected {form}, got an array of shape {array.shape}")
    with np.errstate(over="ignore"):
        series = array.astype(np.float32)
    wrong = np.isinf(series) if missing else ~np.isfinite(series)
    if wrong.any():
        time, column = np.argwhere(wrong)[0]
        masked = "; Series(…, missing=True) accepts NaN" if np.isnan(series[time, column]) else ""
        raise ValueError(
            f"{label}: expected finite numbers, got {array[time, column]} at time step {time + 1}, "
            f"number {column + 1}{masked}"
        )
    return series


def warn_unknown(found: Sequence[tuple[str, str]], count: int, label: str) -> None:
    """Warn about symbols that were encoded as unknown.

    Args:
        found: For each text with such a symbol its name, and the symbol with its position.
        count: Number of texts.
        label: The name of one text.
    """
    named = "; ".join(f"{name}: {symbol}" for name, symbol in found[:EXAMPLES_NAMED])
    more = f"; and {len(found) - EXAMPLES_NAMED} more" if len(found) > EXAMPLES_NAMED else ""
    warnings.warn(
        f"symbols that do not occur in the training data are encoded as unknown, which the model "
        f"never saw, in {len(found)} of {count} {label}s: {named}{more}",
        UnknownSymbolWarning,
        stacklevel=3,
    )


def _is_scalar(value: Any) -> bool:
    """Whether a value is a scalar of numpy or torch."""
    return hasattr(value, "item") and getattr(value, "ndim", None) == 0
