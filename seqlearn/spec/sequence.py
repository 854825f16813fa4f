"""Source and target together: the `SequenceSpec`, and its plain form in checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from seqlearn.class_methods import class_only_method
from seqlearn.plain_data import to_builtin
from seqlearn.spec.classes import ClassesSpec
from seqlearn.spec.text import TextSpec
from seqlearn.spec.vector import VectorSpec

Side = TextSpec | ClassesSpec | VectorSpec
_KINDS: dict[str, type[Any]] = {"text": TextSpec, "classes": ClassesSpec, "vector": VectorSpec}
_SHAPES = {
    (TextSpec, TextSpec): "sequence-to-sequence",
    (TextSpec, ClassesSpec): "sequence-to-vector",
    (TextSpec, VectorSpec): "sequence-to-vector",
    (VectorSpec, TextSpec): "vector-to-sequence",
    (type(None), TextSpec): "language-modeling",
}


def task_of(source: type, target: type) -> str:
    """The task with these two kinds of sides, such as `TextSpec` and `ClassesSpec`.

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
        task_of(type(self.source), type(self.target))
        if self.joint_vocabulary and not (
            isinstance(self.source, TextSpec)
            and isinstance(self.target, TextSpec)
            and self.source.vocab_size == self.target.vocab_size
            and self.source.tokenizer == self.target.tokenizer
        ):
            raise ValueError("joint_vocabulary=True needs text on both sides with one vocabulary")

    @property
    def task(self) -> str:
        """What goes in and out, by name.

        `"sequence-to-sequence"`, `"sequence-to-vector"`, `"vector-to-sequence"` or
        `"language-modeling"`.
        """
        return task_of(type(self.source), type(self.target))

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

    def diff(self, other: SequenceSpec) -> list[str]:
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
