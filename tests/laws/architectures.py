"""Hypothesis strategies: every architecture, on every shape that it serves.

They make plain data; tests build modules and batches from it, since the run-time check of shapes
draws random numbers, which a strategy must not do.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from strategies import SOURCE_VOCAB, TARGET_VOCAB, target_mask
from torch import Tensor

import seqlearn as sl
from seqlearn.batch import SequenceBatch, pad
from seqlearn.spec import END, START

LABELS = ("a", "b", "c")
_SOURCE, _TARGET = sl.TextSpec(SOURCE_VOCAB, 16), sl.TextSpec(TARGET_VOCAB, 16)
SPECS = {
    "text to text": sl.SequenceSpec(_SOURCE, _TARGET),
    "text to class": sl.SequenceSpec(_SOURCE, sl.ClassesSpec(LABELS)),
    "text to vector": sl.SequenceSpec(_SOURCE, sl.VectorSpec(2)),
    "vector to text": sl.SequenceSpec(sl.VectorSpec(3), _TARGET),
    "nothing to text": sl.SequenceSpec(None, _TARGET),
}
WRITES = ("text to text", "vector to text", "nothing to text")
READS = ("text to text", "text to class", "text to vector")
NAMES = ("FeedForward", "RNN", "GRU", "LSTM", "AttentionSeq2Seq", "Transformer")

Examples = list[tuple[list[int], list[int]]]


class Configuration(NamedTuple):
    """Which module to build."""

    name: str
    shape: str
    seed: int
    arguments: dict[str, Any]


@st.composite
def configurations(
    draw: st.DrawFn,
    *,
    shapes: tuple[str, ...] = tuple(SPECS),
    widths: tuple[int, ...] = (2, 4, 6),
    dropout: float = 0.2,
) -> Configuration:
    """A small module of any architecture, on one of these shapes."""
    name = draw(st.sampled_from(NAMES))
    served = [s for s in shapes if not (name == "AttentionSeq2Seq" and s == "nothing to text")]
    shape = draw(st.sampled_from(served))
    arguments = {
        "d_model": draw(st.sampled_from(widths)),
        "num_layers": draw(st.integers(1, 2)),
        "dropout": dropout,
        "tie_embeddings": shape in WRITES and draw(st.booleans()),
    }
    if name == "FeedForward":
        arguments |= {"window": draw(st.integers(1, 9)), "longer": "cut"}
    elif name == "Transformer":
        arguments |= {"num_heads": draw(st.sampled_from([1, 2]))}
        arguments |= {"norm": draw(st.sampled_from(["post", "pre"]))}
    else:
        arguments |= {"bidirectional": draw(st.booleans())}
    if name == "AttentionSeq2Seq":
        arguments |= {
            "cell": draw(st.sampled_from(["rnn", "gru", "lstm"])),
            "score": draw(st.sampled_from(["dot", "general", "additive", "scaled_dot"])),
            "input_feeding": draw(st.booleans()),
        }
    return Configuration(name, shape, draw(st.integers(0, 2**32 - 1)), arguments)


def module_of(configuration: Configuration) -> sl.SequenceModule:
    """The module of a configuration in float64 and `eval`, with biases that are something."""
    torch.manual_seed(configuration.seed)
    model = getattr(sl, configuration.name)(
        SPECS[configuration.shape], **configuration.arguments
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model.double()


def batch_of(configuration: Configuration, examples: Examples) -> SequenceBatch:
    """The batch of these examples, as the data module makes it for that shape."""
    sources, targets = [source for source, _ in examples], [target for _, target in examples]
    kind, answer = configuration.shape.split(" to ")
    source, lengths = pad(sources) if kind == "text" else (None, None)
    if kind == "vector":
        numbers = [[len(ids), sum(ids), *ids, 0, 0][:3] for ids in sources]
        source = torch.tensor(numbers, dtype=torch.float64) / 5
    if answer == "text":
        return SequenceBatch(source, lengths, *pad([[START, *ids, END] for ids in targets]))
    if answer == "class":
        classes = torch.tensor([sum(ids) % len(LABELS) for ids in targets])
        return SequenceBatch(source, lengths, classes, None)
    vectors = torch.tensor([[len(ids), sum(ids)] for ids in targets], dtype=torch.float64) / 5
    return SequenceBatch(source, lengths, vectors, None)


def rows_of(batch: SequenceBatch, rows: list[int]) -> SequenceBatch:
    """Some rows of a batch, padded as they are."""
    picked = [None if part is None else part[rows] for part in batch[:4]]
    return SequenceBatch(*picked)


def real_outputs(batch: SequenceBatch, outputs: Tensor) -> Tensor:
    """Of the logits those that predict a real token; all of a class or vector."""
    if batch.target_lengths is None:
        return outputs
    mask = target_mask(batch)
    return outputs[:, : mask.shape[1]][mask]
