"""Source and target together: the `SequenceSpec`, and its plain form in checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seqlearn.class_methods import class_only_method
from seqlearn.plain_data import to_builtin
from seqlearn.spec.aligned import AlignedSpec, WordSource
from seqlearn.spec.base import SourceSpec, TargetSpec, side_from_dict

Side = SourceSpec | TargetSpec


def task_of(source: type[SourceSpec] | None, target: type[TargetSpec]) -> str:
    """The task with a source and a target of these classes.

    Args:
        source: `TextSpec` or another `SourceSpec`; `None` for a language model.
        target: `TextSpec`, `ClassesSpec` or another `TargetSpec`.

    Raises:
        ValueError: If no model has this source and target.

    Examples:
        >>> from seqlearn.spec import ClassesSpec, TextSpec
        >>> task_of(TextSpec, ClassesSpec)
        'sequence-to-vector'
    """
    if source is None and target.needs_decoder:
        return "language-modeling"
    if source is None or not (source.is_sequence or target.is_sequence):
        given = "nothing" if source is None else source.kind
        raise ValueError(
            f"no model goes from {given} to {target.kind}; without a source, or from a source that "
            "is one vector, the target must be text"
        )
    if issubclass(target, AlignedSpec):
        if not issubclass(source, WordSource):
            raise ValueError(  # noqa: TRY004 -- two types that do not fit
                f"{target.kind} need a source of words, such as text, and {source.kind} has none"
            )
        return "tagging"
    names = {True: "sequence", False: "vector"}
    return f"{names[source.is_sequence]}-to-{names[target.is_sequence]}"


@dataclass(frozen=True)
class SequenceSpec:
    """The types of source and target.

    Attributes:
        source: `TextSpec`, `VectorSpec` or another `SourceSpec`; `None` for a language model.
        target: `TextSpec`, `ClassesSpec`, `VectorSpec` or another `TargetSpec`.
        joint_vocabulary: Whether source and target share one tokenizer and one set of ids.

    Raises:
        ValueError: If no model has this source and target.
        TypeError: If `source` is not a `SourceSpec` or `target` is not a `TargetSpec`.

    Examples:
        >>> from seqlearn.spec import TextSpec
        >>> SequenceSpec(TextSpec(9, 5), TextSpec(7, 5)).task
        'sequence-to-sequence'
    """

    source: SourceSpec | None
    target: TargetSpec
    joint_vocabulary: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "joint_vocabulary", to_builtin(self.joint_vocabulary))
        if self.source is not None:
            _check_side("source", self.source, SourceSpec)
        _check_side("target", self.target, TargetSpec)
        task_of(_type(self.source), type(self.target))
        source: Any = self.source
        if self.joint_vocabulary and (
            type(source) is not type(self.target)
            or not self.target.needs_decoder
            or self.target.diff(source) is not None
        ):
            raise ValueError("joint_vocabulary=True needs text on both sides with one vocabulary")

    @property
    def task(self) -> str:
        """The name of the task.

        `"sequence-to-sequence"`, `"sequence-to-vector"`, `"vector-to-sequence"`, `"tagging"` or
        `"language-modeling"`.
        """
        return task_of(_type(self.source), type(self.target))

    def to_dict(self) -> dict[str, Any]:
        """Plain data (strings, numbers, lists, dictionaries) from which `from_dict` builds it."""
        return {
            "source": None if self.source is None else self.source.to_dict(),
            "target": self.target.to_dict(),
            "joint_vocabulary": self.joint_vocabulary,
        }

    @class_only_method
    def from_dict(cls, plain: Mapping[str, Any]) -> SequenceSpec:
        """Build the spec that `to_dict` wrote.

        Raises:
            ValueError: If `plain` was not written by `to_dict`, or a kind is not known because the
                module that defines it has not been imported; the message names the module.
        """
        try:
            source = plain["source"]
            return cls(
                source=None if source is None else side_from_dict(source),
                target=side_from_dict(plain["target"]),
                joint_vocabulary=bool(plain["joint_vocabulary"]),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"expected a spec written by SequenceSpec.to_dict, got {error}"
            ) from error

    def diff(self, other: SequenceSpec) -> list[str]:
        """List the differences to `other` that change the meaning of ids or outputs.

        The longest lengths may differ, for they change no id.
        """
        found = []
        for name in ("source", "target"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if type(mine) is not type(theirs):
                found.append(f"{name}: {_kind(mine)} against {_kind(theirs)}")
            elif mine is not None and (difference := mine.diff(theirs)) is not None:
                found.append(f"{name}: {difference}")
        return found


def _check_side(name: str, side: object, role: type) -> None:
    if isinstance(side, role):
        return
    given = f"the class {side.__name__}" if isinstance(side, type) else repr(side)
    raise TypeError(
        f"{name}: expected an instance of a {role.__name__}, such as TextSpec(...), got {given}"
    )


def _type(source: SourceSpec | None) -> type[SourceSpec] | None:
    return None if source is None else type(source)


def _kind(side: Side | None) -> str:
    return "nothing" if side is None else side.kind
