"""Mechanisms in plain torch: they know nothing of Lightning, data or tokenizers."""

from seqlearn.nn.attention import (
    KeyValue,
    KeyValueCache,
    MultiHeadAttention,
    attend,
    attention_scores,
    attention_weights,
    masked_softmax,
)
from seqlearn.nn.dropout_layer import Dropout, dropout
from seqlearn.nn.loss import TokenLoss, cross_entropy, linear_cross_entropy
from seqlearn.nn.luong_attention import LuongAttention, ScoreName, additive_scores, dot_scores
from seqlearn.nn.positions import (
    LearnedPositions,
    Positions,
    ScaledEmbedding,
    SinusoidalPositions,
    apply_rotary,
    make_position_encoding,
    rotary,
    sinusoidal,
)
from seqlearn.nn.protocols import Decoder, Encoder, State, select, tree_map
from seqlearn.nn.recurrent import (
    BidirectionalLayer,
    Cell,
    CellState,
    RecurrentLayer,
    gru_step,
    lstm_step,
    reverse_padded,
    rnn_step,
)

__all__ = [
    "BidirectionalLayer",
    "Cell",
    "CellState",
    "Decoder",
    "Dropout",
    "Encoder",
    "KeyValue",
    "KeyValueCache",
    "LearnedPositions",
    "LuongAttention",
    "MultiHeadAttention",
    "Positions",
    "RecurrentLayer",
    "ScaledEmbedding",
    "ScoreName",
    "SinusoidalPositions",
    "State",
    "TokenLoss",
    "additive_scores",
    "apply_rotary",
    "attend",
    "attention_scores",
    "attention_weights",
    "cross_entropy",
    "dot_scores",
    "dropout",
    "gru_step",
    "linear_cross_entropy",
    "lstm_step",
    "make_position_encoding",
    "masked_softmax",
    "reverse_padded",
    "rnn_step",
    "rotary",
    "select",
    "sinusoidal",
    "tree_map",
]
