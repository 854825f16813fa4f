"""Layers and mechanisms in plain torch, without Lightning, data or tokenizers."""

from seqlearn.nn.attention import (
    KeyValue,
    MultiHeadAttention,
    attend,
    attention_scores,
    attention_weights,
    masked_softmax,
)
from seqlearn.nn.decoder_state import (
    Beams,
    PerSource,
    State,
    attend_by_source,
    select,
    shares_memory,
    tree_map,
)
from seqlearn.nn.dropout_layer import Dropout, dropout
from seqlearn.nn.feedforward_block import ActivationFunction, FeedForwardBlock
from seqlearn.nn.fused_recurrent import (
    FUSED_LAYERS,
    Cell,
    FusedLayer,
    GRULayer,
    LSTMLayer,
    RNNLayer,
)
from seqlearn.nn.int8_linear import Int8Linear
from seqlearn.nn.key_value_cache import KeyValueCache
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
from seqlearn.nn.protocols import (
    CausalSelfAttention,
    CrossAttention,
    Decoder,
    Encoder,
    RecurrentLayer,
    RecurrentState,
    SelfAttention,
)
from seqlearn.nn.recurrent import (
    BidirectionalLayer,
    DirectedLayer,
    StepLayer,
    reverse_padded,
    stack_layers,
)
from seqlearn.nn.recurrent_encoder_decoder import RecurrentDecoder, RecurrentEncoder
from seqlearn.nn.recurrent_steps import gru_step, lstm_step, rnn_step
from seqlearn.nn.standardize import Standardize
from seqlearn.nn.tensor_parallel import TensorParallel
from seqlearn.nn.transformer_encoder_decoder import (
    DecoderLayer,
    EncoderLayer,
    PreNormDecoderLayer,
    PreNormEncoderLayer,
    TransformerDecoder,
    TransformerEncoder,
)

__all__ = [
    "FUSED_LAYERS",
    "ActivationFunction",
    "Beams",
    "BidirectionalLayer",
    "CausalSelfAttention",
    "Cell",
    "CrossAttention",
    "Decoder",
    "DecoderLayer",
    "DirectedLayer",
    "Dropout",
    "Encoder",
    "EncoderLayer",
    "FeedForwardBlock",
    "FusedLayer",
    "GRULayer",
    "Int8Linear",
    "KeyValue",
    "KeyValueCache",
    "LSTMLayer",
    "LearnedPositions",
    "LuongAttention",
    "MultiHeadAttention",
    "PerSource",
    "Positions",
    "PreNormDecoderLayer",
    "PreNormEncoderLayer",
    "RNNLayer",
    "RecurrentDecoder",
    "RecurrentEncoder",
    "RecurrentLayer",
    "RecurrentState",
    "ScaledEmbedding",
    "ScoreName",
    "SelfAttention",
    "SinusoidalPositions",
    "Standardize",
    "State",
    "StepLayer",
    "TensorParallel",
    "TokenLoss",
    "TransformerDecoder",
    "TransformerEncoder",
    "additive_scores",
    "apply_rotary",
    "attend",
    "attend_by_source",
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
    "shares_memory",
    "sinusoidal",
    "stack_layers",
    "tree_map",
]
