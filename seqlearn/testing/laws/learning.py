"""Law 8: everything in use learns, and the loss is a sum over what counts."""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from hypothesis import strategies as st

from seqlearn.models import SequenceModule
from seqlearn.spec import ClassesSpec, TextSpec
from seqlearn.testing.cases import Example, rows_of
from seqlearn.testing.law import ALL, Law, NotChecked, Trial, law
from seqlearn.testing.laws.trainers import trainer

STEPS = 400
"""Steps in which a handful of examples must be learnt by heart."""


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
    batches = [trial.batch(trial.rich()) for _ in range(3)]
    batches.append(trial.batch(emptied(trial, trial.rich())))
    batches.append(batches[0]._replace(rows=torch.tensor([~0, ~1, ~2, ~3])))  # repeats only
    if trial.spec.source is None:  # nothing to predict, as where the lanes of a text have ended
        first = batches[0].target[:, :1]
        batches.append(batches[0]._replace(target=first, target_lengths=torch.ones(4).long()))
    for batch in batches:
        module.zero_grad()
        torch.autograd.backward(module.measure(batch).loss)
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            gradient = parameter.grad
            trial.expect(
                gradient is not None,
                f"{name} has no gradient, for which other processes would wait; use it, or switch "
                "its gradient off in __init__",
            )
            assert gradient is not None
            trial.expect(gradient.isfinite().all(), f"{name} has a gradient that is not finite")
            learning[name] = learning.get(name, False) or bool((gradient != 0).any())
    for name, learns in learning.items():
        if learns or any(re.search(pattern, name) for pattern in trial.subject.zero_gradients):
            continue
        # Of one state the weight is one whatever the score; and a sequence of one has no past.
        # What reads a vector only so may rest there, if it learns from a text.
        if trial.shape == "vector to text" and "text to text" in trial.subject.serves:
            continue
        trial.expect(
            holds=False,
            said=f"{name} has a gradient of zero; if that is so by mathematics, name it in "
            "zero_gradients",
        )


@law(8, "split", few=True)
def split(trial: Trial) -> None:
    """The loss of a batch is the sum of the losses of its parts, and so is what counts in it."""
    drawn = trial.examples(min_size=2)
    place = trial.draw(st.integers(1, len(drawn) - 1), "examples in the first part")
    module, batch = trial.module(), trial.batch(drawn)
    with torch.no_grad():
        whole = module.measure(batch)
        parts = [
            module.measure(rows_of(batch, rows))
            for rows in (range(place), range(place, len(drawn)))
        ]
    total = sum(int(part.total) for part in parts)
    trial.expect(
        total == int(whole.total),
        f"in parts {total} tokens or examples count, and {int(whole.total)} together",
    )
    summed = parts[0].loss + parts[1].loss
    trial.close(summed, whole.loss, "the sum of the losses of two parts, and of both together")


def by_heart_examples(trial: Trial) -> list[Example]:
    """Four examples that can be told from one another; of texts out of nothing only one."""
    sources: list[Any] = [[4, 5], [6], [7, 8, 4], [5, 4]]
    vectors: list[Any] = [[1.0, 0.0, -1.0], [-1.0, 1.0, 0.5], [0.0, -1.5, 1.0], [1.5, 1.5, 0.0]]
    kind = trial.shape.split(" to ")[0]
    targets: list[Any] = [[4, 5], [6, 4], [5], [6, 6]]
    if isinstance(trial.spec.target, ClassesSpec):
        targets = [0, 1, 2, 0]
    elif not isinstance(trial.spec.target, TextSpec):
        targets = [[1.0, -1.0], [0.0, 0.5], [-1.0, 0.0], [0.5, 1.0]]
    if kind == "nothing":
        return [(None, [4, 6])]
    return list(zip(sources if kind == "text" else vectors, targets, strict=True))


def learnt(module: SequenceModule, trial: Trial, rate: float) -> tuple[bool, float, float]:
    """Whether it learns the handful by heart, and the loss at the start and in the end."""
    batch = trial.batch(by_heart_examples(trial), torch.float32)
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=rate)
    start = loss = math.nan
    for step in range(STEPS):
        measured = module.measure(batch)
        loss = float(measured.loss.detach() / measured.total)
        start = loss if step == 0 else start
        classes = isinstance(trial.spec.target, ClassesSpec | TextSpec)
        # Every token is the likeliest, and not by a hair; of vectors, a twentieth is left.
        if loss < (0.3 if classes else 0.05 * start):
            return True, start, loss
        optimizer.zero_grad()
        torch.autograd.backward(measured.loss)
        optimizer.step()
    return False, start, loss


@law(8, "by heart", drawn=False)
def by_heart(trial: Trial) -> None:
    """A handful of examples can be learnt by heart, without dropout, in 400 steps of Adam."""
    start = loss = math.nan
    for rate in (1e-2, 3e-3):
        done, start, loss = learnt(trial.module(moved=False, dtype=torch.float32), trial, rate)
        if done:
            return
    trial.expect(holds=False, said=f"the loss goes from {start:.3g} to {loss:.3g} only")


@law(8, "first loss", shapes=tuple(s for s in ALL if not s.endswith("vector")), drawn=False)
def first_loss(trial: Trial) -> None:
    """Before training the loss is about the logarithm of the number of choices, in nats."""
    module, batch = trial.module(moved=False), trial.batch(trial.rich())
    with torch.no_grad():
        measured = module.measure(batch)
    if int(measured.total) == 0:
        raise NotChecked("nothing counts in its loss")
    loss, chance = float(measured.loss / measured.total), math.log(module.head.out_features)
    trial.error = max(trial.error, abs(loss - chance))
    trial.expect(
        0.5 * chance < loss < chance + 2,
        f"the first loss is {loss:.3g} nats, and chance gives {chance:.3g}; start the head and "
        "what it reads with smaller weights",
    )


LAWS: tuple[Law, ...] = (gradients, split, by_heart, first_loss)
