"""Law 8: everything in use learns, and the loss is a sum over what counts."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from seqlearn.batch import SequenceBatch
from seqlearn.core import SequenceModule
from seqlearn.core.steps import LossOutput
from seqlearn.spec import ClassesSpec, TextSpec
from seqlearn.testing.cases import Example, rows_of
from seqlearn.testing.law import ALL, Law, NotApplicable, Trial, law
from seqlearn.testing.trainer_stub import trainer

STEPS = 400
"""Steps in which a handful of examples must be learnt by heart."""

SURE = 0.6
"""The probability above which a token counts as right: the likeliest, and not by a rounding error.
Two examples that a module cannot tell apart share one half each."""

ALIKE = 0.05
"""The difference below which two predictions are as good as the same: of log-probabilities, of the
logits of classes, of vectors."""


def emptied(trial: Trial, examples: list[Example]) -> list[Example]:
    """These examples, with texts of no tokens."""

    def emptied_side(side: Any, kind: object) -> Any:
        return [] if isinstance(kind, TextSpec) else side

    spec = trial.spec
    return [(emptied_side(s, spec.source), emptied_side(t, spec.target)) for s, t in examples]


@law(8, "gradients", drawn=False)
def gradients(trial: Trial) -> None:
    """Every parameter in use gets a gradient that is finite, and is not zero throughout."""
    module = trial.module(training=True)
    module.trainer = trainer()
    module.setup("fit")
    learning: dict[str, bool] = {}
    # Dropout may hide a parameter once. Where nothing is to be read, gradients are there as well:
    # another process may wait for them.
    rich, nothing = trial.rich(), emptied(trial, trial.rich())
    batches = [("full texts", rich, trial.batch(rich))] * 3
    batches.append(("empty texts", nothing, trial.batch(nothing)))
    duplicates = trial.batch(rich)._replace(indices=torch.tensor([~0, ~1, ~2, ~3]))
    batches.append(("duplicates only, which do not count", rich, duplicates))
    if trial.spec.source is None:  # nothing to predict, as where the streams of a text have ended
        first = duplicates.target[:, :1]
        ended = duplicates._replace(indices=None, target=first, target_lengths=torch.ones(4).long())
        batches.append(("start symbols only", nothing, ended))
    for kind, examples, batch in batches:
        trial.drawn |= {"a batch of": kind, "examples": examples}
        module.zero_grad()
        torch.autograd.backward(module.compute_loss(batch).loss)
        gradients = {n: p.grad for n, p in module.named_parameters() if p.requires_grad}
        _check_present(trial, gradients, known=set(learning), kind=kind)
        for name, gradient in gradients.items():
            assert gradient is not None
            trial.expect(gradient.isfinite().all(), f"{name} has a gradient that is not finite")
            learning[name] = learning.get(name, False) or bool((gradient != 0).any())
    trial.drawn |= {"a batch of": "full texts", "examples": rich}
    for name, learns in learning.items():
        if learns or any(re.search(pattern, name) for pattern in trial.under_test.zero_gradients):
            continue
        # Of one state the weight is one whatever the score; and a sequence of one has no past.
        # What reads a vector only so may rest there, if it learns from a text.
        if (
            trial.shape == "vector-to-sequence"
            and "sequence-to-sequence" in trial.under_test.serves
        ):
            continue
        trial.expect(
            holds=False,
            said=f"{name} has a gradient of zero; if that is so by mathematics, name it in "
            "zero_gradients",
        )


def _check_present(
    trial: Trial, gradients: dict[str, Tensor | None], *, known: set[str], kind: str
) -> None:
    """See that every parameter has a gradient; else say whether it or the batch is why."""
    missing = [name for name, gradient in gradients.items() if gradient is None]
    shown = ", ".join(missing[:4]) + (", …" if len(missing) > 4 else "")
    trial.expect(
        not missing or known,
        f"{shown}: no gradient, for which other processes would wait; use it, or switch its "
        "gradient off in __init__",
    )
    trial.expect(
        not missing,
        f"a batch of {kind} gives no gradient to {len(missing)} of {len(gradients)} parameters "
        f"({shown}), for which other processes would wait; let encode and decode call the encoder "
        "and the decoder also where there is nothing to read, as those of SequenceModule do",
    )


@law(8, "loss additivity", few=True)
def split(trial: Trial) -> None:
    """The loss of a batch is the sum of the losses of its parts, and so is what counts in it."""
    drawn = trial.examples(min_size=2)
    place = trial.draw(st.integers(1, len(drawn) - 1), "examples in the first part")
    module, batch = trial.module(), trial.batch(drawn)
    with torch.no_grad():
        whole = module.compute_loss(batch)
        parts = [
            module.compute_loss(rows_of(batch, rows))
            for rows in (range(place), range(place, len(drawn)))
        ]
    total = sum(int(part.num_tokens) for part in parts)
    trial.expect(
        total == int(whole.num_tokens),
        f"in parts {total} tokens or examples count, and {int(whole.num_tokens)} together",
    )
    summed = parts[0].loss + parts[1].loss
    trial.close(summed, whole.loss, "the sum of the losses of two parts, and of both together")


def by_heart_examples(trial: Trial) -> list[Example]:
    """Four examples that can be told from one another; of texts out of nothing only one."""
    sources: list[Any] = [[4, 5], [6], [7, 8, 4], [5, 4]]
    vectors: list[Any] = [[1.0, 0.0, -1.0], [-1.0, 1.0, 0.5], [0.0, -1.5, 1.0], [1.5, 1.5, 0.0]]
    targets: list[Any] = [[4, 5], [6, 4], [5], [6, 6]]
    if isinstance(trial.spec.target, ClassesSpec):
        targets = [0, 1, 2, 0]
    elif not isinstance(trial.spec.target, TextSpec):
        targets = [[1.0, -1.0], [0.0, 0.5], [-1.0, 0.0], [0.5, 1.0]]
    if trial.spec.source is None:
        return [(None, [4, 6])]
    return list(zip(sources if trial.text_source else vectors, targets, strict=True))


class Learnt(NamedTuple):
    """What became of an attempt to learn the handful by heart.

    Attributes:
        right: For each example how many of its tokens (its class, its vector) are right.
        counts: For each example how many there are.
        start: The mean loss at the start.
        loss: And in the end.
        same: Pairs of examples that are predicted alike, though their targets differ.
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


def learnt(module: SequenceModule, trial: Trial, rate: float) -> Learnt:
    """Train a module on the handful until every token is right, or the steps are used up.

    A token or class is right where its probability is above `SURE`, a vector where its squared
    error is below a twentieth of the mean at the start.
    """
    batch = trial.batch(by_heart_examples(trial), torch.float32)
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=rate)
    discrete = isinstance(trial.spec.target, ClassesSpec | TextSpec)
    limit, start = -math.log(SURE), math.nan
    found = Learnt([0], [1], start, start, [])
    for step in range(STEPS + 1):
        measured = module.compute_loss(batch)
        loss = float(measured.loss.detach() / measured.num_tokens)
        start = loss if step == 0 else start
        right, counts = _right(measured, limit if discrete else 0.05 * start)
        found = Learnt(right, counts, start, loss, [])
        if found.done or step == STEPS:
            break
        optimizer.zero_grad()
        torch.autograd.backward(measured.loss)
        optimizer.step()
    return found._replace(same=[] if found.done else _predicted_alike(module, batch))


def _right(measured: LossOutput, limit: float) -> tuple[list[int], list[int]]:
    """How many tokens of each example have a loss below a limit, and how many there are."""
    mask, loss = measured.mask, measured.nll
    loss = loss.mean(1) if loss.ndim > 1 else loss  # of a vector over its numbers
    right = torch.zeros_like(mask).masked_scatter(mask, loss < limit)
    return right.sum(1).tolist(), mask.sum(1).tolist()


def _predicted_alike(module: SequenceModule, batch: SequenceBatch) -> list[tuple[int, int]]:
    """Pairs of examples with other targets, whose predictions are the same while these part."""
    with torch.no_grad():
        outputs = module(batch)
    if batch.target_lengths is not None:
        outputs = outputs.log_softmax(-1)
    alike = []
    for one, other in itertools.combinations(range(batch.size), 2):
        # Of texts the first token in which they differ is predicted from the same tokens before.
        place: Any = ()
        if batch.target_lengths is not None:
            place = int((batch.target[one] != batch.target[other]).int().argmax()) - 1
        differ = not torch.equal(batch.target[one], batch.target[other])
        if differ and bool((outputs[one][place] - outputs[other][place]).abs().max() < ALIKE):
            alike.append((one, other))
    return alike


@law(8, "overfit a small batch", drawn=False)
def by_heart(trial: Trial) -> None:
    """A handful of examples can be learnt by heart: every token right, in 400 steps of Adam."""
    examples = by_heart_examples(trial)
    attempts: list[Learnt] = []
    for rate in (1e-2, 3e-3, 3e-2):
        attempts.append(learnt(trial.module(moved=False, dtype=torch.float32), trial, rate))
        if attempts[-1].done:
            return
    found = max(attempts, key=lambda attempt: sum(attempt.right))
    said = (
        f"{sum(found.right)} of {sum(found.counts)} are right after {STEPS} steps; the loss goes "
        f"from {found.start:.3g} to {found.loss:.3g}"
    )
    wrong = [n for n, right in enumerate(found.right) if right < found.counts[n]]
    said += f"; wrong: {', '.join(f'{examples[n][0]} → {examples[n][1]}' for n in wrong)}"
    for one, other in found.same:
        said += f"; it cannot tell the source {examples[one][0]} from {examples[other][0]}"
    trial.expect(holds=False, said=said)


@law(8, "initial loss", shapes=tuple(s for s in ALL if not s.endswith("vector")), drawn=False)
def first_loss(trial: Trial) -> None:
    """Before training the loss is about the logarithm of the number of choices, in nats."""
    module, batch = trial.module(moved=False), trial.batch(trial.rich())
    with torch.no_grad():
        measured = module.compute_loss(batch)
    if int(measured.num_tokens) == 0:
        raise NotApplicable("nothing counts in its loss")
    loss, chance = float(measured.loss / measured.num_tokens), math.log(module.head.out_features)
    trial.error = max(trial.error, abs(loss - chance))
    trial.expect(
        0.5 * chance < loss < chance + 2,
        f"the first loss is {loss:.3g} nats, and chance gives {chance:.3g}; start the head and "
        "what it reads with smaller weights",
    )


LAWS: tuple[Law, ...] = (gradients, split, by_heart, first_loss)
