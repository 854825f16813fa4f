"""Reading and checking checkpoints, and building modules from them, without running their code."""

from __future__ import annotations

import functools
import inspect
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

from seqlearn.core.generation_config import GenerationConfig
from seqlearn.core.hparams import bind_arguments
from seqlearn.core.recipe import Recipe
from seqlearn.core.sharded_checkpoint import read_folder, verify_folder
from seqlearn.core.stored_sizes import Stored, TooLargeError, build_within
from seqlearn.spec import SequenceSpec

KEY = "seqlearn"
"""The key of a checkpoint that holds the class name, the spec and the constructor arguments."""

Module = TypeVar("Module", bound=nn.Module)


def class_name(cls: type) -> str:
    """The name of a class in checkpoints: its module and qualified name.

    Examples:
        >>> class_name(Recipe)
        'seqlearn.core.recipe.Recipe'
    """
    own = own_class(cls)
    return f"{own.__module__}.{own.__qualname__}"


def read_checkpoint(path: str | Path, map_location: Any = None) -> dict[str, Any]:
    """Read a checkpoint without running code from it.

    Args:
        path: A file, a URL that fsspec can open, or the folder of a sharded checkpoint.
        map_location: The device of the tensors, as in `torch.load`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is damaged, cannot be loaded without running code, or is not a
            checkpoint of seqlearn.
        TypeError: If the path is no text and no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"expected the path of a checkpoint, got {path!r}")
    try:
        if Path(path).is_dir():
            checkpoint = read_folder(path, map_location)
        else:
            with fsspec.open(str(path), "rb") as file:
                _check_sums(file)
                checkpoint = torch.load(file, map_location=map_location, weights_only=True)
    except FileNotFoundError:
        advice = " in this folder; expected what training or save_pretrained wrote"
        raise FileNotFoundError(
            f"{path}: there is no such checkpoint{advice * Path(path).is_dir()}"
        ) from None
    except Exception as error:
        raise unreadable(path, error) from error
    if not isinstance(checkpoint, dict) or KEY not in checkpoint:
        raise ValueError(
            f"{path}: expected a checkpoint of a seqlearn module, got one without the key {KEY!r}; "
            "load it with the class that wrote it"
        )
    if isinstance(checkpoint[KEY], dict) and "arguments" not in checkpoint[KEY]:
        raise ValueError(
            f"{path}: expected a checkpoint with the constructor's arguments, got one of an "
            "earlier version of seqlearn without them; build the model, and pass the file to "
            "trainer.fit(…, ckpt_path=…)"
        )
    check_parts(path, checkpoint[KEY])
    return checkpoint


def check_parts(
    where: str | Path, kept: object, names: Sequence[str] = ("class", "spec", "arguments")
) -> None:
    """Check that what a file says of its module has all parts.

    Args:
        where: The file, for the error.
        kept: What it says.
        names: The needed parts.

    Raises:
        ValueError: If one is missing or has another type.
    """
    held = kept if isinstance(kept, dict) else {}
    for name in names:
        if not isinstance(held.get(name), str if name == "class" else dict):
            raise ValueError(  # noqa: TRY004 -- a damaged file
                f"{where}: expected {', '.join(names)} of a module, got a file without {name!r}; "
                "it was changed or is damaged"
            )


def read_spec(where: str | Path, kept: Mapping[str, Any]) -> SequenceSpec:
    """Build the spec in a file.

    Raises:
        ValueError: If it is incomplete, or a kind of source or target is not known.
    """
    try:
        return SequenceSpec.from_dict(kept["spec"])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def load_weights(where: str | Path, module: nn.Module, load: Callable[[], Any]) -> None:
    """Load weights into a module; one sentence says what does not fit.

    Args:
        where: The file, for the error.
        module: The module.
        load: Loads the weights.

    Raises:
        ValueError: If names or shapes of the weights differ from those of the module.
    """
    try:
        load()
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        first = next((line for line in lines if line and not line.endswith(":")), repr(error))
        raise ValueError(
            f"{where}: expected the weights of {class_name(type(module))} with its arguments, got "
            f"others ({first[:300].rstrip('. ')})"
        ) from error


def unreadable(path: str | Path, error: Exception) -> ValueError:
    """The error for a file that cannot be read as plain data.

    torch advises `weights_only=False` in its message, which would run code from the file.
    """
    words = str(error).strip() or repr(error)
    if isinstance(error, pickle.UnpicklingError) and "weights_only" in words:
        named = re.search(r"GLOBAL (\S+)", words)
        words = f"it names {named[1]}" if named else "its pickle holds more than plain data"
    return ValueError(
        f"{path}: expected a checkpoint that loads safely; it is damaged, or holds more than plain "
        f"data ({words.splitlines()[0]})"
    )


def verify_checksum(path: str | Path) -> None:
    """Verify the checksums of a checkpoint that Lightning has read.

    Args:
        path: A file, or a URL that fsspec can open. Folders are verified before they are read.

    Raises:
        ValueError: If the file is damaged.
    """
    if Path(path).is_dir():
        return
    try:
        with fsspec.open(str(path), "rb") as file:
            _check_sums(file)
    except Exception as error:
        raise unreadable(path, error) from error


def verify_sharded(path: str | Path, trainer: L.Trainer) -> None:
    """Verify a sharded checkpoint before the strategy reads it. All ranks call it.

    Args:
        path: The folder.
        trainer: The trainer whose strategy reads it.

    Raises:
        ValueError: On all ranks, if it is damaged, or its files would run code when they are read.
    """
    damage: Exception | None = None
    try:
        verify_folder(path, trainer.global_rank, trainer.world_size)
    except Exception as error:  # noqa: BLE001 -- raised again once all ranks know of it
        damage = error
    whole = trainer.strategy.reduce_boolean_decision(damage is None, all=True)
    if damage is not None:
        raise unreadable(path, damage) from damage
    if not whole:
        raise unreadable(path, ValueError("the output of another process says where"))


def _check_sums(file: Any) -> None:
    """Verify the CRC-32 of each part of the file. torch writes these and does not verify them.

    Raises:
        ValueError: If a checksum differs from that of the content, or a part is compressed.
    """
    with zipfile.ZipFile(file) as parts:
        for part in parts.infolist():
            if part.compress_type != zipfile.ZIP_STORED:  # it could unpack to any size
                raise ValueError(f"{part.filename} is compressed, which torch.save does not do")
        if (name := parts.testzip()) is not None:
            raise ValueError(f"the checksum of {name} does not fit its content")
    file.seek(0)


def own_class(cls: type) -> type:
    """The class as written by its author; `fully_shard` and parametrizations derive from it."""
    return next(each for each in cls.__mro__ if not _derived_by_torch(each))


def _derived_by_torch(cls: type) -> bool:
    """Whether torch made the class; with the metaclass `ABCMeta`, its module is `abc`."""
    named = cls.__name__.startswith(("FSDP", "Parametrized"))
    return cls.__module__.startswith("torch.") or (cls.__module__ == "abc" and named)


def known_class(name: str, root: type) -> type | None:
    """The imported subclass of `root` that has this name in checkpoints. Nothing is imported."""
    classes = [root]
    for cls in classes:
        if class_name(cls) == name:
            return cls
        classes += cls.__subclasses__()
    return None


def check_class(where: str | Path, what: str, written: str, cls: type, root: type) -> bool:
    """Raise an error if a file was written by another known class.

    An unknown class was renamed, moved, or defined in `__main__`. In that case, and if it derives
    from the class in the file, the class of the caller is accepted; `build` and `check_weights`
    then check the arguments and the weights.

    Args:
        where: The file, for the error.
        what: The expected content and the method that loads it, separated by a dot, for the error.
        written: The class name in the file.
        cls: The class to be loaded.
        root: The base class of all known classes.

    Returns:
        Whether the file names another class, which is accepted.

    Raises:
        ValueError: If it was written by another known class, from which `cls` does not derive.
    """
    own, known = own_class(cls), known_class(written, root)
    if written == class_name(cls) or (known is not None and own_class(known) is own):
        return False
    same_script = "__main__" in (written.partition(".")[0], own.__module__) and written.endswith(
        f".{own.__qualname__}"
    )
    if known is not None and not same_script and not issubclass(own, own_class(known)):
        kind, _, load = what.partition(".")
        raise ValueError(
            f"{where}: expected a {kind} of {class_name(cls)}, got one of {written}; load it with "
            f"{written.rpartition('.')[2]}.{load}"
        )
    return True


def build(
    cls: type[Module],
    where: str | Path,
    written: str,
    spec: SequenceSpec,
    kept: Mapping[str, Any],
    overrides: Mapping[str, Any],
    stored: Stored | None,
) -> Module:
    """Build a module with the arguments in a file.

    Args:
        cls: The class to build.
        where: The file, for the error.
        written: The class name in the file.
        spec: The types of source and target.
        kept: The content of the file: constructor `arguments` as plain data, and options that were
            `assigned` after construction.
        overrides: Arguments of the caller that replace those in the file.
        stored: The tensors in the file, which must be as many as the module needs; `None` if the
            file may hold only a part of them.

    Raises:
        ValueError: If the arguments do not fit the class, or describe a larger module than the file
            holds; the message names the file.
        TypeError: If the class does not take an override, or a field of one.
    """
    try:
        bound = _bind(cls, spec, kept["arguments"] | overrides)
    except TypeError as error:
        if overrides and _fits(cls, spec, kept["arguments"]):
            raise TypeError(f"{cls.__name__}: {error}") from None
        raise ValueError(
            f"{where}: holds the arguments of {written}, and they do not fit {class_name(cls)} "
            f"({error}); load it with the class that wrote it, or pass what is missing by name"
        ) from error
    make: Any = cls
    construct = functools.partial(make, *bound.args[1:], **bound.kwargs)
    try:
        module: Module = construct() if stored is None else build_within(stored, construct)
    except (TooLargeError, MemoryError, OverflowError, RuntimeError, TypeError) as error:
        if overrides and not isinstance(error, TooLargeError):
            raise
        words = str(error).strip() or repr(error)
        raise ValueError(
            f"{where}: expected arguments that fit the weights in the file, got others ("
            f"{words.splitlines()[0]}); they were changed, or the file is damaged"
        ) from error
    for name, value in _with_options(kept.get("assigned", {})).items():
        if name not in overrides:
            setattr(module, name, value)
    return module


def _bind(cls: type, spec: SequenceSpec, arguments: dict[str, Any]) -> inspect.BoundArguments:
    """Bind the spec and plain arguments to the constructor."""
    arguments, unnamed = _with_options(arguments), [spec]
    if "spec" in inspect.signature(cls).parameters:  # it may be at any place
        unnamed, arguments = [], {"spec": spec} | arguments
    return bind_arguments(cls, *unnamed, **arguments)


def _fits(cls: type, spec: SequenceSpec, arguments: dict[str, Any]) -> bool:
    try:
        _bind(cls, spec, arguments)
    except TypeError:
        return False
    return True


def _with_options(arguments: dict[str, Any]) -> dict[str, Any]:
    """Build `recipe` and `generation` from dictionaries of their fields."""
    for name, option in (("recipe", Recipe), ("generation", GenerationConfig)):
        if isinstance(fields := arguments.get(name), dict):
            known = option.__dataclass_fields__
            if unknown := [field for field in fields if field not in known]:
                raise TypeError(
                    f"{name}: {option.__name__} has no field {unknown[0]!r}; its fields are "
                    f"{', '.join(known)}"
                )
            arguments = arguments | {name: option(**fields)}
    return arguments


def check_weights(
    where: str | Path, written: str, module: nn.Module, weights: Mapping[str, Any]
) -> None:
    """Accept, with a warning, weights that were written by another class, if they fit.

    Args:
        where: The file, for the message.
        written: The class name in the file.
        module: The module that receives the weights.
        weights: The tensors by name.

    Raises:
        ValueError: If names or shapes differ; the message names both classes.
    """
    own = module.state_dict(keep_vars=True)
    stored = {id(own[name]) for name in weights if name in own}
    # Of tied weights, a folder holds one.
    mine = {
        name: tuple(tensor.shape)
        for name, tensor in own.items()
        if name in weights or id(tensor) not in stored
    }
    theirs = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    named = class_name(type(module))
    if wrong := [n for n in [*mine, *theirs] if mine.get(n) != theirs.get(n)]:
        raise ValueError(
            f"{where}: holds a module of {written}, whose weights do not fit {named} ({wrong[0]} "
            f"has the shape {theirs.get(wrong[0])} there and {mine.get(wrong[0])} here); load it "
            "with the class that wrote it"
        )
    bases = [class_name(base) for base in type(module).__mro__]
    why = f"from which {named} derives" if written in bases else "a class that is not known here"
    rank_zero_warn(
        f"{where}: holds a module of {written}, {why}; its arguments and weights fit {named}, "
        "which is loaded. Save it again to record the new name"
    )
