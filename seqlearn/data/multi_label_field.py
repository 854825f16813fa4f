"""The field `MultiLabel`, and its encoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqlearn.data.column_encoders import ColumnEncoder, DescribeRow, FileEncoder
from seqlearn.data.fields import LabelField, brief, check_label
from seqlearn.spec import MultiLabelSpec
from seqlearn.spec.labels import LabelsSpec


@dataclass(frozen=True, repr=False)
class MultiLabel(LabelField):
    """Any number of labels, also none. The labels are those of the training split, sorted.

    Attributes:
        weights: How much the presence of a label counts in the training loss, relative to its
            absence: `None` (1), `"balanced"` (the examples without it divided by those with it), or
            a positive number for each label. Validation and test metrics are not weighted.
        labels: The labels in the order of their ids, of which the training split may lack some;
            `None` are those of the training split.

    Raises:
        ValueError: If a weight is not positive and finite, or `weights` is another string.

    Examples:
        >>> MultiLabel(weights="balanced")
        MultiLabel(weights='balanced')
    """

    spec_type: ClassVar[type[LabelsSpec]] = MultiLabelSpec

    def labels_in(self, value: Sequence[str]) -> Iterable[str]:
        """The labels themselves."""
        return value

    def check(self, value: object) -> None:
        """Check that a value is a list of labels.

        Raises:
            ValueError: If it is not a list of different labels.
        """
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ValueError(  # noqa: TRY004 (bad data)
                f"expected a list of labels, got {brief(value)}"
            )
        for label in value:
            check_label(label)
        if len(set(value)) != len(value):
            raise ValueError(f"expected different labels, got {list(value)}; remove the repeated")

    def make_column_encoder(
        self, spec: Any, describe_row: DescribeRow, *, is_target: bool
    ) -> ColumnEncoder:
        """An encoder of lists of labels to zeros and ones."""
        return MultiLabelEncoder(spec, describe_row, self.weights)


class MultiLabelEncoder(FileEncoder):
    """Encodes lists of labels as vectors of zeros and ones.

    Args:
        spec: The labels.
        describe_row: Describes a row in errors.
        weights: The weights of the field.
    """

    unknown: int | None = None

    def __init__(
        self,
        spec: MultiLabelSpec,
        describe_row: DescribeRow,
        weights: str | Mapping[str, float] | None,
    ) -> None:
        super().__init__(spec, is_target=True)
        self._ids = {label: number for number, label in enumerate(spec.labels)}
        self._describe_row, self._weights = describe_row, weights
        self._present = np.zeros(len(self._ids), np.int64)
        self._count = 0

    def encode(self, values: Sequence[Sequence[str]], row: int) -> list[NDArray[np.float32]]:
        """Encode lists of labels as arrays of zeros and ones.

        Raises:
            ValueError: If a label is unknown; the message names the row.
        """
        rows = np.zeros((len(values), len(self._ids)), np.float32)
        for number, labels in enumerate(values):
            for label in labels:
                if label not in self._ids:
                    raise ValueError(
                        f"{self._describe_row(row + number)}: the label {label!r} is not one of "
                        f"{list(self._ids)[:10]}; correct it, or add training examples of it"
                    )
                rows[number, self._ids[label]] = 1
        return list(rows)

    def append(self, encoded: Sequence[Any]) -> None:
        """Append rows of zeros and ones."""
        self._count += len(encoded)
        if len(encoded):
            self._present += np.asarray(encoded).sum(0).astype(np.int64)
        self._rows.append(encoded)

    def update_spec(self, spec: MultiLabelSpec, split: str) -> MultiLabelSpec:
        """With the weights of the labels.

        Raises:
            ValueError: If weights do not match the labels, or a label to balance is in all
                training examples or in none.
        """
        if split != "train" or self._weights is None:
            return spec
        if not isinstance(self._weights, str):
            if wrong := sorted(set(self._weights) ^ set(spec.labels)):
                raise ValueError(
                    f"weights: expected one for each label, {list(spec.labels)[:10]}, but "
                    f"{wrong[0]!r} is only in {'weights' if wrong[0] in self._weights else 'them'}"
                )
            return replace(spec, weights=tuple(self._weights[label] for label in spec.labels))
        absent = self._count - self._present
        for label, counts in zip(spec.labels, zip(self._present, absent, strict=True), strict=True):
            if not all(counts):
                raise ValueError(
                    f"weights='balanced': {counts[0]} of {self._count} training examples have the "
                    f"label {label!r}, so it cannot be balanced; pass a number for each label"
                )
        return replace(spec, weights=tuple((absent / self._present).tolist()))
