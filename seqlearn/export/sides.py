"""Source and target of an exported model: raw values to arrays, and back.

This file imports nothing of seqlearn or torch, for each exported folder holds a copy of it.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

PAD, UNKNOWN, START, END = 0, 1, 2, 3

Array = NDArray[Any]


class UnknownSymbolWarning(UserWarning):
    """Inputs have symbols outside the vocabulary, and training had none.

    Args:
        numbers: The numbers of the inputs, from 1.
        name: What the warning calls an input.
    """

    def __init__(self, numbers: Sequence[int], name: str) -> None:
        self.numbers, self.name = numbers, name
        super().__init__(
            f"symbols outside the vocabulary were encoded as unknown in {len(numbers)} of the "
            f"{name}s, the first of them {name} {numbers[0]}"
        )

    def __reduce__(self) -> tuple[type[UnknownSymbolWarning], tuple[Sequence[int], str]]:
        return type(self), (self.numbers, self.name)


class Side:
    """A source or a target: encodes what a user passes, decodes what a model returns.

    Args:
        plain: Its entry in `export.json`; `None` if there is none.

    Raises:
        ValueError: If it is of another kind.
    """

    def __init__(self, plain: Mapping[str, Any] | None) -> None:
        self._plain = plain or {}
        self.kind = self._plain.get("kind")
        if self.kind not in (None, "text", "classes", "vector"):
            raise ValueError(f"expected text, classes or vector, got {self.kind!r}")
        definition = self._plain.get("tokenizer")
        self._tokenizer = None if definition is None else Tokenizer.from_str(definition)

    @property
    def is_text(self) -> bool:
        """Whether it is text, which has a length."""
        return self.kind == "text"

    def encode(self, values: Sequence[Any], name: str) -> list[Any]:
        """Encode each value; errors call it by `name`."""
        if isinstance(values, str | bytes):
            raise TypeError(f"expected a list of {name}s, got one string; put it into a list")
        if isinstance(values, Mapping) or hasattr(values, "columns"):
            raise TypeError(
                f"expected a list of {name}s, got {type(values).__name__}; pass one of its columns"
            )
        if isinstance(values, AbstractSet) or not isinstance(values, Iterable):
            raise TypeError(f"expected a list of {name}s, got {type(values).__name__}")
        encode = self._ids if self.is_text else self._vector
        encoded = [encode(value, f"{name} {number}") for number, value in enumerate(values, 1)]
        if self.is_text and not self._plain["unk_in_training"]:
            unknown = [number for number, ids in enumerate(encoded, 1) if UNKNOWN in ids]
            if unknown:
                warnings.warn(UnknownSymbolWarning(unknown, name), stacklevel=4)
        return encoded

    def decode(self, rows: Sequence[Sequence[int]]) -> list[Any]:
        """Texts of ids, or the ids where there is no tokenizer; without padding, start and end."""
        kept = [[int(i) for i in ids if i not in (PAD, START, END)] for ids in rows]
        if self._tokenizer is None:
            return kept
        return [self._tokenizer.decode(ids, skip_special_tokens=False) for ids in kept]

    def restore(self, vectors: Array) -> list[Array]:
        """Predicted vectors in the units of the data."""
        if (mean := self._plain["mean"]) is not None:
            vectors = vectors * np.float32(self._plain["std"]) + np.float32(mean)
        return list(vectors)

    def _ids(self, value: Any, where: str) -> list[int]:
        if isinstance(value, str):
            if self._tokenizer is None:
                raise ValueError(f"{where}: got a text, and this model has no tokenizer; pass ids")
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise ValueError(
                    f"{where}: character {error.start + 1} is half of a surrogate pair; remove it"
                ) from error
            encoded = list(self._tokenizer.encode(value, add_special_tokens=False).ids)
            if any(number in (PAD, START, END) for number in encoded):
                raise ValueError(
                    f"{where}: the tokenizer encodes a part of {value!r:.40} as padding, start or "
                    "end; remove it"
                )
            return encoded
        listed = value.tolist() if hasattr(value, "tolist") else value
        try:
            if not isinstance(listed, Sequence) or isinstance(listed, bytes | bytearray):
                raise TypeError
            if any(isinstance(each, bool) for each in listed):
                raise TypeError
            ids = [operator.index(each) for each in listed]
        except TypeError:
            raise TypeError(
                f"{where}: expected a text or a list of ids, got {value!r:.40}"
            ) from None
        wrong = [i for i in ids if i in (PAD, START, END) or not 0 <= i < self._plain["vocab_size"]]
        if wrong:
            raise ValueError(
                f"{where}: expected ids below {self._plain['vocab_size']} without padding, start "
                f"and end, got {wrong[0]}"
            )
        return ids

    def _vector(self, value: Any, where: str) -> Array:
        wanted = f"{where}: expected {self._plain['size']} finite numbers"
        try:
            array = np.asarray(value.tolist() if hasattr(value, "tolist") else value)
        except (TypeError, ValueError):
            array = np.asarray(None)
        if array.dtype.kind not in "iufb" and array.size:
            raise TypeError(f"{wanted}, got {value!r:.40}")
        with np.errstate(over="ignore"):
            vector = array.astype(np.float32)
        if vector.shape != (self._plain["size"],) or not np.isfinite(vector).all():
            raise ValueError(f"{wanted}, got {value!r:.40}")
        return vector


def read_lines(data: bytes) -> list[str]:
    """The lines of a file, each without its line feed, and a carriage return before it.

    Raises:
        SystemExit: If a line is not UTF-8.
    """
    lines = data.removesuffix(b"\n").split(b"\n") if data else []
    decoded = []
    for number, line in enumerate(lines, 1):
        try:
            decoded.append(line.removesuffix(b"\r").decode())
        except UnicodeDecodeError as error:
            raise SystemExit(f"line {number}: expected UTF-8, got {error}") from error
    return decoded


def answer_lines(predict: Callable[[list[str]], list[Any]], lines: Sequence[str]) -> list[str]:
    """A line for each line, and an empty one for an empty one. Warnings name lines."""
    places = [number for number, line in enumerate(lines, 1) if line]
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UnknownSymbolWarning)
            answers = iter(predict([line for line in lines if line]))
    finally:
        for one in caught:
            found: Any = one.message
            if isinstance(found, UnknownSymbolWarning):
                found = UnknownSymbolWarning(
                    [places[number - 1] for number in found.numbers], "line"
                )
            warnings.showwarning(found, one.category, one.filename, one.lineno)
    return [_one_line(next(answers)) if line else "" for line in lines]


def _one_line(answer: Any) -> str:
    """A prediction as `seqlearn predict` writes it: numbers with spaces between, in one line."""
    value = answer.tolist() if hasattr(answer, "tolist") else answer
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return " ".join(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
