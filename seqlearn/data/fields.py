"""Field types of the two sides of an example: the base classes, `Text` and `Classes`.

A field is an immutable dataclass of plain data, so that it can be written in YAML. The data module
derives a side of the `SequenceSpec` from the field and the training split.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, TypeVar

from seqlearn.batch import SPECIAL_TOKENS
from seqlearn.class_methods import class_only_method
from seqlearn.data.cache import file_digest
from seqlearn.data.column_encoders import (
    ClassEncoder,
    ColumnEncoder,
    DescribeRow,
    TextEncoder,
)
from seqlearn.data.length_limit import Overflow, check_length_limit
from seqlearn.data.tokenizers import TRAINED, load_tokenizer, text_spec, train_tokenizer
from seqlearn.plain_data import convert_fields
from seqlearn.spec import ClassesSpec, SideSpec, TextSpec
from seqlearn.spec.labels import LabelsSpec
from seqlearn.spec.raw_inputs import check_surrogates

T = TypeVar("T", bound="LabelField")


class Field(ABC):
    """The configuration of one side of the examples.

    A field of your own is a frozen dataclass of plain values that implements these methods.

    Attributes:
        spec_type: The class of `SequenceSpec` side that it makes.
        length_unit: What the length of an encoded value counts, in plural.

    Examples:
        >>> isinstance(Text(), Field), Text().spec_type.__name__
        (True, 'TextSpec')
    """

    spec_type: ClassVar[type[SideSpec]]
    length_unit: ClassVar[str] = "tokens"

    @abstractmethod
    def check(self, value: Any) -> None:
        """Check one raw value.

        Raises:
            ValueError: If the value is not of this type; the message says why.
        """

    @abstractmethod
    def digest(self) -> str | None:
        """A digest of the files that the field reads, on which the cache depends; often `None`."""

    @abstractmethod
    def make_spec(self, values: Callable[[], Iterator[Any]]) -> Any:
        """Make the side of the spec.

        Args:
            values: Returns an iterator over the raw values of the training split.
        """

    @abstractmethod
    def make_column_encoder(
        self, spec: Any, describe_row: DescribeRow, *, is_target: bool
    ) -> ColumnEncoder:
        """Make the encoder of one split.

        Args:
            spec: The side of the spec.
            describe_row: Names a row in errors.
            is_target: Whether this side is the target.
        """

    def with_spec(self, spec: Any) -> Field:
        """A field with these options that takes vocabulary, labels or scaling from a spec.

        Hook: fields that learn nothing from the data need not override it.

        Raises:
            ValueError: If the field does not support it.
        """
        raise ValueError(f"{type(self).__name__} cannot take {spec} from a trained model")


@dataclass(frozen=True)
class Text(Field):
    """A text. The same `Text` *instance* on both sides makes one joint vocabulary.

    Attributes:
        tokenizer: `"char"` (one token per Unicode code point), `"word"` (split at whitespace),
            `"bpe"` (byte-level byte-pair encoding, Sennrich et al. 2016 and Radford et al. 2019,
            which covers every text), or the path of a pretrained `tokenizer.json` or SentencePiece
            `.model` (its ids are changed so that 0 to 3 are padding, unknown, start and end), or
            the JSON of a tokenizer (`from_spec`).
        vocab_size: Number of ids, the four reserved ones included. `None` means all tokens for
            `"char"` and `"word"`, and 8000 for `"bpe"`, or fewer if the data does not support more.
        lowercase: Whether the tokenizer lower-cases its input. References are not changed.
        max_length: Maximum number of tokens of a text in the training split, without start and
            end. `None` is no limit. Validation and test texts are never changed.
        overflow: How to treat a longer training text: `"error"` raises and names it, `"drop"` drops
            the example, `"truncate"` keeps its first `max_length` tokens. The last two warn with
            the number of examples. Tokenizers and labels are derived from all examples.

    Raises:
        TypeError: If a value has the wrong type, such as 8.5 for `vocab_size`.
        ValueError: If `vocab_size` is not larger than the four reserved ids, if `vocab_size` or
            `lowercase` is set for a tokenizer that is read from a file, if `max_length` is below 1,
            or if `overflow` is not one of the three.

    Examples:
        >>> Text("bpe", vocab_size=4000)
        Text('bpe', vocab_size=4000)
    """

    spec_type: ClassVar[type[SideSpec]] = TextSpec

    tokenizer: str = "char"
    vocab_size: int | None = None
    lowercase: bool = False
    max_length: int | None = None
    overflow: Overflow = "error"

    def __post_init__(self) -> None:
        convert_fields(self)
        check_length_limit(self.max_length, self.overflow)
        if self.vocab_size is not None and self.vocab_size <= len(SPECIAL_TOKENS):
            raise ValueError(
                f"expected a vocab_size above {len(SPECIAL_TOKENS)} (ids 0 to 3 are padding, "
                f"unknown, start, end), got {self.vocab_size}"
            )
        if self.tokenizer not in TRAINED and (self.vocab_size is not None or self.lowercase):
            raise ValueError(
                f"the tokenizer file {self.tokenizer[:60]!r} defines its own vocabulary and "
                "lower-casing; remove vocab_size and lowercase (or use one of "
                f"{', '.join(TRAINED)})"
            )

    def __repr__(self) -> str:
        held = f"<{len(self.tokenizer)} characters of JSON>"
        return short_repr(self).replace(repr(self.tokenizer), held, int(_is_json(self.tokenizer)))

    @class_only_method
    def from_spec(cls, spec: TextSpec) -> Text:
        """The field of a trained model's tokenizer and vocabulary.

        Args:
            spec: A side of the spec of the model, such as `model.spec.source`.

        Raises:
            ValueError: If the spec is not that of a text with a tokenizer.

        Examples:
            >>> spec = Text("char").make_spec(lambda: iter(["abc"]))
            >>> Text.from_spec(spec).make_spec(lambda: iter(["other"])) == spec
            True
        """
        return cls().with_spec(spec)

    def with_spec(self, spec: Any) -> Text:
        """This field with the tokenizer of a spec; see `from_spec`."""
        if not isinstance(spec, TextSpec) or spec.tokenizer is None:
            raise ValueError(f"expected the spec of a text with a tokenizer, got {spec}")
        return replace(self, tokenizer=spec.tokenizer, vocab_size=None, lowercase=False)

    def check(self, value: object) -> None:
        """Check that a value is a text.

        Raises:
            ValueError: If `value` is not a string, or contains half of a surrogate pair.
        """
        if not isinstance(value, str):
            raise ValueError(  # noqa: TRY004 (bad data)
                f"expected a string, got {brief(value)}; convert it with str"
            )
        check_surrogates(value)

    def digest(self) -> str | None:
        """That of the tokenizer's file, if it is read from one."""
        if self.tokenizer in TRAINED or _is_json(self.tokenizer):
            return None
        load_tokenizer(self.tokenizer)  # so that its errors come first
        return file_digest(self.tokenizer)

    def make_spec(self, values: Callable[[], Iterator[Any]]) -> TextSpec:
        """A `TextSpec` with the tokenizer, which is trained on the values or read."""
        if self.tokenizer in TRAINED:
            return text_spec(train_tokenizer(self, values()))
        if _is_json(self.tokenizer):
            return text_spec(self.tokenizer)
        return text_spec(load_tokenizer(self.tokenizer))

    def make_column_encoder(
        self, spec: Any, describe_row: DescribeRow, *, is_target: bool
    ) -> ColumnEncoder:
        """An encoder of texts to ids."""
        return TextEncoder(spec, describe_row, is_target=is_target)


@dataclass(frozen=True, repr=False)
class LabelField(Field):
    """A target that consists of labels; the base of `Classes`, `MultiLabel` and `Tags`.

    Attributes:
        weights: Weights of the labels in the training loss: `None` (all equal), `"balanced"`, or a
            positive number for each label.
        labels: The labels in the order of their ids, of which the training split may lack some;
            `None` are those of the training split, sorted.

    Raises:
        ValueError: If a weight is not positive and finite, or `weights` is another string.
    """

    spec_type: ClassVar[type[LabelsSpec]]

    weights: Literal["balanced"] | dict[str, float] | None = field(default=None, hash=False)
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.labels is not None:
            object.__setattr__(self, "labels", self.spec_type(tuple(self.labels)).labels)
        if isinstance(self.weights, Mapping):
            plain = {str(label): float(weight) for label, weight in self.weights.items()}
            for label, weight in plain.items():
                if not 0 < weight < float("inf"):
                    raise ValueError(
                        f"expected weights above 0 and finite, got {weight} for {label!r}"
                    )
            object.__setattr__(self, "weights", plain)
        elif self.weights not in (None, "balanced"):
            raise ValueError(
                "expected weights='balanced', a number for each label, or None, "
                f"got {self.weights!r}"
            )

    def __repr__(self) -> str:
        return short_repr(self)

    @abstractmethod
    def labels_in(self, value: Any) -> Iterable[str]:
        """The labels of a raw value."""

    @class_only_method
    def from_spec(cls: type[T], spec: LabelsSpec) -> T:
        """The field of a trained model's labels, `model.spec.target`."""
        return cls().with_spec(spec)

    def with_spec(self: T, spec: Any) -> T:
        """This field with the labels of a spec."""
        if type(spec) is not self.spec_type:  # a subclass has another meaning
            raise ValueError(
                f"{type(self).__name__}.with_spec: expected a {self.spec_type.__name__}, got {spec}"
            )
        return replace(self, labels=spec.labels)

    def digest(self) -> str | None:
        """None."""
        return None

    def make_spec(self, values: Callable[[], Iterator[Any]]) -> LabelsSpec:
        """The side of the spec, with the labels."""
        if self.labels is not None:
            return self.spec_type(self.labels)
        found = {label for value in values() for label in self.labels_in(value)}
        return self.spec_type(tuple(sorted(found)))


@dataclass(frozen=True, repr=False)
class Classes(LabelField):
    """A class label. The classes are the labels of the training split, sorted, unless given.

    Attributes:
        weights: Class weights of the training loss: `None` (all equal), `"balanced"` (inversely
            proportional to the class frequency), or a positive number for each label. They are
            scaled to a mean of 1 over the training examples. Validation and test metrics are not
            weighted.
        labels: The labels in the order of their ids, of which the training split may lack some;
            `None` are those of the training split.

    Raises:
        ValueError: If a weight is not positive and finite, or `weights` is another string.

    Examples:
        >>> Classes(weights={"spam": 5.0, "ham": 1.0})
        Classes(weights={'spam': 5.0, 'ham': 1.0})
    """

    spec_type: ClassVar[type[LabelsSpec]] = ClassesSpec

    def labels_in(self, value: str) -> Iterable[str]:
        """The label itself."""
        return (value,)

    def check(self, value: object) -> None:
        """Check that a value is a label.

        Raises:
            ValueError: If `value` is not a string, is empty, or has whitespace at its ends.
        """
        check_label(value)

    def make_column_encoder(
        self, spec: Any, describe_row: DescribeRow, *, is_target: bool
    ) -> ColumnEncoder:
        """An encoder of labels to class ids."""
        given = self.labels is not None
        return ClassEncoder(spec, describe_row, self.weights, given=given)


def check_label(value: object) -> None:
    """Check one label.

    Raises:
        ValueError: If `value` is not a string, is empty, or has whitespace at its ends.
    """
    if not isinstance(value, str) or not value:
        advice = "fill it in" if isinstance(value, str) else "convert it with str"
        if isinstance(value, list | tuple | set):
            advice = "LabelledText(…, label_delimiter=',') takes several labels"
        raise ValueError(
            f"expected a label (a string that is not empty), got {brief(value)}; {advice}"
        )
    if value != value.strip():
        raise ValueError(
            f"expected a label without whitespace at its ends, got {value[:40]!r}; strip it, "
            "so that no two labels differ only in whitespace"
        )


def short_repr(one: Any) -> str:
    """The `repr` of a field, without default values."""
    arguments = [
        f"{f.name}={getattr(one, f.name)!r}"
        for f in fields(one)
        if f.name in ("tokenizer", "size") or getattr(one, f.name) != f.default
    ]
    return f"{type(one).__name__}({', '.join(arguments)})".replace("(tokenizer=", "(")


def _is_json(tokenizer: str) -> bool:
    """Whether a tokenizer is given by its JSON."""
    return tokenizer.startswith("{")


def brief(value: object) -> str:
    """The type and the start of a value, for errors."""
    return f"{type(value).__name__} {str(value)[:40]!r}"
