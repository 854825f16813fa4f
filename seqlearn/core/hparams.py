"""Capturing the constructor arguments of a module as plain data, and checking them."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from abc import ABCMeta
from argparse import Namespace
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict, TypeVar, cast

import lightning as L
from lightning.pytorch.utilities.parsing import save_hyperparameters

from seqlearn.core.generation_config import GenerationConfig
from seqlearn.core.recipe import Recipe
from seqlearn.plain_data import check_flag, to_builtin, to_plain_data
from seqlearn.spec import SequenceSpec

Instance = TypeVar("Instance")


class BaseOptions(TypedDict, total=False):
    """The keyword arguments that every module passes to `SequenceModule`.

    Examples:
        >>> import seqlearn as sl
        >>> from typing import Unpack
        >>> class MyModel(sl.SequenceModule):
        ...     def __init__(self, spec, *, d_model=256, **base: Unpack[sl.BaseOptions]):
        ...         super().__init__(spec, d_model=d_model, **base)
        >>> text = sl.TextSpec(9, 4)
        >>> MyModel(sl.SequenceSpec(text, text), tie_embeddings=True).hparams["tie_embeddings"]
        True

    Attributes:
        recipe: Training options; by default `default_recipe` of the class.
        generation: Decoding options, the defaults of `generate`.
        tie_embeddings: Whether the output layer and, with a joint vocabulary, the source embedding
            share the weight of the target embedding.
    """

    recipe: Recipe | None
    generation: GenerationConfig | None
    tie_embeddings: bool


class CapturesInitArgs(ABCMeta):
    """Metaclass that captures the constructor arguments of a module.

    `MyModel(spec, …)` calls it. It binds the arguments to the signature of `MyModel.__init__`,
    including defaults, and thus names positional arguments. It converts numpy scalars, paths, enums
    and tuples (to lists), so that the constructor gets the same values when a checkpoint is loaded,
    and runs the constructor on them; a copy is captured. The arguments of parent classes follow
    from these and are not captured.
    """

    def __call__(cls: type[Instance], *args: Any, **kwargs: Any) -> Instance:
        """Build an instance.

        Raises:
            TypeError: If the arguments do not fit the constructor, cannot be saved in a checkpoint,
                or the constructor does not call `super().__init__`.
        """
        bound, arguments = capture_init_args(cls, args, kwargs)
        instance: Any = cls.__new__(cls, *args, **kwargs)
        object.__setattr__(instance, "_captured", arguments)
        instance.__init__(*bound.args[1:], **bound.kwargs)
        if "_init_arguments" not in instance.__dict__:
            raise TypeError(f"{cls.__name__}.__init__ must call super().__init__(spec, …)")
        instance._built_options = instance._options()  # noqa: SLF001 -- of the mixin below
        instance._check_arguments()  # noqa: SLF001 -- of the mixin below
        return cast(Instance, instance)

    @property
    def __signature__(cls) -> inspect.Signature:
        """The signature of the constructor, for `inspect.signature` and `help`."""
        built: Any = cls
        signature = inspect.signature(built.__init__)
        parameters = list(signature.parameters.values())[1:]
        return signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)


class InitArgsMixin(L.LightningModule, metaclass=CapturesInitArgs):
    """The part of a module that stores its constructor arguments.

    The metaclass captures them, so `save_hyperparameters` need not be called. A call excludes the
    arguments in `ignore`.
    """

    recipe: Recipe
    generation: GenerationConfig
    _init_arguments: dict[str, Any]
    _built_options: dict[str, Any]

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; the types of `recipe` and `generation` are checked.

        Raises:
            TypeError: If `recipe` is not a `Recipe`, or `generation` not a `GenerationConfig`.
        """
        if name in ("recipe", "generation"):
            _check_option(name, value)
        super().__setattr__(name, value)

    @property
    def lr(self) -> float:
        """The maximum learning rate, `recipe.lr`; the learning-rate finder of Lightning sets it.

        Examples:
            `lightning.pytorch.tuner.Tuner(trainer).lr_find(model, datamodule=data)` does the same:

            >>> import seqlearn as sl
            >>> spec = sl.SequenceSpec(sl.TextSpec(9, 4), sl.TextSpec(9, 4))
            >>> model = sl.GRU(spec, d_model=4)
            >>> model.lr = 0.002
            >>> model.recipe.lr
            0.002
        """
        return self.recipe.lr

    @lr.setter
    def lr(self, value: float) -> None:
        if "recipe" not in self.__dict__:
            raise AttributeError(f"set lr after super().__init__(spec, …), got lr={value!r} before")
        self.recipe = dataclasses.replace(self.recipe, lr=value)

    def _options(self) -> dict[str, Any]:
        return {"recipe": self.recipe, "generation": self.generation}

    def _assigned_options(self) -> dict[str, Any]:
        """`recipe` and `generation`, as plain data, if they were assigned after construction."""
        ignored = self.__dict__.get("_ignored_arguments", ())
        return {
            name: to_plain_data(value, name)
            for name, value in self._options().items()
            if value != self._built_options[name] and name not in ignored
        }

    def save_hyperparameters(
        self,
        *args: Any,
        ignore: Iterable[str] | str | None = None,
        frame: Any = None,
        logger: bool = True,
    ) -> None:
        """Exclude arguments from checkpoints, or add values to `hparams`.

        All arguments are saved without this call; the spec is saved separately.

        Args:
            args: A dictionary or `Namespace` is added to `hparams`; names of arguments have no
                effect.
            ignore: Arguments to exclude. If they are required, pass them to
                `load_from_checkpoint` and `from_pretrained` by name.
            frame: Not used.
            logger: Whether `hparams` is sent to the logger of the Trainer.

        Raises:
            TypeError: If a value to add is not plain data.
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
        """Store plain data, and record errors of other arguments for `_check_arguments`."""
        ignored = self.__dict__.get("_ignored_arguments", set())
        options = self._options()
        self._init_arguments, self._not_plain = {}, {}
        for name, value in arguments.items():
            if name not in ignored:
                try:
                    if name not in options:
                        _check_no_dataclass(value, f"hyper-parameter {name}")
                    self._init_arguments[name] = to_plain_data(value, f"hyper-parameter {name}")
                except TypeError as error:
                    self._not_plain[name] = error
        given = self._init_arguments | {
            name: to_plain_data(value, name)
            for name, value in options.items()
            if name not in ignored
        }
        save_hyperparameters(self, given_hparams=copy.deepcopy(given))
        self._log_hyperparams = self.__dict__.get("_log_requested", True)

    def _check_arguments(self) -> None:
        """Raise the errors of arguments that are not ignored; called after the constructor."""
        for name, error in self.__dict__.pop("_not_plain", {}).items():
            if name not in self.__dict__.get("_ignored_arguments", ()):
                raise TypeError(
                    f"{error}, or leave it out with self.save_hyperparameters(ignore=[{name!r}])"
                )


def capture_init_args(
    cls: type[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[inspect.BoundArguments, dict[str, Any]]:
    """Bind arguments to the signature of a constructor, and convert them.

    Args:
        cls: The class to be built.
        args: Positional arguments, without `self`.
        kwargs: Keyword arguments.

    Returns:
        The arguments of the constructor, including defaults, and the same by name without the spec.

    Raises:
        TypeError: If they do not fit, the spec is not a `SequenceSpec`, or the constructor has
            positional-only parameters.
    """
    try:
        bound = bind_arguments(cls, *args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{cls.__name__}: {error}") from None
    for name in list(bound.arguments)[1:]:
        bound.arguments[name] = _to_lists(to_builtin(bound.arguments[name]))
    arguments = {name: _to_lists(value) for name, value in list(bound.arguments.items())[1:]}
    for parameter in list(bound.signature.parameters.values())[1:]:
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(
                f"{cls.__name__}: the parameter {parameter.name} is positional-only, but arguments "
                "from a checkpoint are passed by name; remove the / from __init__"
            )
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments.update(arguments.pop(parameter.name))
    check_spec(_take_spec(cls, bound.signature, arguments))
    _check_flags(bound.signature, arguments)
    return bound, arguments


def _check_flags(signature: inspect.Signature, arguments: Mapping[str, Any]) -> None:
    """Check the arguments that are annotated as `bool`; any other text than `""` would be true.

    Raises:
        TypeError: If one is neither true or false (or 1 or 0) nor its default.
    """
    declared = signature.parameters
    flags = {name: each.default for name, each in declared.items() if each.annotation == "bool"}
    flags |= {name: each.default for name, each in declared.items() if each.annotation is bool}
    if "tie_embeddings" not in declared:  # an option of the base class
        flags["tie_embeddings"] = False
    for name, default in flags.items():
        value = arguments.get(name, default)
        if value is not default:
            check_flag(value, name)


def _to_lists(value: Any) -> Any:
    """Copy containers; tuples become lists, as in a checkpoint."""
    if isinstance(value, list | tuple):
        return [_to_lists(part) for part in value]
    if isinstance(value, dict):
        return {key: _to_lists(part) for key, part in value.items()}
    return value


_ELSEWHERE = {
    **{
        option.name: f"pass recipe=sl.Recipe({option.name}=…); "
        for option in dataclasses.fields(Recipe)
    },
    "learning_rate": "pass recipe=sl.Recipe(lr=…); ",
    **dict.fromkeys(("batch_size", "batch_tokens"), "pass batch_tokens=… to the data module; "),
}
"""Where to pass what users look for among the arguments of a module."""


def bind_arguments(cls: type[Any], *args: Any, **kwargs: Any) -> inspect.BoundArguments:
    """Bind arguments to the parameters of a constructor, including defaults.

    Raises:
        TypeError: If they do not fit, or `**base: Unpack[BaseOptions]` has an unknown name.
    """
    bound = inspect.signature(cls.__init__).bind(None, *args, **kwargs)
    bound.apply_defaults()
    known = BaseOptions.__annotations__
    for parameter in bound.signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD and "BaseOptions" in str(parameter.annotation):
            for name in bound.arguments[parameter.name]:
                if name not in known:
                    own = [key for key in bound.signature.parameters if key != parameter.name][1:]
                    raise TypeError(
                        f"got an unexpected keyword argument {name!r}; {_ELSEWHERE.get(name, '')}"
                        f"{cls.__name__} takes {', '.join([*own, *known])}"
                    )
    return bound


def _take_spec(cls: type[Any], signature: inspect.Signature, arguments: dict[str, Any]) -> Any:
    """Remove the spec from the arguments and return it: the argument `spec`, or else the first.

    Raises:
        TypeError: If positional arguments without names remain.
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


def _check_option(name: str, value: object) -> None:
    """Check the type of `recipe` or `generation`.

    Raises:
        TypeError: If it is something else, such as a dictionary.
    """
    if name == "recipe" and not isinstance(value, Recipe):
        raise TypeError(f"recipe: expected a Recipe, such as Recipe(lr=1e-3), got {value!r}")
    if name == "generation" and not isinstance(value, GenerationConfig):
        raise TypeError(
            "generation: expected a GenerationConfig, such as GenerationConfig('beam'), got "
            f"{value!r}"
        )


def check_spec(spec: object) -> None:
    """Check that the first argument of a model is a spec.

    Raises:
        TypeError: If it has another type, such as a data module.
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
    """Check that an argument can be restored from a checkpoint.

    Raises:
        TypeError: If it is or contains a dataclass, which would be restored as a dictionary.
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
