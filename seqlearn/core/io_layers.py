"""What each kind of side needs of a model: a layer that reads it, or numbers to answer it."""

from __future__ import annotations

from torch import nn

from seqlearn.spec import ClassesSpec, TextSpec, VectorSpec


def input_layer(side: TextSpec | VectorSpec | None, d_model: int) -> nn.Module | None:
    """What turns one side into vectors of `d_model` numbers."""
    if side is None:
        return None
    if isinstance(side, VectorSpec):
        return nn.Linear(side.size, d_model)
    embedding = nn.Embedding(side.vocab_size, d_model)
    nn.init.normal_(embedding.weight, std=d_model**-0.5)
    return embedding


def output_size(target: TextSpec | ClassesSpec | VectorSpec) -> int:
    """How many numbers the output layer gives."""
    if isinstance(target, TextSpec):
        return target.vocab_size
    return len(target.labels) if isinstance(target, ClassesSpec) else target.size
