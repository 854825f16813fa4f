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
from seqlearn.nn.luong_attention import Attention, ScoreName, additive_scores, dot_scores
from seqlearn.nn.positions import (
    LearnedPositions,
    NoPositions,
    Positions,
    SinusoidalPositions,
    position_layer,
    rotary,
    rotate,
    sinusoidal,
)
from seqlearn.nn.protocols import Decoder, Encoder, State, map_state, select
from seqlearn.nn.recurrent import (
    BidirectionalLayer,
    Cell,
    CellState,
    RecurrentLayer,
    flip,
    gru_step,
    lstm_step,
    rnn_step,
)

__all__ = [
    "Attention",
    "BidirectionalLayer",
    "Cell",
    "CellState",
    "Decoder",
    "Dropout",
    "Encoder",
    "KeyValue",
    "KeyValueCache",
    "LearnedPositions",
    "MultiHeadAttention",
    "NoPositions",
    "Positions",
    "RecurrentLayer",
    "ScoreName",
    "SinusoidalPositions",
    "State",
    "TokenLoss",
    "additive_scores",
    "attend",
    "attention_scores",
    "attention_weights",
    "cross_entropy",
    "dot_scores",
    "dropout",
    "flip",
    "gru_step",
    "linear_cross_entropy",
    "lstm_step",
    "map_state",
    "masked_softmax",
    "position_layer",
    "rnn_step",
    "rotary",
    "rotate",
    "select",
    "sinusoidal",
]
