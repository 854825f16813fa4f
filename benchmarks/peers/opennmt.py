"""Models of OpenNMT-py: the Transformer, and LSTMs with attention."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

import seqlearn as sl
from benchmarks.peers import peer
from benchmarks.peers.recurrent import by_source_length
from benchmarks.peers.transformers import DROPOUT, Trainee, cross_entropy, vocabulary_sizes
from benchmarks.workloads import Size, ids_of
from seqlearn.batch import PAD, SequenceBatch


def transformer(spec: sl.SequenceSpec, size: Size) -> Trainee:
    """`TransformerEncoder` and `TransformerDecoder`."""
    options = {
        "num_layers": size.num_layers, "d_model": size.d_model, "heads": size.num_heads,
        "d_ff": size.d_feedforward, "dropout": DROPOUT, "attention_dropout": DROPOUT,
        "max_relative_positions": 0, "relative_positions_buckets": 0,
    }  # fmt: skip
    source, target = _embeddings(spec, size, position_encoding=True)
    encoder = peer("onmt.encoders").TransformerEncoder(**options, embeddings=source)
    decoder = peer("onmt.decoders").TransformerDecoder(
        **options, embeddings=target, copy_attn=False, self_attn_type="scaled-dot-flash",
        aan_useffn=False, full_context_alignment=False, alignment_layer=-1, alignment_heads=0,
    )  # fmt: skip
    return _trainee(encoder, decoder, spec, size)


def lstm(spec: sl.SequenceSpec, size: Size, *, feeding: bool) -> Trainee:
    """`RNNEncoder` and a decoder with attention, with input feeding or without."""
    decoders = peer("onmt.decoders.decoder")
    source, target = _embeddings(spec, size)
    encoder = peer("onmt.encoders").RNNEncoder(
        "LSTM", True, size.num_layers, size.d_model, DROPOUT, source
    )
    decoder = (decoders.InputFeedRNNDecoder if feeding else decoders.StdRNNDecoder)(
        "LSTM", True, size.num_layers, size.d_model, dropout=DROPOUT, embeddings=target
    )
    return _trainee(encoder, decoder, spec, size)


def _embeddings(spec: sl.SequenceSpec, size: Size, **options: Any) -> list[nn.Module]:
    """The embeddings of source and target."""
    make = peer("onmt.modules").Embeddings
    return [
        make(size.d_model, vocabulary, PAD, dropout=DROPOUT, **options)
        for vocabulary in vocabulary_sizes(spec)
    ]


def _trainee(encoder: nn.Module, decoder: Any, spec: sl.SequenceSpec, size: Size) -> Trainee:
    """Both halves with an output layer. The sources of a batch are sorted by length."""
    head = nn.Linear(size.d_model, vocabulary_sizes(spec)[1])

    def loss(batch: SequenceBatch) -> Tensor:
        ids = ids_of(by_source_length(batch))
        states, last, lengths = encoder(ids.source[..., None], ids.lengths)
        decoder.init_state(ids.source[..., None], states, last)
        outputs, _ = decoder(ids.inputs[..., None], states, src_len=lengths)
        return cross_entropy(head(outputs), ids.labels)

    return nn.ModuleList([encoder, decoder, head]), loss
