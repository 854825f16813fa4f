"""Generation for the laws: arguments of `generate`, reference probabilities, near ties."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seqlearn.batch import END, START, pad
from seqlearn.core import SequenceModule
from seqlearn.decoding import suppressed_tokens
from seqlearn.spec import GeneratedSpec
from seqlearn.testing.cases import Example
from seqlearn.testing.trial import Trial

LIMIT = 4
"""The most tokens that are generated."""

GAP = 1e-6
"""Two texts whose scores differ by less than this, in nats, count as equally likely."""


def raw_sources(trial: Trial, examples: Sequence[Example]) -> list[Any] | None:
    """The sources of these examples as a user passes them; `None` without a source."""
    side = trial.spec.source
    return None if side is None else list(side.decode([source for source, _ in examples]))


def raw_targets(trial: Trial, ids: Sequence[Sequence[int]]) -> list[Any]:
    """Targets as a user passes them."""
    return list(generated_spec(trial).decode(ids))


def generated_ids(trial: Trial, generated: Sequence[Any]) -> list[list[int]]:
    """The ids of what `generate` returned."""
    return [list(ids) for ids in generated_spec(trial).encode(generated)]


def generated_spec(trial: Trial) -> GeneratedSpec:
    """The type of the target, which a decoder generates."""
    target = trial.spec.target
    assert isinstance(target, GeneratedSpec)
    return target


def free_ids(trial: Trial) -> list[int]:
    """The ids that may be generated besides the end symbol."""
    target = generated_spec(trial)
    return [i for i in range(target.output_size) if i != END and i not in target.suppressed_ids]


def generate_arguments(trial: Trial, examples: Sequence[Example]) -> dict[str, Any]:
    """The arguments of `generate` for these examples; the first two target tokens are prompts."""
    prompts = raw_targets(trial, [ids[:2] for _, ids in examples])
    sources = raw_sources(trial, examples)
    return {"prompts": prompts} if sources is None else {"sources": sources, "prompts": prompts}


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
    logits[list(suppressed_tokens(generated_spec(trial)))] = float("-inf")
    return logits


def log_probabilities(
    trial: Trial, module: SequenceModule, example: Example, texts: list[list[int]]
) -> Tensor:
    """Log-probabilities of every token of these texts, `text time vocab`, in nats."""
    batch = trial.batch([(example[0], example[1][:0]) for _ in texts])
    inputs, _ = pad([[START, *ids] for ids in texts])
    with torch.no_grad():
        memory = module.encode(batch.source, batch.source_lengths)
        hidden, _ = module.decode(inputs, memory)
        return module.head(hidden).log_softmax(-1)


def near_tie(
    trial: Trial, module: SequenceModule, example: Example, texts: Sequence[Sequence[int]]
) -> bool:
    """Whether two generated texts are equally likely, or differ first at two such tokens."""
    sources = raw_sources(trial, [example] * len(texts))
    scores = module.score(sources, raw_targets(trial, texts))
    if float(scores.max() - scores.min()) < GAP:
        return True
    one, other = texts
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    best = next_logits(trial, module, example, one[:same]).log_softmax(-1).topk(2).values
    return bool(best[0] - best[1] < GAP)
