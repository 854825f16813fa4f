"""Mechanisms in plain torch: they know nothing of Lightning, data or tokenizers."""

from seqlearn.nn.attention import (
    KeyValue,
    KeyValueCache,
    MultiHeadAttention,
    attend,
    attention_scores,
    attention_weights,
)
from seqlearn.nn.dropout import Dropout, dropout
from seqlearn.nn.loss import TokenLoss, cross_entropy, linear_cross_entropy
from seqlearn.nn.positions import sinusoidal
from seqlearn.nn.protocols import Decoder, Encoder, State, select

__all__ = [
    "Decoder",
    "Dropout",
    "Encoder",
    "KeyValue",
    "KeyValueCache",
    "MultiHeadAttention",
    "State",
    "TokenLoss",
    "attend",
    "attention_scores",
    "attention_weights",
    "cross_entropy",
    "dropout",
    "linear_cross_entropy",
    "select",
    "sinusoidal",
]
