"""Generation for the laws: arguments of `generate`, reference probabilities, near ties."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seqlearn.batch import START, pad
from seqlearn.core import SequenceModule
from seqlearn.decoding import suppressed_tokens
from seqlearn.spec import GeneratedSpec
from seqlearn.testing.cases import Example
from seqlearn.testing.trial import Trial

LIMIT = 4
"""The most tokens that are generated."""

GAP = 1e-6
"""Two texts whose scores differ by less than this, in nats, count as equally likely."""


def generate_arguments(trial: Trial, examples: Sequence[Example]) -> dict[str, Any]:
    """The arguments of `generate` for these examples; the first two target tokens are prompts."""
    prompts = [ids[:2] for _, ids in examples]
    if trial.spec.source is None:
        return {"prompts": prompts}
    return {"sources": [source for source, _ in examples], "prompts": prompts}


def generation_limit(trial: Trial, examples: Sequence[Example]) -> int:
    """How many tokens may be generated after the prompts."""
    prompt = max(len(ids[:2]) for _, ids in examples)
    return max(1, min(LIMIT, trial.under_test.widest_target - 1 - prompt))


def next_logits(
    trial: Trial, module: SequenceModule, example: Example, tokens: Sequence[int]
) -> Tensor:
    """The logits of the next token from a forward pass without a cache, as decoding uses them."""
    batch = trial.batch([example])
    with torch.no_grad():
        memory = module.encode(batch.source, batch.source_lengths)
        hidden, _ = module.decode(torch.tensor([[START, *tokens]]), memory)
        logits = module.head(hidden[0, -1])
    target = trial.spec.target
    assert isinstance(target, GeneratedSpec)
    logits[list(suppressed_tokens(target))] = float("-inf")
    return logits


def log_probabilities(
    trial: Trial, module: SequenceModule, example: Example, texts: list[list[int]]
) -> Tensor:
    """Log-probabilities of every token of these texts, `text time vocab`, in nats."""
    batch = trial.batch([(example[0], []) for _ in texts])
    inputs, _ = pad([[START, *ids] for ids in texts])
    with torch.no_grad():
        memory = module.encode(batch.source, batch.source_lengths)
        hidden, _ = module.decode(inputs, memory)
        return module.head(hidden).log_softmax(-1)


def near_tie(
    trial: Trial, module: SequenceModule, example: Example, texts: Sequence[Sequence[int]]
) -> bool:
    """Whether two generated texts are equally likely, or differ first at two such tokens."""
    sources = None if trial.spec.source is None else [example[0]] * len(texts)
    scores = module.score(sources, texts)
    if float(scores.max() - scores.min()) < GAP:
        return True
    one, other = texts
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    best = next_logits(trial, module, example, one[:same]).log_softmax(-1).topk(2).values
    return bool(best[0] - best[1] < GAP)
