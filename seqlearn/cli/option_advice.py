"""What a user probably meant by an option or a class that does not exist."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import pydoc
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from lightning.pytorch import Trainer

from seqlearn.cli.parser import values_of
from seqlearn.cli.plugins import subclasses
from seqlearn.core import BaseOptions, GenerationConfig, Recipe, SequenceModule
from seqlearn.data import SequenceDataModule

BASES: dict[str, type[Any]] = {"model": SequenceModule, "data": SequenceDataModule}
"""The base class of the options that take a class."""

_OTHER_NAMES = {
    "epochs": "trainer.max_epochs",
    "num_epochs": "trainer.max_epochs",
    "num_train_epochs": "trainer.max_epochs",
    "steps": "trainer.max_steps",
    "gpus": "trainer.devices",
    "batch_size": "data.batch_tokens",
    "per_device_train_batch_size": "data.batch_tokens",
    "lr": "model.recipe.lr",
    "learning_rate": "model.recipe.lr",
    "warmup": "model.recipe.warmup_steps",
    "hidden": "model.d_model",
    "hidden_size": "model.d_model",
    "hidden_dim": "model.d_model",
    "embed_dim": "model.d_model",
    "n_layers": "model.num_layers",
    "nhead": "model.num_heads",
    "seed": "seed_everything",
    "checkpoint": "ckpt_path",
    "resume": "ckpt_path",
    "resume_from_checkpoint": "ckpt_path",
    "output_dir": "trainer.default_root_dir",
}
"""Names that options have elsewhere."""


def likely_option(name: str, classes: Collection[type] = ()) -> str:
    """The option that was probably meant by one that does not exist.

    Args:
        name: What was written, without dashes, such as `epochs` or `data.vall`.
        classes: The classes of the model and the data, as far as they are known.

    Returns:
        The option with its dashes; empty if none is similar.

    Examples:
        >>> likely_option("epochs"), likely_option("trainer.epochs"), likely_option("colour")
        ('--trainer.max_epochs', '--trainer.max_epochs', '')
    """
    scope, _, last = name.removesuffix(".help").rpartition(".")
    last = last.replace("-", "_")
    options = list(_options(classes))
    other = _OTHER_NAMES.get(last, "")
    if other and (other in options or other.partition(".")[0] not in BASES):
        return f"--{other}"
    within = [option for option in options if scope and option.startswith(f"{scope}.")]
    by_last = {option.rpartition(".")[2]: option for option in reversed(within or options)}
    near = difflib.get_close_matches(last, by_last, 1, cutoff=0.75)
    return f"--{by_last[near[0]]}" if near else ""


def _options(classes: Collection[type]) -> Iterator[str]:
    """The options of `seqlearn fit`, without dashes; also those of the classes."""
    yield from ("seed_everything", "ckpt_path", "config", "unknown")
    for cls in classes:
        for key, base in BASES.items():
            if issubclass(cls, base):
                yield from (f"{key}.{name}" for name in _arguments(cls))
    yield from (f"trainer.{name}" for name in inspect.signature(Trainer).parameters)
    yield from (f"model.recipe.{field.name}" for field in dataclasses.fields(Recipe))
    yield from (f"model.generation.{field.name}" for field in dataclasses.fields(GenerationConfig))


def _arguments(cls: type) -> Iterator[str]:
    """The arguments of a class that are options: all but the spec."""
    for parameter in inspect.signature(cls).parameters.values():
        if parameter.kind is not parameter.VAR_KEYWORD:
            yield from (parameter.name,) if parameter.name != "spec" else ()
        elif "BaseOptions" in str(parameter.annotation):
            yield from BaseOptions.__annotations__


def chosen_classes(argv: Sequence[str]) -> list[type]:
    """The classes that the arguments of a command name by `--model` and `--data`."""
    pairs = [(key, name) for key in BASES for name in values_of(argv, f"--{key}")]
    return [
        cls
        for key, name in pairs
        for cls in subclasses(BASES[key])
        if cls.__name__ == name.rpartition(".")[2]
    ]


def named_classes(text: str) -> list[type]:
    """The classes that an error of the parser names by `class_path`."""
    paths = re.findall(r"class_path=?'?:? ?'([\w.]+)'", text)
    return [cls for cls in map(pydoc.locate, paths) if isinstance(cls, type)]


def unknown_class(key: str, name: str, reason: str = "") -> str:
    """The message for a class that does not exist.

    Args:
        key: `"model"`, `"data"` or another option that takes a class.
        name: What was written.
        reason: Why it was not found, as the parser says.
    """
    if missing := re.search(r"No module named '([\w.]+)'", reason):
        return (
            f"expected package.module.Class, got {name!r}, but there is no module {missing[1]!r}; "
            "modules of the working directory and installed packages are found"
        )
    base = BASES.get(key)
    known = {cls.__name__: cls.__module__ for cls in subclasses(base)} if base else {}
    module, _, last = name.rpartition(".")
    if module in sys.modules:
        names = [
            cls.__name__
            for cls in vars(sys.modules[module]).values()
            if isinstance(cls, type) and (base is None or issubclass(cls, base))
        ]
        listed = (
            f"; it has {', '.join(sorted(names))}" if names else ", nor another for this option"
        )
        return f"expected package.module.Class, but {module!r} has no class {last!r}{listed}"
    near = difflib.get_close_matches(name, known, 1)
    advice = f"; did you mean {near[0]}?" if near else ""
    own = sorted(name for name, module in known.items() if module.startswith("seqlearn."))
    listed = f"{', '.join(own)} or package.module.Class" if own else "package.module.Class"
    return f"expected {listed}, got {name!r}{advice}"
