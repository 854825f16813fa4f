"""The most probable tokens of a large vocabulary, without sorting it.

The vocabulary is cut into groups of `GROUP_SIZE` tokens, and the largest logit of each group is its
leader. The `n` most probable tokens are all in the groups of the `n` largest leaders, so only these
few groups are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqlearn.decoding.logits import NEG_INF

GROUP_SIZE = 16
"""Tokens of a group."""

MIN_VOCABULARY = 1024
"""Smallest vocabulary that is cut into groups; a smaller one is sorted as a whole."""


class TopTokens:
    """Finds the most probable tokens among those that may be generated.

    Args:
        vocab_size: Size of the vocabulary.
        suppress: The ids that are never generated.
        device: The device of the logits.

    Examples:
        >>> top = TopTokens(5, suppress=[0], device=torch.device("cpu"))
        >>> logits = torch.tensor([[9.0, 1.0, 3.0, 2.0, 0.0], [9.0, 1.0, 0.0, 2.0, 5.0]])
        >>> top.best(logits)
        (tensor([2, 4]), tensor([9., 9.]))
        >>> top.continuations(logits, torch.tensor([[0.0, -1.0]]), size=2)
        (tensor([[4., 3.]]), tensor([[1, 0]]), tensor([[4, 2]]))
    """

    def __init__(self, vocab_size: int, suppress: Sequence[int], device: torch.device) -> None:
        size = GROUP_SIZE if vocab_size >= MIN_VOCABULARY else 1
        self._vocab, self._num_groups = vocab_size, -(-vocab_size // size)
        # Group j holds the ids j, j + num_groups, j + 2·num_groups …, so that leaders are found
        # row by row of a matrix.
        self._offsets = torch.arange(size, device=device) * self._num_groups
        self._allowed = torch.arange(size * self._num_groups, device=device) < vocab_size
        self._allowed[torch.tensor(suppress, dtype=torch.long, device=device)] = False
        affected = sorted({each % self._num_groups for each in suppress})
        self._affected = torch.tensor(affected, dtype=torch.long, device=device)

    def best(
        self, logits: Float[Tensor, "rows vocab"]
    ) -> tuple[Int[Tensor, " rows"], Float[Tensor, " rows"]]:
        """The most probable token of each row, and the largest logit of the whole vocabulary."""
        leaders = self.leaders(logits)
        largest = leaders.amax(-1)  # NaN if one logit is
        group = self._without_suppressed(leaders, logits).argmax(-1)
        rows = torch.arange(len(logits), device=logits.device)
        values, ids = self._members(logits, rows, group)
        return ids.gather(1, values.argmax(-1, keepdim=True))[:, 0], largest

    def continuations(
        self,
        logits: Float[Tensor, "rows vocab"],
        shift: Float[Tensor, "sources beams"],
        size: int,
        leaders: Float[Tensor, "rows groups"] | None = None,
    ) -> tuple[
        Float[Tensor, "sources next"], Int[Tensor, "sources next"], Int[Tensor, "sources next"]
    ]:
        """The most probable continuations of all rows of each source.

        Args:
            logits: Logits; those of a source are adjacent rows, its beams.
            shift: Is added to all logits of a row.
            size: Number of continuations; fewer if there are not so many.
            leaders: Of these logits, if they are known; they are changed.

        Returns:
            Their shifted logits, in descending order, the rows that they continue, and the tokens.
        """
        sources, beams = shift.shape
        if leaders is None:
            leaders = self.leaders(logits)
        leaders = self._without_suppressed(leaders, logits)
        leaders = (leaders + shift.view(-1, 1)).view(sources, -1)
        at = leaders.topk(min(size, leaders.shape[1])).indices
        first_row = torch.arange(sources, device=logits.device)[:, None] * beams
        rows = first_row + at // self._num_groups
        values, ids = self._members(logits, rows, at % self._num_groups)
        values = (values + shift.view(-1)[rows][..., None]).flatten(1)
        best, at = values.topk(min(size, beams * self._vocab))
        rows = rows.gather(1, at // len(self._offsets))
        return best, rows, ids.flatten(1).gather(1, at)

    def leaders(self, logits: Tensor) -> Float[Tensor, "rows groups"]:
        """The largest logit of each group."""
        groups = self._num_groups
        whole = (self._vocab // groups) * groups
        leaders = logits[:, :whole].view(len(logits), -1, groups).amax(1)
        rest = self._vocab - whole
        if rest:
            leaders[:, :rest] = torch.maximum(leaders[:, :rest], logits[:, whole:])
        return leaders

    def _without_suppressed(self, leaders: Tensor, logits: Tensor) -> Tensor:
        """Correct the leaders of the groups that hold a token that may not be generated."""
        rows = torch.arange(len(logits), device=logits.device)[:, None]
        values, _ = self._members(logits, rows, self._affected.expand(len(logits), -1))
        leaders[:, self._affected] = values.amax(-1)
        return leaders

    def _members(
        self, logits: Tensor, rows: Int[Tensor, "*#groups"], group: Int[Tensor, "*groups"]
    ) -> tuple[Float[Tensor, "*groups size"], Int[Tensor, "*groups size"]]:
        """The logits of the tokens of some groups, -∞ for what may not be generated; their ids."""
        ids = group[..., None] + self._offsets
        allowed = self._allowed[ids]
        ids = ids.clamp(max=self._vocab - 1)
        return logits[rows[..., None], ids].masked_fill(~allowed, NEG_INF), ids
