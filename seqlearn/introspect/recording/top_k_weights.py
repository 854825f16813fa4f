"""Attention weights of which only the greatest are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor


class TopKWeights(Mapping[str, Tensor]):
    """Weights of which only the greatest of each row are kept; made whole when asked for.

    Args:
        kept: By name the greatest weights `batch heads query k`, their keys (as large), and how
            many keys there were.
    """

    def __init__(self, kept: dict[str, tuple[Tensor, Tensor, int]]) -> None:
        self.kept = kept

    def __getitem__(self, name: str) -> Tensor:
        weights, indices, keys = self.kept[name]
        whole = weights.new_zeros(*weights.shape[:-1], keys)
        # Rows of fewer keys are filled up with zeros at key 0, which add nothing there.
        return whole.scatter_add_(-1, indices.long(), weights)

    def __iter__(self) -> Iterator[str]:
        return iter(self.kept)

    def __len__(self) -> int:
        return len(self.kept)
