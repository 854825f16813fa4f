"""Targets with one item for each word or character of the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from seqlearn.batch import Memory, SequenceBatch, length_mask
from seqlearn.spec.base import RowFormat, TargetSpec
from seqlearn.spec.words import EncodedWords, Unit


@runtime_checkable
class WordSource(Protocol):
    """Protocol of a source whose words can have a target each, such as `TextSpec`.

    Examples:
        >>> from seqlearn.spec import TextSpec
        >>> isinstance(TextSpec(9, 4), WordSource)
        True
    """

    def encode_words(
        self, sentences: Any, *, label: str = "input", unit: Unit = "word"
    ) -> list[EncodedWords]:
        """Turn raw sentences into ids with the position of each word's first piece."""

    def word_starts(self, texts: Sequence[str], unit: Unit = "word") -> list[list[int]]:
        """The position of the first piece of each word (or character) of each text."""


class AlignedSpec(TargetSpec):
    """A target with one item for each word of its source, such as tags.

    The item of a word is predicted from the encoder state of the word's first piece. An encoded
    target is an array `words 2`: the position of that piece in the source, and a number that stands
    for the item, from 1. In a batch it is `batch words 2`, padded with zeros; `target_lengths` are
    the numbers of words.

    Attributes:
        unit: `"word"`, or `"character"` if there is an item for each character of the source
            instead; then a character takes the place of a word everywhere.

    Examples:
        >>> from seqlearn.spec import TagsSpec
        >>> TagsSpec(("noun", "verb")).place(starts=[0, 2], numbers=[1, 2]).tolist()
        [[0, 1], [2, 2]]
    """

    unit: ClassVar[Unit] = "word"
    is_sequence: ClassVar[bool] = True
    needs_decoder: ClassVar[bool] = False

    @property
    def longest(self) -> int:
        """1: no layer depends on the number of words."""
        return 1

    @property
    def row_format(self) -> RowFormat:
        """Position and number for each word."""
        return RowFormat("int32", (2,))

    @property
    def is_readable_text(self) -> bool:
        """False."""
        return False

    def place(self, starts: Sequence[int], numbers: Sequence[int]) -> NDArray[np.int32]:
        """Make an encoded target.

        Args:
            starts: The position of the first piece of each word.
            numbers: The number of each word's item, from 1.
        """
        return np.array([starts, numbers], np.int32).reshape(2, -1).T

    def make_target_embedding(self, d_model: int) -> nn.Module | None:  # noqa: ARG002
        """None: items are predicted from the states of the encoder."""
        return None

    def collate_targets(
        self,
        encoded: Sequence[Any],
        device: torch.device,
        dtype: torch.dtype,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor | None]:
        """Pad positions and numbers with zeros."""
        rows = [torch.as_tensor(np.asarray(row)).long().reshape(-1, 2) for row in encoded]
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.long, device=device)
        return nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device), lengths

    def count_items(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """One per word."""
        return lengths

    def labels_of(self, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """The number of each word's item, from 0, and the mask of the words."""
        assert batch.target_lengths is not None
        numbers = batch.target[..., 1] - 1
        mask = length_mask(batch.target_lengths, numbers.shape[1])
        return numbers, mask & ~batch.is_duplicate[:, None]

    def starts_of(self, batch: SequenceBatch) -> list[list[int]]:
        """The positions of the first pieces of a batch, by sentence."""
        assert batch.target_lengths is not None
        pairs = zip(batch.target[..., 0].tolist(), batch.target_lengths.tolist(), strict=True)
        return [starts[:length] for starts, length in pairs]

    def read_states(
        self, memory: Memory, batch: SequenceBatch
    ) -> Float[Tensor, "batch words d_model"]:
        """The encoder state of the first piece of each word.

        Args:
            memory: The encoded sources of the batch.
            batch: The batch.

        Raises:
            ValueError: If the encoder did not return one state for each source position.
        """
        assert batch.source is not None
        assert batch.target_lengths is not None
        states, width = memory.states, batch.source.shape[1]
        if states.shape[1] != max(1, width):
            raise ValueError(
                f"{type(self).__name__} needs an encoder with one state for each source token, and "
                f"for {width} tokens memory.states has {states.shape[1]}"
            )
        # Padded words read the first state; they do not count.
        real = length_mask(batch.target_lengths, batch.target.shape[1])
        positions = batch.target[..., 0].masked_fill(~real, 0)
        return states.gather(1, positions[..., None].expand(-1, -1, states.shape[-1]))
