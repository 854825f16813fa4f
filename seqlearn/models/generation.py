"""From raw sources to raw answers: encode, sort into batches, decode, and restore the order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from seqlearn.batch import Memory, pad
from seqlearn.decoding import greedy
from seqlearn.nn import State
from seqlearn.probe import begin as announce_begin
from seqlearn.spec import START, SequenceSpec, TextSpec, VectorSpec

ROWS_AT_ONCE = 128
"""Answers that are made side by side."""


@runtime_checkable
class Answering(Protocol):
    """What generation needs of a module."""

    spec: SequenceSpec

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        ...

    @property
    def head(self) -> nn.Module:
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


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into `eval`, without gradients, and restore every part's mode afterwards."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True


def generate(
    module: Answering,
    sources: Sequence[Any] | Tensor | None = None,
    *,
    prompts: Sequence[str | Sequence[int]] | None = None,
    max_length: int | None = None,
) -> list[Any]:
    """See `SequenceModule.generate`."""
    target = module.spec.target
    if not isinstance(target, TextSpec):
        raise ValueError(  # noqa: TRY004 -- the model is of the wrong kind, not the argument
            f"generate makes texts, and this model's target is {type(target).__name__}; "
            "call the model on a batch, or use trainer.predict"
        )
    if max_length is None:
        max_length = max(8, 2 * target.max_length)
    encoded = _encode(module, sources, prompts)
    firsts = [[START]] * len(encoded)
    if isinstance(prompts, str):
        raise TypeError(f"expected a list of prompts, got one string; pass [{prompts[:40]!r}]")
    if prompts is not None:
        if len(prompts) != len(encoded):
            raise ValueError(f"expected {len(encoded)} prompts, one a source, got {len(prompts)}")
        firsts = [[START, *ids] for ids in target.encode(prompts, what="prompt")]
    answers: list[list[int]] = [[] for _ in encoded]
    with evaluating(cast(nn.Module, module)):
        for rows in _batches(encoded, firsts):
            source, lengths = _collate(module, [encoded[row] for row in rows])
            announce_begin(rows, len(encoded), source, lengths)
            memory = module.encode(source, lengths)
            made = greedy(
                lambda tokens, memory, state: _next_token(module, tokens, memory, state),
                torch.tensor([firsts[row] for row in rows], device=module.device),
                memory,
                max_length=max_length,
            )
            for row, ids in zip(rows, made, strict=True):
                answers[row] = [*firsts[row], *ids]
    return list(target.decode(answers))


def _next_token(
    module: Answering, tokens: Tensor, memory: Memory | None, state: State | None
) -> tuple[Tensor, State]:
    hidden, state = module.decode(tokens, memory, state)
    return module.head(hidden[:, -1]), state


def _encode(
    module: Answering,
    sources: Sequence[Any] | Tensor | None,
    prompts: Sequence[str | Sequence[int]] | None,
) -> list[Any]:
    """The sources as lists of ids, as vectors, or as as many `None`s as there are prompts."""
    side = module.spec.source
    if side is None:
        if sources is not None and any(source is not None for source in sources):
            raise ValueError("this model has no source; pass the beginnings of texts as prompts=")
        if sources is not None:
            return [None] * len(sources)
        return [None] * (1 if prompts is None else len(prompts))
    if sources is None:
        raise ValueError("expected a list of sources, got none")
    if isinstance(sources, str):
        raise TypeError(f"expected a list of texts, got one string; pass [{sources[:40]!r}]")
    if isinstance(side, VectorSpec):
        vectors = [torch.as_tensor(source, dtype=torch.float32) for source in sources]
        for number, vector in enumerate(vectors, 1):
            if vector.shape != (side.size,):
                raise ValueError(
                    f"source {number}: expected {side.size} numbers, got {tuple(vector.shape)}"
                )
        return vectors
    return side.encode(list(sources), what="source")


def _batches(encoded: Sequence[Any], firsts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Rows of about the same length together; beginnings of equal length only."""

    def lengths(row: int) -> tuple[int, int]:
        source = encoded[row]
        return len(firsts[row]), len(source) if isinstance(source, list) else 0

    batch: list[int] = []
    for row in sorted(range(len(encoded)), key=lengths):
        if batch and (len(batch) == ROWS_AT_ONCE or len(firsts[row]) != len(firsts[batch[0]])):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _collate(module: Answering, encoded: Sequence[Any]) -> tuple[Tensor | None, Tensor | None]:
    if module.spec.source is None:
        return None, None
    if isinstance(module.spec.source, VectorSpec):
        dtype = next(module.head.parameters()).dtype
        return torch.stack(list(encoded)).to(module.device, dtype), None
    return pad(encoded, module.device)
