"""The constructor's arguments of a module, kept as plain data from which it can be built again."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import lightning as L
from lightning.pytorch.utilities.parsing import save_hyperparameters

from seqlearn.core.recipe import Recipe
from seqlearn.plain_data import to_builtin, to_plain_data
from seqlearn.spec import SequenceSpec


class KeepsArguments(L.LightningModule):
    """The part of a module that keeps its constructor's arguments.

    They are kept by the class itself, so `save_hyperparameters` need not be called; where it is
    called, as in other Lightning modules, it only leaves out what it is told to ignore.
    """

    _init_arguments: dict[str, Any]

    def save_hyperparameters(
        self,
        *args: Any,
        ignore: Iterable[str] | str | None = None,
        frame: Any = None,
        logger: bool = True,
    ) -> None:
        """Leave arguments out of checkpoints, or add figures to `hparams`.

        All arguments but the spec, which every checkpoint holds anyway, are kept without this call.

        Args:
            args: Names of arguments change nothing; a dictionary or `Namespace` is added to
                `hparams`.
            ignore: Arguments that are not kept. What the constructor needs of them is then passed
                to `load_from_checkpoint` and `from_pretrained` by name.
            frame: Not used.
            logger: Whether the Trainer's logger gets `hparams`.

        Raises:
            TypeError: If what is to be added is not plain data.
        """
        names = {ignore} if isinstance(ignore, str) else set(ignore or ())
        self.__dict__.setdefault("_ignored_arguments", set()).update(names)
        self.__dict__["_log_hyperparams"] = self.__dict__["_log_requested"] = logger
        for extra in args:
            if not isinstance(extra, str):
                values = vars(extra) if isinstance(extra, Namespace) else extra
                self.hparams.update(to_plain_data(values, "hyper-parameter"))
        for name in names:
            self.__dict__.get("_init_arguments", {}).pop(name, None)
            self.hparams.pop(name, None)
        self._hparams_initial = copy.deepcopy(self.hparams)

    def _keep_arguments(self, arguments: dict[str, Any]) -> None:
        """Keep what is plain; `_check_arguments` refuses the rest, unless it is ignored by then."""
        ignored = self.__dict__.get("_ignored_arguments", set())
        self._init_arguments, self._not_plain = {}, {}
        for name, value in arguments.items():
            if name not in ignored:
                try:
                    if name not in ("recipe", "generation"):
                        _check_no_dataclass(value, f"hyper-parameter {name}")
                    self._init_arguments[name] = to_plain_data(value, f"hyper-parameter {name}")
                except TypeError as error:
                    self._not_plain[name] = error
        save_hyperparameters(self, given_hparams=copy.deepcopy(self._init_arguments))
        self._log_hyperparams = self.__dict__.get("_log_requested", True)

    def _check_arguments(self) -> None:
        """Refuse arguments that no checkpoint can hold, once the constructor has run."""
        for name, error in self.__dict__.pop("_not_plain", {}).items():
            if name not in self.__dict__.get("_ignored_arguments", ()):
                raise TypeError(
                    f"{error}, or leave it out with self.save_hyperparameters(ignore=[{name!r}])"
                )


def capture_init_args(cls: type[Any]) -> Callable[..., None]:
    """Wrap `cls.__init__` so that the instance keeps its arguments, and takes a `recipe`.

    The arguments with which the class that is being built was called are kept in the instance's
    `_arguments`, defaults included. Scalars of numpy, paths and enums are converted before the
    constructor sees them, so that it gets the same values when a checkpoint is loaded. `recipe` is
    accepted, and shows in the signature, also where the class does not ask for it.
    """
    init = cls.__init__
    signature = inspect.signature(init)
    variadic = [p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD]
    takes_recipe = "recipe" in signature.parameters

    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        recipe = {}
        if not takes_recipe and "recipe" in kwargs:
            recipe = {"recipe": kwargs.pop("recipe")}
        if type(self) is not cls:
            # A subclass whose constructor is this one, or hands a recipe on, keeps it.
            if recipe.get("recipe") is not None:
                self.__dict__["_arguments"].update(recipe)
            init(self, *args, **kwargs)
            return
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        for name in list(bound.arguments)[1:]:
            bound.arguments[name] = to_builtin(bound.arguments[name])
        arguments = dict(list(bound.arguments.items())[1:])
        for name in variadic:
            arguments.update(arguments.pop(name))
        check_spec(_take_spec(cls, signature, arguments))
        object.__setattr__(self, "_arguments", arguments | recipe)
        init(*bound.args, **bound.kwargs)
        if "_init_arguments" not in self.__dict__:
            raise TypeError(f"{cls.__name__}.__init__ must call super().__init__(spec, …)")
        self._check_arguments()

    if not takes_recipe:
        parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        added = inspect.Parameter(
            "recipe", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Recipe | None
        )
        rest = [signature.parameters[name] for name in variadic]
        wrapped.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*parameters, added, *rest]
        )
    return wrapped


def _take_spec(cls: type[Any], signature: inspect.Signature, arguments: dict[str, Any]) -> Any:
    """Take the spec, which is kept apart, out of the arguments: `spec`, or else the first.

    Raises:
        TypeError: If unnamed arguments are left.
    """
    parameters = list(signature.parameters.values())[1:]
    variadic = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "")
    unnamed = list(arguments.pop(variadic, ()))
    if "spec" in arguments:
        spec = arguments.pop("spec")
    elif parameters and parameters[0].name != variadic:
        spec = arguments.pop(parameters[0].name, None)
    else:
        spec = unnamed.pop(0) if unnamed else None
    if unnamed:
        raise TypeError(
            f"{cls.__name__} takes *{variadic}, whose names no checkpoint can keep; pass "
            "everything but the spec by name"
        )
    return spec


def check_spec(spec: object) -> None:
    """Check that a model is built with a spec.

    Raises:
        TypeError: If it is something else, such as the data module.
    """
    if isinstance(spec, SequenceSpec):
        return
    kind = type(spec).__name__
    is_data = isinstance(spec, L.LightningDataModule)
    raise TypeError(
        "expected the model's first argument to be a SequenceSpec, got "
        + (
            f"the data module {kind}; pass its spec: data.spec"
            if is_data
            else f"{kind}; pass data.spec"
        )
    )


def _check_no_dataclass(value: Any, name: str) -> None:
    """Check that an argument can be built again from what a checkpoint holds.

    Raises:
        TypeError: If it is or holds a dataclass, of which only a dictionary would come back.
    """
    parts = value.values() if isinstance(value, Mapping) else value
    if isinstance(value, Mapping | list | tuple):
        for part in parts:
            _check_no_dataclass(part, name)
    elif dataclasses.is_dataclass(value):
        raise TypeError(
            f"{name}: expected plain data, got the dataclass {type(value).__name__}, which a "
            "checkpoint would give back as a dictionary; pass its fields by name (the constructor "
            "builds the object)"
        )
