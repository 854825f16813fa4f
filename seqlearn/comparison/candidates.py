"""The models to compare: class, arguments and label of each."""

from __future__ import annotations

import functools
import importlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from seqlearn.core import GenerationConfig, Recipe, SequenceModule
from seqlearn.models import GRU, LSTM, RNN, AttentionSeq2Seq, FeedForward, Transformer
from seqlearn.plain_data import to_plain_data

ARCHITECTURES: tuple[type[SequenceModule], ...] = (
    FeedForward,
    RNN,
    LSTM,
    GRU,
    AttentionSeq2Seq,
    Transformer,
)
"""The architectures of the package, which are compared by default."""

_OPTIONS = {"recipe": Recipe, "generation": GenerationConfig}


@dataclass(frozen=True)
class Candidate:
    """A model to compare.

    Attributes:
        label: Its name in the report.
        cls: The class.
        options: The arguments of the class besides `spec`.
    """

    label: str
    cls: type[SequenceModule]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def class_path(self) -> str:
        """The importable name of the class."""
        return f"{self.cls.__module__}.{self.cls.__qualname__}"

    def describe(self) -> dict[str, Any]:
        """Label, class and arguments as plain data."""
        plain = to_plain_data(self.options, f"arguments of {self.label}")
        return {"label": self.label, "class_path": self.class_path, "init_args": plain}


def make_candidates(models: Any) -> list[Candidate]:
    """Read the argument `models` of `compare`.

    Args:
        models: A list, or a mapping of labels, of models; see `compare`. `None` is all
            architectures of the package.

    Raises:
        TypeError: If one of them is not a model.
        ValueError: If a name is unknown, or there is none at all.

    Examples:
        >>> [each.label for each in make_candidates(["GRU", (LSTM, {"num_layers": 2}), "LSTM"])]
        ['GRU', 'LSTM(num_layers=2)', 'LSTM']
    """
    if models is None:
        models = ARCHITECTURES
    if isinstance(models, str | type):
        models = [models]
    named: dict[Any, Any] = dict(models) if isinstance(models, Mapping) else {}
    if {"class_path"} <= named.keys():
        models, named = [named], {}
    found = [Candidate(str(label), *_parse(one)) for label, one in named.items()]
    if not named:
        if not isinstance(models, Iterable):
            raise TypeError(f"models: expected a list of models, got {models!r:.80}")
        found = _labelled([_parse(one) for one in models])
    if not found:
        raise ValueError("models: expected at least one model, got none")
    return found


def _labelled(parsed: list[tuple[type[SequenceModule], dict[str, Any]]]) -> list[Candidate]:
    """Name each by its class, and by its arguments where a class occurs more than once."""
    classes = Counter(cls.__name__ for cls, _ in parsed)
    found: list[Candidate] = []
    taken: set[str] = set()
    for cls, options in parsed:
        label = cls.__name__
        if classes[label] > 1 and options:
            said = ", ".join(f"{name}={value!r}" for name, value in options.items())
            label = f"{label}({said})"
        number = 2
        base = label
        while label in taken:
            label, number = f"{base} #{number}", number + 1
        taken.add(label)
        found.append(Candidate(label, cls, options))
    return found


def _parse(one: Any) -> tuple[type[SequenceModule], dict[str, Any]]:
    """Class and arguments of one model."""
    options: Mapping[str, Any] = {}
    cls: Any = one
    if isinstance(one, functools.partial):
        if one.args:
            raise TypeError(f"models: expected keyword arguments only, got {one!r:.80}")
        cls, options = one.func, one.keywords
    elif isinstance(one, Mapping):
        if wrong := one.keys() - {"class_path", "init_args"}:
            raise TypeError(f"models: expected class_path and init_args, got {sorted(wrong)}")
        cls, options = one["class_path"], one.get("init_args") or {}
    elif isinstance(one, list | tuple) and len(one) == 2 and isinstance(one[1], Mapping):
        cls, options = one
    if isinstance(cls, str):
        cls = _class_named(cls)
    if not (isinstance(cls, type) and issubclass(cls, SequenceModule)):
        raise TypeError(
            "models: expected the name of an architecture, a subclass of SequenceModule, or a pair "
            f"of one and its arguments, got {one!r:.80}"
        )
    return cls, {name: _option(name, value) for name, value in options.items() if name != "spec"}


def _option(name: str, value: Any) -> Any:
    """An argument; `recipe` and `generation` may be given as mappings."""
    made = _OPTIONS.get(name)
    return made(**value) if made is not None and isinstance(value, Mapping) else value


def _class_named(name: str) -> Any:
    """The class of a name: of an imported class, or `package.module.Class`."""
    known = {cls.__name__: cls for cls in _subclasses(SequenceModule)}
    known |= {cls.__name__: cls for cls in ARCHITECTURES}
    if name in known:
        return known[name]
    module, _, attribute = name.rpartition(".")
    if not module:
        own = ", ".join(cls.__name__ for cls in ARCHITECTURES)
        raise ValueError(f"models: expected {own} or package.module.Class, got {name!r}")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"models: {name!r} cannot be imported: {error}") from error


def _subclasses(cls: type[SequenceModule]) -> Iterator[type[SequenceModule]]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)
