"""Decoding: from a decoder's answers to a text, for any decoder.

Nothing here knows an architecture: a decoder's state is only ever cut and reordered by rows, with
`select`, and `seqlearn.probe` is told how the rows moved, so that a recording can follow them.
Padding and the start symbol are never answered; nor is the unknown symbol by a model that never saw
it in training (`suppressed_tokens`).
"""

from seqlearn.decoding.beam import BeamSearch, Hypothesis
from seqlearn.decoding.greedy import greedy
from seqlearn.decoding.next_token import NextToken, suppressed_tokens
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
