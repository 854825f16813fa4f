"""LSTM encoder–decoders with attention: one fused call by hand, seqlearn, JoeyNMT.

All have a bidirectional encoder and a decoder of `num_layers` layers, `d_model` wide, attention
with the score "general" (Luong et al. 2015), dropout 0.1 and label smoothing 0.1. `feeding` is
input feeding, with which the decoder runs in a loop.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import seqlearn as sl
from benchmarks.peers.joeynmt import joeynmt_loss, joeynmt_model
from benchmarks.peers.transformers import (
    DROPOUT,
    SMOOTHING,
    Trainee,
    cross_entropy,
    vocabulary_sizes,
)
from benchmarks.workloads import Size, ids_of
from seqlearn.batch import SequenceBatch


class FusedByHand(nn.Module):
    """`nn.LSTM` over source and target at once, and attention as two products of matrices.

    The source is not packed: its padding is read, and masked in the attention.
    """

    def __init__(self, source_size: int, target_size: int, size: Size) -> None:
        super().__init__()
        width, layers = size.d_model, size.num_layers
        self.source = nn.Embedding(source_size, width)
        self.target = nn.Embedding(target_size, width)
        options = {"batch_first": True, "dropout": DROPOUT}
        self.encoder = nn.LSTM(width, width // 2, layers, bidirectional=True, **options)
        self.decoder = nn.LSTM(width, width, layers, **options)
        self.key = nn.Linear(width, width, bias=False)
        self.hidden = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(DROPOUT)
        self.head = nn.Linear(width, target_size)

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Logits, `batch target vocab`."""
        ids = ids_of(batch)
        states, last = self.encoder(self.dropout(self.source(ids.source)))
        first = [torch.cat([half[0::2], half[1::2]], -1) for half in last]
        outputs, _ = self.decoder(self.dropout(self.target(ids.inputs)), tuple(first))
        scores = outputs @ self.key(states).transpose(1, 2)
        scores = scores.masked_fill(~ids.mask[:, None], torch.finfo(scores.dtype).min)
        context = scores.softmax(-1) @ states
        hidden = self.hidden(torch.cat([context, outputs], -1)).tanh()
        return self.head(self.dropout(hidden))


def fused_by_hand(spec: sl.SequenceSpec, size: Size) -> Trainee:
    """`FusedByHand`."""
    model = FusedByHand(*vocabulary_sizes(spec), size)
    return model, lambda batch: cross_entropy(model(batch), ids_of(batch).labels)


def seqlearn(spec: sl.SequenceSpec, size: Size, *, feeding: bool) -> Trainee:
    """`seqlearn.AttentionSeq2Seq`."""
    model = sl.AttentionSeq2Seq(
        spec,
        d_model=size.d_model,
        num_layers=size.num_layers,
        dropout=DROPOUT,
        input_feeding=feeding,
    )

    def loss(batch: SequenceBatch) -> Tensor:
        measured = model.compute_loss(batch, smoothing=SMOOTHING)
        return measured.loss / measured.num_tokens

    return model, loss


def joeynmt(spec: sl.SequenceSpec, size: Size, *, feeding: bool) -> Trainee:
    """JoeyNMT with its own loss. Its loader sorts the sources of a batch by length, so do we."""
    half = {
        "type": "recurrent", "rnn_type": "lstm", "num_layers": size.num_layers,
        "dropout": DROPOUT, "embeddings": {"embedding_dim": size.d_model},
    }  # fmt: skip
    encoder = half | {"hidden_size": size.d_model // 2, "bidirectional": True}
    decoder = half | {
        "hidden_size": size.d_model, "attention": "luong", "input_feeding": feeding,
        "hidden_dropout": DROPOUT, "init_hidden": "bridge",
    }  # fmt: skip
    model = joeynmt_model(encoder, decoder, *vocabulary_sizes(spec))
    loss = joeynmt_loss(model, SMOOTHING)
    return model, lambda batch: loss(by_source_length(batch))


def by_source_length(batch: SequenceBatch) -> SequenceBatch:
    """The examples from the longest source to the shortest."""
    assert batch.source is not None
    assert batch.source_lengths is not None
    order = batch.source_lengths.argsort(descending=True)
    return SequenceBatch(
        batch.source[order], batch.source_lengths[order], batch.target[order],
        None if batch.target_lengths is None else batch.target_lengths[order],
    )  # fmt: skip
