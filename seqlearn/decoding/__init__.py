"""Decoding: from a decoder's answers to a text, for any decoder.

Nothing here knows an architecture: the only operation on a decoder's state is `select`, which takes
rows. Each step reports to `seqlearn.instrumentation` which row every row continues.
Padding and the start symbol are never answered; nor is the unknown symbol by a model that never saw
it in training (`suppressed_tokens`).
"""

from seqlearn.decoding.beam import BeamSearch, Hypothesis
from seqlearn.decoding.greedy_search import greedy
from seqlearn.decoding.protocols import NextToken, suppressed_tokens
from seqlearn.decoding.sampling import Sampling
from seqlearn.decoding.strategy import Strategy, StrategyName

__all__ = [
    "BeamSearch",
    "Hypothesis",
    "NextToken",
    "Sampling",
    "Strategy",
    "StrategyName",
    "greedy",
    "suppressed_tokens",
]
