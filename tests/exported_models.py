"""Small models with random weights that generate texts of different lengths."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch

import seqlearn as sl

SOURCE, TARGET = sl.TextSpec(9, 8), sl.TextSpec(12, 8)
TEXTS = sl.SequenceSpec(SOURCE, TARGET)
TASKS = {
    "texts": TEXTS,
    "classes": sl.SequenceSpec(SOURCE, sl.ClassesSpec(("a", "b", "c"))),
    "to vectors": sl.SequenceSpec(SOURCE, sl.VectorSpec(2)),
    "from vectors": sl.SequenceSpec(sl.VectorSpec(3), TARGET),
    "language model": sl.SequenceSpec(None, TARGET),
}

MODELS: dict[str, Callable[[sl.SequenceSpec], sl.SequenceModule]] = {
    "FeedForward": lambda spec: sl.FeedForward(spec, d_model=8, window=6),
    "RNN": lambda spec: sl.RNN(spec, d_model=8),
    "GRU": lambda spec: sl.GRU(spec, d_model=8, num_layers=2),
    "LSTM": lambda spec: sl.LSTM(spec, d_model=8, bidirectional=True),
    "AttentionSeq2Seq": lambda spec: sl.AttentionSeq2Seq(spec, d_model=8),
    "input feeding": lambda spec: sl.AttentionSeq2Seq(
        spec, d_model=8, input_feeding=True, score="additive"
    ),
    "Transformer": lambda spec: sl.Transformer(spec, d_model=8, num_layers=2, num_heads=2),
    "rotary": lambda spec: sl.Transformer(
        spec, d_model=8, num_layers=1, num_heads=2, norm="pre", positions="rotary"
    ),
    "learned": lambda spec: sl.Transformer(
        spec, d_model=8, num_layers=1, num_heads=2, positions="learned", activation="gelu"
    ),
}

SOURCES: list[Any] = [[4, 5, 6], [7, 8], [], [5, 5, 5, 5, 5], [8], [6, 4], [4], [7, 4, 8, 6]]
VECTORS = [[0.5 * number, 1.0, -1.0 - number] for number in range(8)]
PROMPTS: list[Any] = [[], [4, 5], [5], [4, 4, 6], [7, 7], [], [8], [9]]

OPTIONS: list[dict[str, Any]] = [
    {"strategy": "greedy"},
    {"strategy": "beam", "beam_size": 3},
    {"strategy": "beam", "beam_size": 2, "length_penalty": 0.3, "early_stopping": True},
    {"strategy": "beam", "beam_size": 4, "early_stopping": "never", "num_return_sequences": 3},
    {"strategy": "greedy", "repetition_penalty": 1.5, "min_new_tokens": 3},
    {"strategy": "beam", "beam_size": 2, "no_repeat_ngram_size": 2, "min_new_tokens": 2},
    {"strategy": "greedy", "prompts": PROMPTS},
    {"strategy": "beam", "beam_size": 3, "prompts": PROMPTS, "max_new_tokens": 4},
]
"""Decoding options; the first two and the last two are the short form."""


def make(name: str, spec: sl.SequenceSpec) -> sl.SequenceModule:
    """A model with random weights, large enough that outputs depend on every token.

    They come from Python's generator, whose numbers are the same on every CPU.
    """
    rng = random.Random(0)
    model = MODELS[name](spec).eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            scale, mean = (0.6, 0.0) if weight.dim() > 1 else (0.2, 0.0)
            if "norm" in key and key.endswith("weight"):
                mean = 1.0
            drawn = [rng.gauss(mean, scale) for _ in range(weight.numel())]
            weight.copy_(torch.tensor(drawn).view_as(weight))
        if spec.target.needs_decoder:
            model.head.bias[:3] = -30.0  # of ids that a trained model does not predict
            model.head.bias[3] += 0.5  # texts end
    return model


def inputs_of(spec: sl.SequenceSpec) -> list[Any] | None:
    """Eight sources for a model."""
    if spec.source is None:
        return None
    return SOURCES if spec.source.is_sequence else VECTORS
