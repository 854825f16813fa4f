"""From raw sources to raw answers: encode, sort into batches, decode, and restore the order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from seqlearn.batch import START, Memory, SequenceBatch, pad
from seqlearn.core.eval_mode import eval_mode
from seqlearn.decoding import Strategy, suppressed_tokens
from seqlearn.instrumentation import generation
from seqlearn.nn import State
from seqlearn.spec import SequenceSpec, TextSpec, VectorSpec
from seqlearn.spec.raw_inputs import EncodedIds, check_list

MAX_BATCH_ROWS = 128
"""Rows that go through a model side by side."""

MAX_BATCH_TOKENS = 2**16
"""Tokens of source and target that go through a model side by side."""


@runtime_checkable
class SupportsGeneration(Protocol):
    """What answering raw sources needs of a module."""

    spec: SequenceSpec

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        ...

    @property
    def head(self) -> nn.Linear:
        """From a decoder's vector to the logits of the next token."""
        ...

    def encode(self, source: Tensor | None, source_lengths: Tensor | None) -> Memory | None:
        """Read sources."""
        ...

    def decode(
        self, tokens: Tensor, memory: Memory | None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Answer target tokens with vectors for `head`."""
        ...


def generate(
    module: SupportsGeneration,
    source_ids: Sequence[Any],
    prefixes: Sequence[Sequence[int]],
    strategy: Strategy,
    max_new_tokens: int,
) -> list[list[list[int]]]:
    """Answer sources, a batch at a time.

    Args:
        module: What answers.
        source_ids: The sources, from `encode_sources`.
        prefixes: The ids that the answers begin with, start symbol included, one list a source.
        strategy: How to decode.
        max_new_tokens: Tokens to make at most, the end symbol counted.

    Returns:
        For each source, in the order given, the ids of its answers, the best first; each begins as
        `prefixes` says and stands without the end symbol.
    """
    answers: list[list[list[int]]] = [[] for _ in source_ids]
    seeds = strategy.seeds(len(source_ids))
    suppress = suppressed_tokens(cast(TextSpec, module.spec.target))

    def next_token(
        tokens: Tensor, memory: Memory | None, state: State | None
    ) -> tuple[Tensor, State]:
        hidden, state = module.decode(tokens, memory, state)
        return module.head(hidden[:, -1]), state

    with eval_mode(cast(nn.Module, module)):
        for rows in batches(source_ids, prefixes, strategy.rows, equal=True):
            source, lengths = collate(module, [source_ids[row] for row in rows])
            with generation(rows, len(source_ids), source, lengths):
                made = strategy.answer(
                    next_token,
                    torch.tensor([prefixes[row] for row in rows], device=module.device),
                    module.encode(source, lengths),
                    max_new_tokens=max_new_tokens,
                    seeds=[seeds[row] for row in rows],
                    suppress=suppress,
                )
            for row, found in zip(rows, made, strict=True):
                answers[row] = [[*prefixes[row], *ids] for ids in found]
    return answers


def prompt_ids(target: TextSpec, prompts: Sequence[Any] | None, count: int) -> list[list[int]]:
    """The ids that each of `count` answers begins with: the start symbol, and its prompt.

    Raises:
        ValueError: If there are not as many prompts as answers.
    """
    if prompts is None:
        return [[START]] * count
    prompts = check_list(prompts, "prompt")
    if len(prompts) != count:
        raise ValueError(f"expected {count} prompts, one a source, got {len(prompts)}")
    return [[START, *ids] for ids in target.encode(prompts, label="prompt")]


def encode_sources(
    module: SupportsGeneration, sources: Sequence[Any] | Tensor | None, count: int | None = None
) -> list[Any]:
    """The sources as lists of ids or as vectors; without a source as `count` times `None`.

    Args:
        module: What will read them.
        sources: Texts or lists of ids, or vectors; `None` for a language model.
        count: How many there are where there is no source; one by default.

    Raises:
        ValueError: If the sources are not what the module reads.
        TypeError: If `sources` is no list, or a source no text, list of ids or vector.
    """
    side = module.spec.source
    if side is None:
        if sources is None:
            return [None] * (1 if count is None else count)
        if isinstance(sources, str) or any(
            each is not None for each in check_list(sources, "source")
        ):
            raise ValueError(
                "this model has no source; pass beginnings of texts as generate(prompts=…), and "
                "whole texts as score(targets=…)"
            )
        return [None] * len(sources)
    if sources is None:
        raise ValueError("expected a list of sources, got none")
    if isinstance(side, VectorSpec):
        return [torch.from_numpy(vector) for vector in side.encode(sources, label="source")]
    return side.encode(sources, label="source")


def batch_sources(batch: SequenceBatch) -> list[Any]:
    """The sources of a batch as `generate` and `classify` take them, without padding."""
    if batch.source is None:
        return [None] * batch.size
    if batch.source_lengths is None:
        return list(batch.source)
    pairs = zip(batch.source.tolist(), batch.source_lengths.tolist(), strict=True)
    return [EncodedIds(ids[:length]) for ids, length in pairs]


def batches(
    source_ids: Sequence[Any], targets: Sequence[Sequence[int]], rows_each: int, *, equal: bool
) -> Iterator[list[int]]:
    """Put examples of about the same length together.

    Args:
        source_ids: The sources, from `encode_sources`.
        targets: What is fed to the decoder, one list a source.
        rows_each: Rows that each takes up.
        equal: Whether all targets of a batch must be of one length.

    Yields:
        The positions of the examples of a batch, the shortest first.
    """

    def lengths(row: int) -> tuple[int, int]:
        source = source_ids[row]
        return len(targets[row]), len(source) if isinstance(source, list) else 0

    batch: list[int] = []
    for row in sorted(range(len(source_ids)), key=lengths):
        rows = (len(batch) + 1) * rows_each
        full = rows > MAX_BATCH_ROWS or rows * sum(lengths(row)) > MAX_BATCH_TOKENS
        if batch and (full or (equal and len(targets[row]) != len(targets[batch[0]]))):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def collate(
    module: SupportsGeneration, source_ids: Sequence[Any]
) -> tuple[Tensor | None, Tensor | None]:
    """The sources of a batch, padded, and their lengths where they are ids."""
    if module.spec.source is None:
        return None, None
    if isinstance(module.spec.source, VectorSpec):
        return torch.stack(list(source_ids)).to(module.device, module.head.weight.dtype), None
    return pad(source_ids, module.device)
