"""What goes into a model and what comes out of it: the `SequenceSpec`.

A spec is plain, immutable data. A data module answers with one (`data.spec`), every
`SequenceModule` takes one first, and a checkpoint carries it whole (tokenizers and labels
included), so that a trained model needs nothing else to answer raw text.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from seqlearn.class_methods import class_only_method
from seqlearn.plain_data import convert_fields, to_builtin
from seqlearn.raw_inputs import (
    EncodedIds,
    check_list,
    check_no_special_ids,
    refuse_surrogates,
    to_ids,
    to_vector,
    unknown_symbols,
    warn_unknown,
)
from seqlearn.special_tokens import END, PAD, SPECIAL_TOKENS, START, UNKNOWN

__all__ = [
    "END",
    "PAD",
    "SPECIAL_TOKENS",
    "START",
    "UNKNOWN",
    "ClassesSpec",
    "SequenceSpec",
    "Side",
    "TextSpec",
    "VectorSpec",
    "refuse_surrogates",
    "shape_of",
]


@functools.lru_cache(maxsize=16)
def _tokenizer(definition: str) -> Tokenizer:
    """Build a tokenizer from its JSON; equal definitions share one."""
    return Tokenizer.from_str(definition)


@dataclass(frozen=True)
class TextSpec:
    """One side that is text.

    Attributes:
        vocab_size: Number of ids, the four reserved ones included.
        max_length: Tokens in the longest text seen, start and end not counted.
        tokenizer: The JSON of a Hugging Face `tokenizers` tokenizer, or `None` for a side that
            takes and gives lists of ids.
        unknown_seen: Whether the training split held tokens outside the vocabulary. A model that
            never saw the unknown symbol cannot know what it means: raw text that needs it is
            encoded with a warning, and no decoding generates it.

    Raises:
        ValueError: If `vocab_size` leaves no room for a token beside the four reserved ids.
    """

    vocab_size: int
    max_length: int
    tokenizer: str | None = None
    unknown_seen: bool = False

    def __post_init__(self) -> None:
        convert_fields(self)
        if self.vocab_size <= len(SPECIAL_TOKENS):
            raise ValueError(
                f"expected a vocabulary of more than {len(SPECIAL_TOKENS)} ids (0 to 3 are "
                f"padding, unknown, start, end), got vocab_size={self.vocab_size}"
            )

    def __repr__(self) -> str:
        held = "None" if self.tokenizer is None else f"<{len(self.tokenizer)} characters of JSON>"
        return (
            f"TextSpec(vocab_size={self.vocab_size}, max_length={self.max_length}, "
            f"tokenizer={held}, unknown_seen={self.unknown_seen})"
        )

    def encode(self, texts: Iterable[Any], *, what: str = "input") -> list[list[int]]:
        """Turn raw texts into lists of ids, without start and end.

        A symbol outside the vocabulary becomes the unknown symbol. Where training never showed
        that one, an `UnknownSymbolWarning` says how many texts hold such symbols, and names some.

        Args:
            texts: Strings, or lists (arrays, tensors) of ids that are checked and passed through.
            what: How error messages name one of the texts.

        Raises:
            TypeError: If it is not a list of strings or of lists of integers.
            ValueError: If an id is outside the vocabulary, or is padding, start or end, if a string
                comes and there is no tokenizer, or if a text holds half of a surrogate pair.

        Example:
            >>> TextSpec(vocab_size=9, max_length=5).encode([[4, 6], []])
            [[4, 6], []]
        """
        encoded, unknown = [], []
        for number, text in enumerate(check_list(texts, what), 1):
            where = f"{what} {number}"
            if isinstance(text, EncodedIds):
                encoded.append(list(text))
                continue
            if isinstance(text, str):
                encoding = self._encode_text(text, where)
                ids = list(encoding.ids)
                symbol = next(iter(unknown_symbols(encoding.ids, encoding.offsets, text)), "")
            else:
                ids = to_ids(text, self.vocab_size, where)
                symbol = f"the id {UNKNOWN}" if UNKNOWN in ids else ""
            encoded.append(ids)
            if symbol:
                unknown.append((where, symbol))
        if unknown and not self.unknown_seen:
            warn_unknown(unknown, len(encoded), what)
        return encoded

    def unknown_symbols(self, text: str) -> list[str]:
        """Name what the vocabulary does not hold, each with its place; errors as `encode`."""
        encoding = self._encode_text(text, "text")
        return unknown_symbols(encoding.ids, encoding.offsets, text)

    def _encode_text(self, text: str, where: str) -> Encoding:
        if self.tokenizer is None:
            raise ValueError(
                f"{where}: got the text {text[:40]!r}, but this model has no tokenizer; "
                "pass lists of ids, or train with a data module whose side is Text(...)"
            )
        try:
            refuse_surrogates(text)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        encoding = _tokenizer(self.tokenizer).encode(str(text), add_special_tokens=False)
        check_no_special_ids(encoding.ids, where)
        return encoding

    def decode(self, ids: Iterable[Sequence[int]]) -> list[str] | list[list[int]]:
        """Turn lists of ids into texts (into lists of plain ids where there is no tokenizer).

        Reserved ids other than unknown are left out; unknown is written `<unk>`.
        """
        kept = [[int(i) for i in row if int(i) not in (PAD, START, END)] for row in ids]
        if self.tokenizer is None:
            return kept
        tokenizer = _tokenizer(self.tokenizer)
        return [tokenizer.decode(row, skip_special_tokens=False) for row in kept]

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """Name each id, for labels of plots; bytes are shown as the characters they stand for."""
        if self.tokenizer is None:
            return [SPECIAL_TOKENS[i] if i < len(SPECIAL_TOKENS) else str(i) for i in map(int, ids)]
        tokenizer = _tokenizer(self.tokenizer)
        names = []
        for i in map(int, ids):
            if i < len(SPECIAL_TOKENS):
                names.append(SPECIAL_TOKENS[i])
            else:
                # A byte that is no character of its own decodes to the replacement character.
                text = tokenizer.decode([i], skip_special_tokens=False)
                names.append(text if text and "�" not in text else str(tokenizer.id_to_token(i)))
        return names


@dataclass(frozen=True)
class ClassesSpec:
    """A target that is one of a set of labels.

    Attributes:
        labels: The labels, in the order of their ids.
        weights: How much an example of each counts in the training loss; `None` is 1 for all. The
            data module scales them to a mean of 1 over the training examples.

    Raises:
        ValueError: If there are fewer than two labels, or one stands twice; or if there is not one
            positive weight for each.
        TypeError: If it is one string, or a label is not text.
    """

    labels: tuple[str, ...]
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        labels = to_builtin(self.labels)
        if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
            raise TypeError(f"expected a list of labels that are texts, got {labels!r}")
        object.__setattr__(self, "labels", tuple(labels))
        if self.weights is not None:
            weights = tuple(float(weight) for weight in self.weights)
            if len(weights) != len(self.labels) or not all(0 < w < float("inf") for w in weights):
                raise ValueError(
                    f"expected a positive weight for each of {len(self.labels)} labels, "
                    f"got {list(weights)[:10]}"
                )
            object.__setattr__(self, "weights", weights)
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise ValueError(f"expected two or more distinct labels, got {list(self.labels)[:10]}")

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.labels[:5])) + (", …" if len(self.labels) > 5 else "")
        weighted = ", weighted" if self.weights else ""
        return f"ClassesSpec({len(self.labels)} labels: {shown}{weighted})"


@dataclass(frozen=True)
class VectorSpec:
    """One side that is a vector of numbers.

    Attributes:
        size: Numbers in each vector.

    Raises:
        ValueError: If `size` is not positive.
    """

    size: int

    def __post_init__(self) -> None:
        convert_fields(self)
        if self.size < 1:
            raise ValueError(f"expected vectors of at least one number, got size={self.size}")

    def encode(self, vectors: Iterable[Any], *, what: str = "input") -> list[NDArray[np.float32]]:
        """Check raw vectors, and turn each into an array of `size` numbers.

        Args:
            vectors: Lists, arrays or tensors of numbers.
            what: How error messages name one of them.

        Raises:
            TypeError: If it is not a list of vectors, or one is not made of numbers.
            ValueError: If one has another size, or a number that is not finite.

        Example:
            >>> VectorSpec(2).encode([[0, 1]])
            [array([0., 1.], dtype=float32)]
        """
        listed = check_list(vectors, what)
        return [to_vector(each, self.size, f"{what} {n}") for n, each in enumerate(listed, 1)]


Side = TextSpec | ClassesSpec | VectorSpec
_KINDS: dict[str, type[Any]] = {"text": TextSpec, "classes": ClassesSpec, "vector": VectorSpec}
_SHAPES = {
    (TextSpec, TextSpec): "sequence-to-sequence",
    (TextSpec, ClassesSpec): "sequence-to-vector",
    (TextSpec, VectorSpec): "sequence-to-vector",
    (VectorSpec, TextSpec): "vector-to-sequence",
    (type(None), TextSpec): "nothing-to-sequence",
}


def shape_of(source: type, target: type) -> str:
    """The name of the shape with these two kinds of sides, such as `TextSpec` and `ClassesSpec`.

    Raises:
        ValueError: If the two make no model; the message names those that do.
    """
    if (source, target) not in _SHAPES:
        names = {spec: kind for kind, spec in _KINDS.items()} | {type(None): "nothing"}
        raise ValueError(
            f"no model goes from {names.get(source, source.__name__)} to "
            f"{names.get(target, target.__name__)}; what does: text to text, text to classes, "
            "text to vector, vector to text, nothing to text"
        )
    return _SHAPES[source, target]


@dataclass(frozen=True)
class SequenceSpec:
    """What goes in and what comes out.

    Attributes:
        source: `TextSpec`, `VectorSpec`, or `None` for a language model.
        target: `TextSpec`, `ClassesSpec` or `VectorSpec`.
        joint_vocabulary: Whether source and target share one tokenizer and one set of ids.

    Raises:
        ValueError: If the two sides make no model; the message names those that do.
    """

    source: TextSpec | VectorSpec | None
    target: TextSpec | ClassesSpec | VectorSpec
    joint_vocabulary: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "joint_vocabulary", to_builtin(self.joint_vocabulary))
        shape_of(type(self.source), type(self.target))
        if self.joint_vocabulary and not (
            isinstance(self.source, TextSpec)
            and isinstance(self.target, TextSpec)
            and self.source.vocab_size == self.target.vocab_size
            and self.source.tokenizer == self.target.tokenizer
        ):
            raise ValueError("joint_vocabulary=True needs text on both sides with one vocabulary")

    @property
    def shape(self) -> str:
        """What goes in and out, by name.

        `"sequence-to-sequence"`, `"sequence-to-vector"`, `"vector-to-sequence"` or
        `"nothing-to-sequence"`.
        """
        return shape_of(type(self.source), type(self.target))

    def to_dict(self) -> dict[str, Any]:
        """Plain data (strings, numbers, lists, dictionaries) that `from_dict` reads back."""
        return {
            "source": _side_to_dict(self.source),
            "target": _side_to_dict(self.target),
            "joint_vocabulary": self.joint_vocabulary,
        }

    @class_only_method
    def from_dict(cls, plain: Mapping[str, Any]) -> SequenceSpec:
        """Build the spec that `to_dict` wrote.

        Raises:
            ValueError: If `plain` is not what `to_dict` writes.
        """
        try:
            return cls(
                source=_side_from_dict(plain["source"]),  # type: ignore[arg-type]
                target=_side_from_dict(plain["target"]),  # type: ignore[arg-type]
                joint_vocabulary=bool(plain["joint_vocabulary"]),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"expected a spec written by SequenceSpec.to_dict, got {error}"
            ) from error

    def differences(self, other: SequenceSpec) -> list[str]:
        """Say, a line each, where `other` differs in a way that changes what ids mean.

        The longest length seen may differ: it changes no id. (How many positions a Transformer
        learns follows from it.)
        """
        found = []
        for name in ("source", "target"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if type(mine) is not type(theirs):
                found.append(f"{name}: {_kind(mine)} against {_kind(theirs)}")
            elif isinstance(mine, TextSpec):
                if mine.vocab_size != theirs.vocab_size:
                    found.append(
                        f"{name}: vocab_size {mine.vocab_size} against {theirs.vocab_size}"
                    )
                elif mine.tokenizer != theirs.tokenizer:
                    found.append(f"{name}: two different tokenizers")
            elif isinstance(mine, ClassesSpec):
                if mine.labels != theirs.labels:
                    found.append(f"{name}: labels {_unlike(mine.labels, theirs.labels)}")
            elif mine != theirs:
                found.append(f"{name}: {mine} against {theirs}")
        return found


def _unlike(mine: Sequence[str], theirs: Sequence[str]) -> str:
    """Two lists of labels, from the first that differs."""
    same = next((at for at, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), None)
    at = min(len(mine), len(theirs)) if same is None else same
    return f"{list(mine[at : at + 5])} against {list(theirs[at : at + 5])} from number {at + 1}"


def _kind(side: Side | None) -> str:
    if side is None:
        return "nothing"
    return next(kind for kind, spec in _KINDS.items() if isinstance(side, spec))


def _side_to_dict(side: Side | None) -> dict[str, Any] | None:
    if side is None:
        return None
    plain = {"kind": _kind(side), **asdict(side)}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}


def _side_from_dict(plain: Mapping[str, Any] | None) -> Side | None:
    if plain is None:
        return None
    fields = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in plain.items()
        if key != "kind"
    }
    side: Side = _KINDS[plain["kind"]](**fields)
    return side
