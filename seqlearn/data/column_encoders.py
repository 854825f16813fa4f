"""Encoders of one side of one split, which write the files that `EncodedDataset` reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from seqlearn.batch import END, PAD, START, UNKNOWN
from seqlearn.data.class_weights import class_weights
from seqlearn.data.rows import RowWriter, to_row
from seqlearn.data.tokenizers import whole_token_encoder
from seqlearn.spec import ClassesSpec, SideSpec, TextSpec

DescribeRow = Callable[[int], str]
"""Describes the example of a row in error messages."""


@runtime_checkable
class ColumnEncoder(Protocol):
    """Encodes one side of one split, and writes it to files.

    Attributes:
        unknown: How many tokens were outside the vocabulary; `None` without a vocabulary.

    Examples:
        >>> import tempfile
        >>> from seqlearn.spec import VectorSpec
        >>> encoder = ArrayEncoder(VectorSpec(2), "row {}".format, is_target=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     encoder.start(Path(folder), "train.source")
        ...     encoder.append(encoder.encode([[0, 1], [2, 3]], row=0))
        ...     encoder.finish()
        ...     [path.name for path in Path(folder).iterdir()]
        ['train.source.values.npy']
    """

    unknown: int | None

    def encode(self, values: Sequence[Any], row: int) -> Sequence[Any]:
        """Encode the values of consecutive rows; `row` is the first one."""

    def start(self, folder: Path, name: str) -> None:
        """Begin the files that `EncodedDataset` reads; `name` is split and side."""

    def append(self, encoded: Sequence[Any]) -> None:
        """Append rows that `encode` returned to the files."""

    def finish(self) -> None:
        """Complete the files."""

    def update_spec(self, spec: Any, split: str) -> Any:
        """The side of the spec after this split has been encoded."""


class FileEncoder:
    """Writes the rows of a column encoder.

    Args:
        spec: The type of the side.
        is_target: Whether this side is the target.
    """

    def __init__(self, spec: SideSpec, *, is_target: bool) -> None:
        self._spec, self._is_target = spec, is_target

    def start(self, folder: Path, name: str) -> None:
        """Begin the files; `name` is split and side."""
        self._rows = RowWriter(self._spec, is_target=self._is_target, folder=folder, name=name)

    def finish(self) -> None:
        """Complete the files."""
        self._rows.finish()


class TextEncoder(FileEncoder):
    """Encodes texts with the side's tokenizer.

    Attributes:
        longest: Number of tokens of the longest text so far, without start and end.
        unknown: Number of tokens outside the vocabulary.
    """

    def __init__(self, side: TextSpec, describe_row: DescribeRow, *, is_target: bool) -> None:
        super().__init__(side, is_target=is_target)
        assert side.tokenizer is not None
        self._tokenizer = Tokenizer.from_str(side.tokenizer)
        self._fast = whole_token_encoder(self._tokenizer)
        self._describe_row = describe_row
        self.longest = 0
        self.unknown: int | None = 0
        self._unknown = 0

    def encode(self, values: Sequence[str], row: int) -> list[list[int]]:
        """Encode texts to ids, without start and end.

        Args:
            values: The texts.
            row: Row of the first text, for errors.

        Raises:
            ValueError: If the tokenizer produces a padding, start or end id.
        """
        if self._fast is not None:
            return self._fast.encode(values)
        encodings = self._tokenizer.encode_batch_fast(values, add_special_tokens=False)
        lists = [encoding.ids for encoding in encodings]
        ids = _flat(lists)
        reserved = np.flatnonzero(np.isin(ids, (PAD, START, END)))
        if len(reserved):
            index = int(
                np.searchsorted(np.cumsum([len(text) for text in lists]), reserved[0], "right")
            )
            raise ValueError(
                f"{self._describe_row(row + index)}: the tokenizer encodes a part of "
                f"{values[index][:60]!r} as padding, start or end; remove it from the text, or use "
                "another tokenizer"
            )
        return lists

    def append(self, encoded: Sequence[list[int]]) -> None:
        """Append encoded texts."""
        self._unknown += sum(text.count(UNKNOWN) for text in encoded)
        self.unknown = self._unknown
        self.longest = max(self.longest, *(len(text) for text in encoded), 0)
        framed = [[START, *text, END] for text in encoded] if self._is_target else encoded
        self._rows.append(framed)

    def update_spec(self, spec: TextSpec, split: str) -> TextSpec:
        """With the longest text, and whether training has tokens outside the vocabulary."""
        longest = max(spec.max_length, self.longest)
        seen = spec.unk_in_training or (split == "train" and self._unknown > 0)
        return replace(spec, max_length=longest, unk_in_training=seen)


def _flat(texts: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    total = sum(len(text) for text in texts)
    return np.fromiter(chain.from_iterable(texts), dtype=np.int32, count=total)


NOT_IN_TRAINING = "does not occur in the training split, which has"


class ClassEncoder(FileEncoder):
    """Encodes labels as class ids.

    Args:
        side: The labels.
        describe_row: Describes a row in errors.
        weights: The class weights of the field `Classes`.
        given: Whether the labels were given, so that training may lack some.

    Attributes:
        counts: Number of examples of each class.
    """

    unknown: int | None = None

    def __init__(
        self,
        side: ClassesSpec,
        describe_row: DescribeRow,
        weights: str | Mapping[str, float] | None = None,
        *,
        given: bool = False,
    ) -> None:
        super().__init__(side, is_target=True)
        self._given = given
        self._weights = weights
        self._ids = {label: number for number, label in enumerate(side.labels)}
        self._describe_row = describe_row
        self.counts: NDArray[np.int64] = np.zeros(len(side.labels), np.int64)

    def encode(self, values: Sequence[str], row: int) -> list[int]:
        """Encode labels as class ids.

        Args:
            values: The labels.
            row: Row of the first label, for errors.

        Raises:
            ValueError: If a label does not occur in the training split.
        """
        for number, label in enumerate(values):
            if label not in self._ids:
                known = "is not one of" if self._given else NOT_IN_TRAINING
                advice = "" if self._given else ", or add training examples of it"
                raise ValueError(
                    f"{self._describe_row(row + number)}: the label {label!r} {known} "
                    f"{list(self._ids)[:10]}; correct it{advice}"
                )
        return [self._ids[label] for label in values]

    def append(self, encoded: Sequence[int]) -> None:
        """Append class ids."""
        self.counts = self.counts + np.bincount(encoded, minlength=len(self._ids))
        self._rows.append(encoded)

    def update_spec(self, spec: ClassesSpec, split: str) -> ClassesSpec:
        """With the weights of the classes.

        Raises:
            ValueError: If a class has lost all training examples to a `max_length`.
        """
        if split != "train":
            return spec
        lost = [label for label, count in zip(spec.labels, self.counts, strict=True) if not count]
        if lost and self._given and self._weights is not None:
            raise ValueError(
                f"weights: the training split has no example of the label {lost[0]!r}; leave "
                "weights out, or add examples"
            )
        if lost and not self._given:
            raise ValueError(
                f"max_length: all training examples of the label {lost[0]!r} are longer and are "
                "dropped; raise it, or take the label out"
            )
        if self._weights is None:
            return spec
        return replace(spec, weights=class_weights(self._weights, spec.labels, self.counts))


class ArrayEncoder(FileEncoder):
    """Encodes values as arrays of numbers in the type's row format.

    It is the encoder of `Vector`, and of most fields of your own.

    Args:
        spec: The type of the side.
        describe_row: Describes a row in errors.
        is_target: Whether this side is the target.
        encode: Converts a raw value to numbers: nested lists, or an array. A target that is
            generated includes the start and end symbols.
        update_spec: Returns the type after a split, given the type and the length of the longest
            row of the split. The default returns the same type.

    Examples:
        >>> from seqlearn.spec import VectorSpec
        >>> encoder = ArrayEncoder(VectorSpec(2), "row {}".format, is_target=False)
        >>> encoder.encode([[0, 1]], row=0)
        [array([0., 1.], dtype=float32)]
    """

    unknown: int | None = None

    def __init__(
        self,
        spec: SideSpec,
        describe_row: DescribeRow,
        *,
        is_target: bool,
        encode: Callable[[Any], Any] = lambda value: value,
        update_spec: Callable[[Any, int], Any] = lambda spec, _longest: spec,
    ) -> None:
        super().__init__(spec, is_target=is_target)
        self._describe_row = describe_row
        self._encode, self._update_spec = encode, update_spec
        self._longest = 0

    def encode(self, values: Sequence[Any], row: int) -> list[NDArray[Any]]:
        """Encode values as arrays.

        Args:
            values: The values.
            row: Row of the first value, for errors.

        Raises:
            ValueError: If the numbers do not fit the row format.
        """
        rows = []
        for number, value in enumerate(values, row):
            try:
                rows.append(to_row(self._encode(value), self._spec))
            except ValueError as error:
                raise ValueError(f"{self._describe_row(number)}: {error}") from error
        return rows

    def append(self, encoded: Sequence[NDArray[Any]]) -> None:
        """Append arrays."""
        if self._spec.is_sequence:
            self._longest = max(self._longest, *(len(row) for row in encoded), 0)
        self._rows.append(encoded)

    def update_spec(self, spec: Any, split: str) -> Any:
        """The type after this split."""
        return self._update_spec(spec, self._longest)
