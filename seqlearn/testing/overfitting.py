"""Training on one small batch until every token is right: can a module overfit it?"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch

from seqlearn.batch import SequenceBatch
from seqlearn.core import SequenceModule
from seqlearn.core.loss_output import LossOutput
from seqlearn.testing.cases import overfitting_examples
from seqlearn.testing.trial import Trial

STEPS = 400
"""Optimizer steps within which the batch must be overfitted."""

MIN_PROBABILITY = 0.6
"""A token counts as right above this probability: it is the most likely one, and not by rounding.
Two examples that a module cannot distinguish get one half each."""

MAX_DIFFERENCE = 0.05
"""Below this difference two predictions count as equal: of log-probabilities, class logits or
vectors."""


class Overfit(NamedTuple):
    """The result of one attempt.

    Attributes:
        right: For each example, how many of its tokens (its class, its vector) are right.
        counts: For each example, how many there are.
        start: The mean loss before training.
        loss: The mean loss after training.
        same: Pairs of examples with equal predictions and different targets.
    """

    right: list[int]
    counts: list[int]
    start: float
    loss: float
    same: list[tuple[int, int]]

    @property
    def done(self) -> bool:
        """Whether every token is right."""
        return self.right == self.counts


def overfit(module: SequenceModule, trial: Trial, rate: float) -> Overfit:
    """Train a module with Adam until every token is right or the steps are used up.

    A token or class is right if its probability is above `MIN_PROBABILITY`, a vector if its squared
    error is below a twentieth of the mean before training.
    """
    batch = trial.batch(overfitting_examples(trial.spec), torch.float32)
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=rate)
    discrete = bool(trial.spec.target.methods)  # of text or classes, whose loss is in nats
    limit, start = -math.log(MIN_PROBABILITY), math.nan
    found = Overfit([0], [1], start, start, [])
    for step in range(STEPS + 1):
        output = module.compute_loss(batch)
        loss = float(output.loss.detach() / output.num_tokens)
        start = loss if step == 0 else start
        right, counts = _count_right(output, limit if discrete else 0.05 * start)
        found = Overfit(right, counts, start, loss, [])
        if found.done or step == STEPS:
            break
        optimizer.zero_grad()
        torch.autograd.backward(output.loss)
        optimizer.step()
    return found._replace(same=[] if found.done else _equal_predictions(trial, module, batch))


def _count_right(output: LossOutput, limit: float) -> tuple[list[int], list[int]]:
    """For each example, how many tokens have a loss below a limit, and how many there are."""
    mask, loss = output.mask, output.nll
    loss = loss.mean(1) if loss.ndim > 1 else loss  # for a vector over its elements
    right = torch.zeros_like(mask).masked_scatter(mask, loss < limit)
    return right.sum(1).tolist(), mask.sum(1).tolist()


def _equal_predictions(
    trial: Trial, module: SequenceModule, batch: SequenceBatch
) -> list[tuple[int, int]]:
    """Pairs of examples with equal predictions and different targets."""
    with torch.no_grad():
        outputs = module(batch)
    if trial.generates:
        outputs = outputs.log_softmax(-1)
    labels, mask = trial.spec.target.labels_of(batch)
    labels = labels.masked_fill(~mask.view(*mask.shape, *[1] * (labels.ndim - 2)), 0)
    outputs = outputs if trial.spec.target.is_sequence else outputs[:, None]
    pairs = []
    for one, other in itertools.combinations(range(batch.size), 2):
        # In texts, the first token that differs is predicted from the same tokens before it.
        differ = (
            (labels[one] != labels[other]).flatten(1).any(1)
            if labels.ndim > 2
            else (labels[one] != labels[other])
        )
        if not bool(differ.any()):
            continue
        position = int(differ.int().argmax())
        difference = (outputs[one, position] - outputs[other, position]).abs().max()
        if bool(difference < MAX_DIFFERENCE):
            pairs.append((one, other))
    return pairs
