"""Attention weights of which only the largest are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor


class TopKWeights(Mapping[str, Tensor]):
    """Attention weights that store the largest of each row, and are expanded on access.

    Args:
        kept: By name, the largest weights `batch heads query k`, their keys (of the same shape)
            and the number of keys.
    """

    def __init__(self, kept: dict[str, tuple[Tensor, Tensor, int]]) -> None:
        self.kept = kept

    def __getitem__(self, name: str) -> Tensor:
        weights, indices, keys = self.kept[name]
        whole = weights.new_zeros(*weights.shape[:-1], keys)
        # Rows of fewer keys are padded with zeros at key 0, which add nothing there.
        return whole.scatter_add_(-1, indices.long(), weights)

    def __iter__(self) -> Iterator[str]:
        return iter(self.kept)

    def __len__(self) -> int:
        return len(self.kept)
