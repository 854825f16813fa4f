"""Generation of texts from raw sources: encoding, batching by length, decoding, original order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from seqlearn.batch import START, Memory, SequenceBatch
from seqlearn.core.eval_mode import eval_mode
from seqlearn.core.generation_config import GenerationConfig
from seqlearn.decoding import DecodingStrategy, NextToken, suppressed_tokens
from seqlearn.decoding.results import check_generated
from seqlearn.instrumentation import generation
from seqlearn.nn import State, shares_memory
from seqlearn.spec import AlignedSpec, GeneratedSpec, SequenceSpec
from seqlearn.spec.raw_inputs import check_list
from seqlearn.spec.words import EncodedWords

MAX_BATCH_ROWS = 512
"""Maximum number of rows in a batch."""

MAX_BATCH_TOKENS = 2**16
"""Default maximum of source and target tokens in a batch; see `SequenceModule`."""


@runtime_checkable
class SupportsGeneration(Protocol):
    """Protocol of a module that can generate, score and classify."""

    spec: SequenceSpec
    generation: GenerationConfig
    max_batch_tokens: int

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        ...

    @property
    def head(self) -> nn.Linear:
        """The layer from decoder outputs to logits."""
        ...

    def encode(self, source: Tensor | None, source_lengths: Tensor | None) -> Memory | None:
        """Encode the sources."""
        ...

    def decode(
        self, tokens: Tensor, memory: Memory | None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Decode target tokens to vectors for `head`."""
        ...

    def forward_hidden(
        self, batch: SequenceBatch, state: State | None = None
    ) -> tuple[Tensor, State | None]:
        """Compute the vectors for `head` by teacher forcing."""
        ...


def generate(
    module: SupportsGeneration,
    source_ids: Sequence[Any],
    prefixes: Sequence[Sequence[int]],
    strategy: DecodingStrategy,
    config: GenerationConfig,
    generator: torch.Generator | None = None,
) -> list[list[list[int]]]:
    """Generate texts for each source, in batches.

    Args:
        module: The model.
        source_ids: The sources, from `encode_sources`.
        prefixes: Start symbol and prompt of each text.
        strategy: The decoding strategy.
        config: Gives the logits processors and `max_new_tokens`, which must be set.
        generator: The random generator of sampling; `None` is the default generator of torch.

    Returns:
        For each source, in the given order, the ids of its texts, best first, each with its prefix
        and without the end symbol.
    """
    assert config.max_new_tokens is not None
    generated: list[list[list[int]]] = [[] for _ in source_ids]
    seeds = draw_seeds(len(source_ids), strategy.num_seeds, generator)
    target = module.spec.target
    assert isinstance(target, GeneratedSpec)
    suppress = suppressed_tokens(target)

    def last_hidden(
        tokens: Tensor, memory: Memory | None, state: State | None
    ) -> tuple[Tensor, State]:
        hidden, state = module.decode(tokens, memory, state)
        return hidden[:, -1], state

    with eval_mode(cast(nn.Module, module)):
        for rows in batches(
            source_ids,
            prefixes,
            strategy.rows_per_source,
            equal=True,
            sequences=has_sequences(module.spec),
            max_tokens=module.max_batch_tokens,
        ):
            source, lengths = collate(module, [source_ids[row] for row in rows])
            prefix = torch.tensor([prefixes[row] for row in rows], device=module.device)
            with generation(rows, len(source_ids), source, lengths):
                found = strategy(
                    NextToken(
                        last_hidden,
                        config.processors(prefix.shape[1]),
                        suppress,
                        shares_memory=shares_memory(module, "decode"),
                        head=module.head,
                    ),
                    prefix,
                    module.encode(source, lengths),
                    max_new_tokens=config.max_new_tokens,
                    seeds=[seeds[row] for row in rows],
                )
            check_generated(
                found, strategy, len(rows), config.max_new_tokens, module.spec.target.output_size
            )
            for row, texts in zip(rows, found, strict=True):
                generated[row] = [[*prefixes[row], *ids] for ids in texts]
    return generated


def draw_seeds(
    num_sources: int, num_seeds: int, generator: torch.Generator | None
) -> list[list[int]]:
    """Draw seeds for each source; they depend only on the generator and the index of the source."""
    if num_seeds == 0:
        return [[] for _ in range(num_sources)]
    device = "cpu" if generator is None else generator.device
    size = (num_sources, num_seeds)
    seeds: list[list[int]] = torch.randint(
        2**63 - 1, size, generator=generator, device=device
    ).tolist()
    return seeds


def prompt_ids(target: GeneratedSpec, prompts: Sequence[Any] | None, count: int) -> list[list[int]]:
    """Make the prefix of each text: the start symbol and the ids of its prompt.

    Args:
        target: The target type, which encodes the prompts.
        prompts: Texts or lists of ids; `None` for no prompts.
        count: Number of texts.

    Raises:
        ValueError: If the number of prompts is not `count`.

    Examples:
        >>> from seqlearn.spec import TextSpec
        >>> prompt_ids(TextSpec(vocab_size=9, max_length=5), [[4, 5], []], 2)
        [[2, 4, 5], [2]]
    """
    if prompts is None:
        return [[START]] * count
    prompts = check_list(prompts, "prompt")
    if len(prompts) != count:
        raise ValueError(f"expected {count} prompts, one per source, got {len(prompts)}")
    return [[START, *ids] for ids in target.encode(prompts, label="prompt")]


def encode_sources(
    module: SupportsGeneration, sources: Sequence[Any] | Tensor | None, count: int | None = None
) -> list[Any]:
    """Encode sources as lists of ids or vectors; for a language model as a list of `None`.

    Args:
        module: The model; the source type of its spec encodes the sources.
        sources: Texts or lists of ids, or vectors; `None` for a language model.
        count: Number of texts of a language model; 1 by default.

    Raises:
        ValueError: If the sources do not fit the source type.
        TypeError: If `sources` is not a list, or an item is not a text, list of ids or vector.
    """
    side = module.spec.source
    if side is None:
        if sources is None:
            return [None] * (1 if count is None else count)
        if isinstance(sources, str) or any(
            each is not None for each in check_list(sources, "source")
        ):
            raise ValueError(
                "this model has no source; pass prompts as generate(prompts=…), and complete "
                "texts as score(targets=…)"
            )
        return [None] * len(sources)
    if sources is None:
        raise ValueError(
            "expected a list of sources, got none: this model reads a source; pass sources first, "
            "as in generate(sources) and score(sources, targets)"
        )
    return list(side.encode(sources, label="source"))


def batch_sources(spec: SequenceSpec, batch: SequenceBatch) -> list[Any]:
    """Convert the sources of a batch to arguments of `predict`, without padding."""
    if batch.source is None or spec.source is None:
        return [None] * batch.size
    sources = spec.source.unbatch(batch.source, batch.source_lengths)
    if isinstance(spec.target, AlignedSpec):
        starts = spec.target.starts_of(batch)
        return [EncodedWords(*pair) for pair in zip(sources, starts, strict=True)]
    return sources


def float_dtype(module: SupportsGeneration) -> torch.dtype:
    """The type of the parameters, and so of inputs that are numbers."""
    weights = itertools.chain(
        cast(nn.Module, module).parameters(), cast(nn.Module, module).buffers()
    )
    return next((each.dtype for each in weights if each.is_floating_point()), torch.float32)


def references(spec: SequenceSpec, batch: SequenceBatch) -> list[Any]:
    """The expected targets of a batch: its raw references, or else its decoded labels."""
    return list(batch.references or spec.target.decode_labels(batch.target))


def without_duplicates(values: Sequence[Any], batch: SequenceBatch) -> list[Any]:
    """The values of the rows of a batch that are not duplicates."""
    pairs = zip(values, batch.is_duplicate.tolist(), strict=True)
    return [value for value, duplicate in pairs if not duplicate]


def batches(
    source_ids: Sequence[Any],
    targets: Sequence[Sequence[int]],
    rows_each: int,
    *,
    equal: bool,
    sequences: bool = True,
    max_tokens: int = MAX_BATCH_TOKENS,
) -> Iterator[list[int]]:
    """Divide examples into batches of similar length.

    Args:
        source_ids: The sources, from `encode_sources`.
        targets: The decoder inputs, one list per source.
        rows_each: Number of batch rows per example.
        equal: Whether all targets of a batch must have the same length.
        sequences: Whether sources have a length.
        max_tokens: Most source and target tokens of a batch.

    Yields:
        The indices of the examples of each batch, the shortest first.

    Examples:
        >>> list(batches([[4, 5], [4]], [[2], [2, 4]], 1, equal=True))
        [[0], [1]]
    """

    def lengths(row: int) -> tuple[int, int]:
        return len(targets[row]), len(source_ids[row]) if sequences else 0

    batch: list[int] = []
    longest = (0, 0)  # of the batch: a row with a shorter target may have the longest source
    for row in sorted(range(len(source_ids)), key=lengths):
        rows = (len(batch) + 1) * rows_each
        target, source = lengths(row)
        wider = (max(longest[0], target), max(longest[1], source))
        full = rows > MAX_BATCH_ROWS or rows * sum(wider) > max_tokens
        if batch and (full or (equal and target != len(targets[batch[0]]))):
            yield batch
            batch, wider = [], (target, source)
        batch.append(row)
        longest = wider
    if batch:
        yield batch


def has_sequences(spec: SequenceSpec) -> bool:
    """Whether the sources of a spec have a length."""
    return spec.source is not None and spec.source.is_sequence


def collate(
    module: SupportsGeneration, source_ids: Sequence[Any]
) -> tuple[Tensor | None, Tensor | None]:
    """Pad the sources of a batch; also return their lengths if they are ids."""
    if module.spec.source is None:
        return None, None
    return module.spec.source.collate(source_ids, module.device, float_dtype(module))
