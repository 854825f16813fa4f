"""One `LightningModule` for each architecture, over the base `seqlearn.core.SequenceModule`."""

from seqlearn.models.attention_seq2seq import AttentionSeq2Seq
from seqlearn.models.feedforward import FeedForward
from seqlearn.models.gru import GRU
from seqlearn.models.lstm import LSTM
from seqlearn.models.rnn import RNN
from seqlearn.models.transformer import Transformer

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AttentionSeq2Seq",
    "FeedForward",
    "Transformer",
]
