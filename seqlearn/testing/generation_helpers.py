"""How laws ask a module for answers, and when two answers are as good as one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seqlearn.batch import START
from seqlearn.core import SequenceModule
from seqlearn.decoding import suppressed_tokens
from seqlearn.spec import TextSpec
from seqlearn.testing.cases import Example
from seqlearn.testing.law import Trial

LIMIT = 4
"""Tokens that an answer has at most."""

GAP = 1e-6
"""Nats between two answers below which it is chance which one is the better."""


def asked(trial: Trial, examples: Sequence[Example]) -> dict[str, Any]:
    """The arguments of `generate` for these examples; targets, cut to two tokens, are prompts."""
    prompts = [ids[:2] for _, ids in examples]
    if trial.spec.source is None:
        return {"prompts": prompts}
    return {"sources": [source for source, _ in examples], "prompts": prompts}


def longest_answer(trial: Trial, examples: Sequence[Example]) -> int:
    """Tokens that may be made after the prompts."""
    prompt = max(len(ids[:2]) for _, ids in examples)
    return max(1, min(LIMIT, trial.under_test.widest_target - 1 - prompt))


def next_logits(
    trial: Trial, module: SequenceModule, example: Example, tokens: Sequence[int]
) -> Tensor:
    """The logits of the next token, all at once and without a cache; as decoding sees them."""
    batch = trial.batch([example])
    with torch.no_grad():
        memory = module.encode(batch.source, batch.source_lengths)
        hidden, _ = module.decode(torch.tensor([[START, *tokens]]), memory)
        logits = module.head(hidden[0, -1])
    target = trial.spec.target
    assert isinstance(target, TextSpec)
    logits[list(suppressed_tokens(target))] = float("-inf")
    return logits


def near_tie(
    trial: Trial, module: SequenceModule, example: Example, answers: Sequence[Sequence[int]]
) -> bool:
    """Whether answers to one source are equally likely, or part where two tokens are."""
    sources = None if trial.spec.source is None else [example[0]] * len(answers)
    scores = module.score(sources, answers)
    if float(scores.max() - scores.min()) < GAP:
        return True
    one, other = answers
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    best = next_logits(trial, module, example, one[:same]).log_softmax(-1).topk(2).values
    return bool(best[0] - best[1] < GAP)
