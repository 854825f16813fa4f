"""Hypothesis strategies: configurations, and examples of any lengths.

They make plain data; tests build modules and batches from it, since the run-time check of shapes
draws random numbers, which a strategy must not do.
"""

from __future__ import annotations

import torch
from hypothesis import strategies as st

import seqlearn as sl
from seqlearn.batch import SequenceBatch, pad
from seqlearn.spec import END, START

SOURCE_VOCAB, TARGET_VOCAB = 11, 9
# As long as the longest text with its padding, for positions that are learned up to a maximum.
SPEC = sl.SequenceSpec(sl.TextSpec(SOURCE_VOCAB, 12), sl.TextSpec(TARGET_VOCAB, 12))


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, object]:
    """Constructor arguments of a small Transformer, and the seed of its weights."""
    heads = draw(st.sampled_from([1, 2, 4]))
    return {
        "seed": draw(st.integers(0, 2**32 - 1)),
        "d_model": heads * draw(st.sampled_from([2, 4])),
        "num_layers": draw(st.integers(1, 2)),
        "num_heads": heads,
        "d_feedforward": draw(st.sampled_from([None, 6])),
        "dropout": draw(st.sampled_from([0.0, 0.2])),
        "norm": draw(st.sampled_from(["post", "pre"])),
        "positions": draw(st.sampled_from(["sinusoidal", "learned", "rotary"])),
        "activation": draw(st.sampled_from(["relu", "gelu"])),
        "tie_embeddings": draw(st.booleans()),
    }


def transformer(configuration: dict[str, object]) -> sl.Transformer:
    """The Transformer of a configuration, in `eval`."""
    arguments = dict(configuration)
    torch.manual_seed(arguments.pop("seed"))
    return sl.Transformer(SPEC, **arguments).eval()


def ids(vocab: int) -> st.SearchStrategy[list[int]]:
    """A text of zero to seven ids."""
    return st.lists(st.integers(1, vocab - 1), min_size=0, max_size=7)


def pairs(min_size: int = 1) -> st.SearchStrategy[list[tuple[list[int], list[int]]]]:
    """One to four examples; empty sources and targets included."""
    return st.lists(st.tuples(ids(SOURCE_VOCAB), ids(TARGET_VOCAB)), min_size=min_size, max_size=4)


def collate(examples: list[tuple[list[int], list[int]]]) -> SequenceBatch:
    """The batch of these examples."""
    return batch_of([source for source, _ in examples], [target for _, target in examples])


def batch_of(sources: list[list[int]], targets: list[list[int]]) -> SequenceBatch:
    """A batch as the data module makes it."""
    return SequenceBatch(*pad(sources), *pad([[START, *target, END] for target in targets]))


def sources_of(batch: SequenceBatch) -> list[list[int]]:
    """The sources without padding."""
    pairs = zip(batch.source.tolist(), batch.source_lengths.tolist(), strict=True)
    return [row[:length] for row, length in pairs]


def target_mask(batch: SequenceBatch) -> torch.Tensor:
    """True where a logit predicts a real token."""
    steps = torch.arange(batch.target.shape[1] - 1)
    return steps < batch.target_lengths[:, None] - 1
