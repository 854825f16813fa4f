"""The two roles of a type: `SourceSpec` and `TargetSpec`.

One class per type carries all that depends on the type: its input layer, its output size, its loss
and metrics, how examples are padded, encoded and decoded, and how it is described. Models, data
modules and callbacks call these methods and never ask which type it is. A new type is a frozen
dataclass that implements one role or both, with a `kind` of its own:

    @dataclass(frozen=True)
    class CountSpec(TargetSpec):
        kind: ClassVar[str] = "count"
        ...

A subclass of such a class needs a `kind` of its own too. Fields are plain data; use tuples for
sequences, because lists in a checkpoint are loaded as tuples.

A class with a `kind` is registered when it is defined. A checkpoint contains the kind and the name
of the module that defines it; loading never imports that module, so import it first.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from random import Random
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor, nn

from seqlearn.batch import SequenceBatch
from seqlearn.plain_data import to_plain_data


class TargetLoss(NamedTuple):
    """The loss of the targets that count in a batch.

    Attributes:
        loss: The sum over all items, with its gradient.
        num_items: How many items (tokens, examples or numbers) were summed.
        nll: The unweighted, unsmoothed loss of each item.
        correct: Whether the prediction of each item is right.
        predicted: What metrics compare with the labels: ids or vectors, one for each label; `None`
            if the metrics of the type need none.

    Examples:
        >>> from seqlearn.spec import VectorSpec
        >>> hidden, labels, head = torch.zeros(3, 4), torch.ones(3, 2), nn.Linear(4, 2)
        >>> result = VectorSpec(2).compute_loss(hidden, labels, head)
        >>> result.num_items.item(), result.nll.shape, result.loss.requires_grad
        (6, torch.Size([3, 2]), True)
    """

    loss: Float[Tensor, ""]
    num_items: Tensor
    nll: Tensor
    correct: Tensor
    predicted: Tensor | None = None


class RowFormat(NamedTuple):
    """How a data module stores the encoded values of a type.

    Values of a sequence type are arrays `time …` of different lengths, stored one after the other
    with their offsets; other values are arrays `…`. A batch contains integers as int64 and other
    numbers as float32, padded on the right with zeros.

    Attributes:
        dtype: The numpy dtype on disk, such as `"int32"` or `"float32"`.
        shape: The shape of a value; for a sequence type, of one time step.

    Examples:
        >>> RowFormat("int32")  # with is_sequence: ids, as of a text
        RowFormat(dtype='int32', shape=())
        >>> RowFormat("float16", (80,))  # with is_sequence: a series of vectors
        RowFormat(dtype='float16', shape=(80,))
    """

    dtype: str
    shape: tuple[int, ...] = ()


class SideSpec(ABC):
    """What a source or a target is; see `SourceSpec` and `TargetSpec`.

    Attributes:
        kind: The name of the type in checkpoints and error messages.
        is_sequence: Whether an example has a length; if not, it is one vector or one class.

    Examples:
        >>> from seqlearn.spec import ClassesSpec, TextSpec
        >>> TextSpec(9, 4).is_sequence, ClassesSpec(("no", "yes")).is_sequence
        (True, False)
    """

    kind: ClassVar[str]
    is_sequence: ClassVar[bool]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if (kind := cls.__dict__.get("kind")) is None:
            if inherited := getattr(cls, "kind", None):
                raise TypeError(
                    f"{_location(cls)} needs a kind of its own, such as kind: ClassVar[str] = "
                    f"{cls.__name__.lower()!r}; with the inherited kind {inherited!r} a checkpoint "
                    "is loaded as the parent class"
                )
            return
        known = _REGISTRY.get(kind)
        if known is not None and not _is_redefinition(known, cls):
            raise ValueError(
                f"expected a new kind for {_location(cls)}, got {kind!r}, which {_location(known)} "
                "has"
            )
        _REGISTRY[kind] = cls

    @property
    @abstractmethod
    def longest(self) -> int:
        """The length of the longest example of any split; 1 for what has no length."""

    @property
    @abstractmethod
    def row_format(self) -> RowFormat:
        """How a data module stores the encoded values."""

    @abstractmethod
    def diff(self, other: Any) -> str | None:
        """Describe how `other`, of the same class, differs so that inputs or outputs change.

        Returns:
            Both values in a few words; `None` if a model of one takes the data of the other.
        """

    @abstractmethod
    def describe(self, value: Any) -> str:
        """One raw value as a short text, for tables and samples."""

    @abstractmethod
    def random_value(self, rng: Random, length: int) -> Any:
        """A random encoded value, from which `seqlearn.testing` makes examples.

        Args:
            rng: Makes all random choices.
            length: The length, from 0 to `longest`; ignored if the type is not a sequence.

        Returns:
            A number, a list or a numpy array; for a sequence type `length` items.
        """

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a checkpoint, with the kind and the module that defines it.

        Raises:
            TypeError: If the class has no kind, or a field is not plain data.
        """
        name = type(self).__name__
        if not hasattr(self, "kind"):
            raise TypeError(f"{name} needs a kind, such as kind: ClassVar[str] = {name.lower()!r}")
        fields: dict[str, Any] = asdict(self)  # type: ignore[call-overload]
        plain = {key: to_plain_data(value, f"{name}.{key}") for key, value in fields.items()}
        return {"kind": self.kind, "module": type(self).__module__, **plain}


class SourceSpec(SideSpec):
    """A type that a model can take as its source.

    Examples:
        >>> from seqlearn.spec import TextSpec
        >>> spec = TextSpec(9, 4)
        >>> spec.collate(spec.encode([[5, 6], [7]]), torch.device("cpu"), torch.float32)
        (tensor([[5, 6],
                [7, 0]]), tensor([2, 1]))
    """

    @abstractmethod
    def make_input_layer(self, d_model: int) -> nn.Module:
        """Make the layer from a source to vectors of `d_model` numbers; `embed` calls it."""

    @abstractmethod
    def embed(
        self, layer: nn.Module, source: Tensor, lengths: Tensor | None
    ) -> tuple[Float[Tensor, "batch time d_model"], Bool[Tensor, "batch time"], Tensor | None]:
        """Turn a batch of sources into the inputs of the encoder.

        Args:
            layer: The layer of `make_input_layer`.
            source: What `collate` returned, `batch time …` or `batch …`.
            lengths: Their lengths, `batch`; `None` if they have none.

        Returns:
            The inputs; their mask, with at least one True in each row; and which rows are in truth
            empty (`batch`), or `None` if no row can be.
        """

    @abstractmethod
    def encode(self, values: Iterable[Any], *, label: str = "input") -> Sequence[Any]:
        """Check raw values and encode each; `label` names them in error messages."""

    @abstractmethod
    def decode(self, ids: Iterable[Any]) -> Sequence[Any]:
        """Turn encoded values into what a user reads; `encode` turns it back."""

    @abstractmethod
    def collate(
        self, encoded: Sequence[Any], device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor | None]:
        """Pad encoded values into one tensor, with their lengths where they have any.

        Returns:
            The values, `batch time …` (`batch …` without lengths), and the lengths, `batch`.
        """

    @abstractmethod
    def unbatch(self, source: Tensor, lengths: Tensor | None) -> list[Any]:
        """The values of a batch one by one, without padding, as `encode` takes them.

        Args:
            source: What `collate` returned, `batch time …` or `batch …`.
            lengths: Their lengths, `batch`; `None` if they have none.
        """


class TargetSpec(SideSpec):
    """A type that a model can predict.

    Attributes:
        needs_decoder: Whether a decoder predicts it one token at a time; if not, it is predicted
            from the pooled vector of the encoder (`AlignedSpec`: from the states of words).
        methods: The methods of a model that return it from raw sources.

    Examples:
        >>> from seqlearn.spec import ClassesSpec, TextSpec
        >>> ClassesSpec(("no", "yes")).methods, TextSpec(9, 4).methods
        (('classify',), ('generate', 'score'))
    """

    needs_decoder: ClassVar[bool]
    methods: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def output_size(self) -> int:
        """How many numbers the output layer returns for each prediction."""

    @property
    @abstractmethod
    def is_readable_text(self) -> bool:
        """Whether predictions are strings, which BLEU compares with references."""

    @abstractmethod
    def make_target_embedding(self, d_model: int) -> nn.Module | None:
        """Make the layer that embeds target tokens for a decoder; `None` without a decoder."""

    @abstractmethod
    def collate_targets(
        self, encoded: Sequence[Any], device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor | None]:
        """Pad encoded targets into one tensor, with their lengths where they have any.

        Returns:
            The targets, `batch time …` (`batch …` without lengths), and the lengths, `batch`.
        """

    @abstractmethod
    def labels_of(self, batch: SequenceBatch) -> tuple[Tensor, Bool[Tensor, "batch time"]]:
        """The values to predict, `batch time …`, and which of them count in the loss."""

    @abstractmethod
    def count_items(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many items of the loss each target has: its share of `TargetLoss.num_items`.

        The data module weights batches by it before it reads them.

        Args:
            lengths: The length of each stored target, `target`; 1 if the type is not a sequence.
        """

    @abstractmethod
    def compute_loss(
        self,
        hidden: Float[Tensor, "items d_model"],
        labels: Tensor,
        head: nn.Linear,
        *,
        smoothing: float = 0.0,
    ) -> TargetLoss:
        """Compute the loss of predictions.

        Args:
            hidden: One vector per item that counts; `head` turns it into the prediction.
            labels: The value to predict for each item, `items …`.
            head: The output layer.
            smoothing: Label smoothing, where there are classes.
        """

    @abstractmethod
    def item_loss(self, outputs: Tensor, labels: Tensor) -> Float[Tensor, " items"]:
        """The unsmoothed, unweighted loss of each item, with gradients, from computed outputs.

        Args:
            outputs: What the output layer returned for each item, `items outputs`.
            labels: The value to predict for each item, `items …`.
        """

    @abstractmethod
    def make_metrics(self) -> Any:
        """Make the metrics of an evaluation epoch.

        Returns:
            A torchmetrics `Metric` whose `update` takes `nll` and `correct` of `TargetLoss`, the
            mask of `labels_of`, the labels that count, and `predicted` of `TargetLoss`; and whose
            `compute` returns figures by name, among them `loss`.
        """

    @abstractmethod
    def decode_outputs(self, outputs: Tensor) -> list[Any]:
        """Turn the outputs of the output layer, `batch …`, into what a user reads."""

    @abstractmethod
    def decode_labels(self, target: Tensor) -> list[Any]:
        """Turn the targets of a batch, `batch …`, into what a user reads."""


class GeneratedSpec(TargetSpec):
    """A target that a decoder generates token by token, such as text.

    Its tokens are ids with the four reserved ones of `seqlearn.batch`. A type that `generate` and
    `score` support inherits from this class.

    Examples:
        >>> from seqlearn.spec import ClassesSpec, TextSpec
        >>> issubclass(TextSpec, GeneratedSpec), issubclass(ClassesSpec, GeneratedSpec)
        (True, False)
    """

    needs_decoder: ClassVar[bool] = True

    @property
    @abstractmethod
    def suppressed_ids(self) -> tuple[int, ...]:
        """The ids that are never generated, as `suppress_tokens` in Hugging Face Transformers."""

    @abstractmethod
    def encode(self, values: Iterable[Any], *, label: str = "input") -> Sequence[Any]:
        """Turn raw values into lists of ids without start and end; errors name them by `label`."""

    @abstractmethod
    def decode(self, ids: Iterable[Any]) -> Sequence[Any]:
        """Turn lists of ids into raw values, leaving out padding, start and end.

        `encode` turns a value that contains only ids from 4 on back into the same ids.
        """


_REGISTRY: dict[str, type[SideSpec]] = {}


def _location(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _is_redefinition(known: type, cls: type) -> bool:
    """Whether a class is defined again: in a notebook, or in a file imported under two names."""
    if _location(known) == _location(cls):
        return True
    files = [getattr(sys.modules.get(one.__module__), "__file__", None) for one in (known, cls)]
    return known.__qualname__ == cls.__qualname__ and files[0] == files[1] is not None


def side_from_dict(plain: Mapping[str, Any]) -> Any:
    """Build the side that `SideSpec.to_dict` wrote.

    Raises:
        ValueError: If no class with this kind has been defined.
    """
    fields = dict(plain)
    kind, module = fields.pop("kind"), fields.pop("module", None)
    if kind not in _REGISTRY:
        advice = f"import {module}, which defines it, before loading" if module else "update it"
        raise ValueError(
            f"expected a known kind of source or target ({', '.join(_REGISTRY)}), got {kind!r}; "
            f"{advice}"
        )
    return _REGISTRY[kind](**_to_tuples(fields))


def _to_tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_to_tuples(part) for part in value)
    if isinstance(value, dict):
        return {key: _to_tuples(part) for key, part in value.items()}
    return value
