"""Decoding: from next-token scores to texts, for any decoder.

Nothing here depends on an architecture: the only operation on a decoder's state is `select`, which
takes rows. Each step reports to `seqlearn.instrumentation` which row every row continues. Padding
and the start symbol are never generated; nor is the unknown symbol by a model in whose training it
did not occur (`suppressed_tokens`).
"""

from seqlearn.decoding.beam import BeamSearch, Hypothesis
from seqlearn.decoding.greedy_search import GreedySearch
from seqlearn.decoding.logits import (
    LogitsProcessor,
    MinNewTokens,
    NoRepeatNGram,
    RepetitionPenalty,
)
from seqlearn.decoding.protocols import (
    DecodingStrategy,
    LogitsFunction,
    NextToken,
    suppressed_tokens,
)
from seqlearn.decoding.sampling import Sampling

__all__ = [
    "BeamSearch",
    "DecodingStrategy",
    "GreedySearch",
    "Hypothesis",
    "LogitsFunction",
    "LogitsProcessor",
    "MinNewTokens",
    "NextToken",
    "NoRepeatNGram",
    "RepetitionPenalty",
    "Sampling",
    "suppressed_tokens",
]
