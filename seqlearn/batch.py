"""`SequenceBatch`, `Memory`, and the convention for lengths and masks.

Tensors are batch first. Masks are boolean; `True` means real, "may be attended to". They are built
in this module only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

PAD = 0
"""The id of padding in every vocabulary."""
UNKNOWN = 1
"""The id of the unknown symbol in every vocabulary."""
START = 2
"""The id of the start of a text in every vocabulary."""
END = 3
"""The id of the end of a text in every vocabulary."""

SPECIAL_TOKENS = ("<pad>", "<unk>", "<s>", "</s>")
"""How the four reserved ids are written, in the order of their ids."""


class SequenceBatch(NamedTuple):
    """A batch of examples, as a data module yields it and a module takes it.

    Attributes:
        source: Ids `batch source` (int64, padded with 0), vectors `batch size` (float), or `None`.
        source_lengths: Tokens in each source, `batch`; zero is legal. `None` unless source is ids.
        target: Ids `batch target` that stand as start … end, class ids `batch`, vectors
            `batch size`, or tags `batch words 2`: the position of each word's first piece in the
            source, and the number of its label, from 1.
        target_lengths: Tokens in each target, start and end counted, or words, `batch`. `None` for
            classes and vectors.
        indices: Position of each example in its split, `batch`; a negative one marks a duplicate
            that only evens out the ranks, and counts in no loss, metric or prediction.
        references: The raw target texts, in evaluation splits.
        continues_previous: Whether row `i` goes on where row `i` of the batch before it ended, as
            the streams of a long text do; a recurrent language model then carries its state on.
        loss_weight: What the mean loss of this batch counts in training: its share of the targets
            of its optimizer step, times the number of batches that Lightning and its strategy
            average over, `tokens · replicas · accumulate_grad_batches / tokens of the step`. So
            the step's gradient is that of the mean over all of its targets. It is 1.0 for one
            process without accumulation, in evaluation, and in batches of a loader of your own.

    Examples:
        >>> from seqlearn.batch import pad
        >>> source, lengths = pad([[5, 6, 7], [8]])
        >>> batch = SequenceBatch(source, lengths, target=torch.tensor([0, 1]), target_lengths=None)
        >>> batch.size, batch.is_duplicate
        (2, tensor([False, False]))
    """

    source: Tensor | None
    source_lengths: Tensor | None
    target: Tensor
    target_lengths: Tensor | None
    indices: Tensor | None = None
    references: tuple[str, ...] | None = None
    continues_previous: bool = False
    loss_weight: float = 1.0

    @property
    def size(self) -> int:
        """Examples in the batch."""
        return self.target.shape[0]

    @property
    def is_duplicate(self) -> Tensor:
        """`batch`, True where the example only evens out the ranks."""
        if self.indices is None:
            return torch.zeros(self.size, dtype=torch.bool, device=self.target.device)
        return self.indices < 0


class Memory(NamedTuple):
    """The encoded source, as an encoder returns it and a decoder receives it.

    Attributes:
        states: Every encoder state, `batch source d_model`.
        mask: `batch source`, True where real.
        pooled: The context vector, `batch d_model`; zeros for an empty source.

    Examples:
        >>> import seqlearn as sl
        >>> from seqlearn.batch import pad
        >>> spec = sl.SequenceSpec(sl.TextSpec(9, 4), sl.ClassesSpec(("no", "yes")))
        >>> memory = sl.GRU(spec, d_model=8).encode(*pad([[5, 6, 7], [8]]))
        >>> memory.states.shape, memory.pooled.shape, memory.mask.sum(1).tolist()
        (torch.Size([2, 3, 8]), torch.Size([2, 8]), [3, 1])
    """

    states: Tensor
    mask: Tensor
    pooled: Tensor


def check_batch(batch: object) -> None:
    """Check that a module is called with a batch.

    Raises:
        TypeError: If it is something else, such as a dictionary or a plain tuple.

    Examples:
        >>> check_batch({"source": [5, 6]})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        TypeError: expected a SequenceBatch, got dict with the keys source; ...
    """
    if isinstance(batch, SequenceBatch):
        return
    kind = type(batch).__name__
    held = f" with the keys {', '.join(map(str, batch))}" if isinstance(batch, dict) else ""
    raise TypeError(
        f"expected a SequenceBatch, got {kind}{held}; let the data loader yield "
        "sl.SequenceBatch(source, source_lengths, target, target_lengths), or use a data module "
        "of seqlearn"
    )


def hide_rows(memory: Memory, rows: Bool[Tensor, " batch"]) -> Memory:
    """Mask every state of some rows of a memory, and set their numbers to zero.

    Args:
        memory: The memory.
        rows: True for the rows to hide.
    """
    return memory._replace(
        states=memory.states.masked_fill(rows[:, None, None], 0.0),
        mask=memory.mask & ~rows[:, None],
        pooled=memory.pooled.masked_fill(rows[:, None], 0.0),
    )


def length_mask(lengths: Int[Tensor, " batch"], size: int) -> Bool[Tensor, "batch {size}"]:
    """Mark the real positions of rows that are padded to `size`.

    Args:
        lengths: Real positions in each row, from 0 to `size`.
        size: Positions in the padded rows.

    Examples:
        >>> length_mask(torch.tensor([2, 0]), 3)
        tensor([[ True,  True, False],
                [False, False, False]])
    """
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def causal_mask(
    query: int, key: int, device: torch.device | None = None
) -> Bool[Tensor, "{query} {key}"]:
    """Make the mask in which query `i` sees the keys up to its own; the queries are the last keys.

    Args:
        query: Number of queries.
        key: Number of keys, at least `query`; the others are keys of earlier calls.
        device: Where the mask lies.

    Examples:
        >>> causal_mask(2, 3)
        tensor([[ True,  True, False],
                [ True,  True,  True]])
    """
    return torch.ones(query, key, dtype=torch.bool, device=device).tril(key - query)


def pad(
    sequences: Sequence[Sequence[int]], device: torch.device | None = None
) -> tuple[Int[Tensor, "batch time"], Int[Tensor, " batch"]]:
    """Pad sequences of different lengths (zero included) into one tensor.

    Returns:
        Ids `batch time` padded with 0 on the right, and lengths `batch`.

    Examples:
        >>> pad([[5, 6, 7], [8]])
        (tensor([[5, 6, 7],
                [8, 0, 0]]), tensor([3, 1]))
    """
    lengths = [len(sequence) for sequence in sequences]
    longest = max(lengths, default=0)
    ids = torch.full((len(lengths), longest), PAD, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.as_tensor(sequence, dtype=torch.long)
    return ids.to(device), torch.tensor(lengths, dtype=torch.long, device=device)
