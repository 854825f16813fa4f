"""A vector of numbers as source or target."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqlearn.batch import SequenceBatch
from seqlearn.metrics import VectorStatistics
from seqlearn.nn import Standardize
from seqlearn.plain_data import convert_fields
from seqlearn.spec.base import RowFormat, SourceSpec, TargetLoss, TargetSpec
from seqlearn.spec.raw_inputs import check_list, to_vector
from seqlearn.spec.scaling import check_scaling, differing_scaling


@dataclass(frozen=True)
class VectorSpec(SourceSpec, TargetSpec):
    """A vector of numbers, as source or target.

    Attributes:
        size: Numbers in each vector.
        mean: The mean of each number over the training split; `None` without normalization.
        std: The standard deviation of each. Models read and predict `(vector - mean) / std`;
            `predict` returns vectors in the units of the data.

    Raises:
        TypeError: If `size` is not a whole number.
        ValueError: If `size` is not positive, or mean and deviation do not have `size` numbers.

    Examples:
        >>> VectorSpec(2).encode([[1, 2]])
        [array([1., 2.], dtype=float32)]
    """

    kind: ClassVar[str] = "vector"
    is_sequence: ClassVar[bool] = False
    needs_decoder: ClassVar[bool] = False
    methods: ClassVar[tuple[str, ...]] = ()

    size: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        convert_fields(self)
        if self.size < 1:
            raise ValueError(f"expected vectors of at least one number, got size={self.size}")
        check_scaling(self)

    def __repr__(self) -> str:
        return f"VectorSpec(size={self.size}{', normalized' if self.mean is not None else ''})"

    def encode(self, vectors: Iterable[Any], *, label: str = "input") -> list[NDArray[np.float32]]:
        """Check raw vectors, and turn each into an array of `size` numbers.

        Args:
            vectors: Lists, arrays or tensors of numbers.
            label: How error messages name one of them.

        Raises:
            TypeError: If it is not a list of vectors, or one is not made of numbers.
            ValueError: If one has another size, or a number that is not finite.

        Examples:
            >>> VectorSpec(2).encode([[0, 1]])
            [array([0., 1.], dtype=float32)]
        """
        listed = check_list(vectors, label)
        return [to_vector(each, self.size, f"{label} {n}") for n, each in enumerate(listed, 1)]

    @property
    def longest(self) -> int:
        """1."""
        return 1

    @property
    def row_format(self) -> RowFormat:
        """`size` numbers."""
        return RowFormat("float32", (self.size,))

    def diff(self, other: VectorSpec) -> str | None:
        """Sizes or scaling, if they differ."""
        if self.size != other.size:
            return f"{self} against {other}"
        return differing_scaling(self, other)

    def describe(self, value: Any) -> str:
        """The numbers, to three digits."""
        return " ".join(f"{float(number):.3g}" for number in value)

    def random_value(self, rng: Random, length: int) -> Any:  # noqa: ARG002
        """Multiples of one half from -2 to 2, scaled as the data."""
        numbers = [rng.randint(-4, 4) / 2 for _ in range(self.size)]
        if self.mean is None or self.std is None:
            return numbers
        return [n * std + mean for n, mean, std in zip(numbers, self.mean, self.std, strict=True)]

    def _scaling(self) -> Standardize:
        return Standardize(self.mean, self.std, self.size)

    # As a source

    def make_input_layer(self, d_model: int) -> nn.Module:
        """A linear map, of normalized vectors if there is a mean."""
        linear = nn.Linear(self.size, d_model)
        return linear if self.mean is None else nn.Sequential(self._scaling(), linear)

    def embed(
        self,
        layer: nn.Module,
        source: Tensor,
        lengths: Tensor | None,  # noqa: ARG002 -- a vector has none
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """A sequence of one vector."""
        if isinstance(layer, nn.Linear):
            source = source.to(layer.weight.dtype)
        return layer(source)[:, None], source.new_ones(source.shape[0], 1, dtype=torch.bool), None

    def decode(self, ids: Iterable[Any]) -> list[Any]:
        """The vectors themselves."""
        return list(ids)

    def collate(
        self, encoded: Sequence[Any], device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor | None]:
        """Stack the vectors, in single precision at least."""
        dtype = torch.promote_types(dtype, torch.float32)
        return torch.stack([torch.as_tensor(v, dtype=dtype) for v in encoded]).to(device), None

    def unbatch(self, source: Tensor, lengths: Tensor | None) -> list[Any]:  # noqa: ARG002
        """The vectors."""
        return list(source)

    # As a target

    @property
    def output_size(self) -> int:
        """`size`."""
        return self.size

    @property
    def is_readable_text(self) -> bool:
        """False."""
        return False

    def make_target_embedding(self, d_model: int) -> nn.Module | None:  # noqa: ARG002
        """None: a vector is predicted from the pooled vector."""
        return None

    def collate_targets(
        self, encoded: Sequence[Any], device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor | None]:
        """Stack the vectors."""
        return self.collate(encoded, device, dtype)

    def labels_of(self, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """One vector per example, normalized if there is a mean."""
        target = batch.target
        if self.mean is not None:
            target = self._scaling().to(target)(target)
        return target[:, None], ~batch.is_duplicate[:, None]

    def count_items(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """`size` per example."""
        return np.full_like(lengths, self.size)

    def compute_loss(
        self,
        hidden: Tensor,
        labels: Tensor,
        head: nn.Linear,
        *,
        smoothing: float = 0.0,  # noqa: ARG002
    ) -> TargetLoss:
        """The squared error of each number."""
        outputs = head(hidden)
        error = (outputs - labels).square()
        count = torch.tensor(error.numel())
        return TargetLoss(error.sum(), count, error, error == 0, outputs.detach())

    def item_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The summed squared error."""
        return (outputs - labels).square().sum(-1)

    def make_metrics(self) -> VectorStatistics:
        """Loss, mean absolute error, root of the mean squared error, and R²."""
        return VectorStatistics(self.size, self.std)

    def decode_outputs(self, outputs: Tensor) -> list[Any]:
        """The predicted vectors in the units of the data, on the CPU."""
        vectors = outputs.cpu()
        return list(vectors if self.mean is None else self._scaling().to(vectors).inverse(vectors))

    def decode_labels(self, target: Tensor) -> list[Any]:
        """The vectors, on the CPU."""
        return list(target.cpu())
