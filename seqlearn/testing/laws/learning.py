"""Law 8: every parameter in use learns, and the loss is a sum over the counted targets."""

from __future__ import annotations

import re

import torch
from hypothesis import strategies as st
from torch import Tensor

from seqlearn.testing.cases import counted_targets, cut_examples, overfitting_examples, rows_of
from seqlearn.testing.definition import Law, law
from seqlearn.testing.overfitting import STEPS, Overfit, overfit
from seqlearn.testing.trainer_stub import trainer
from seqlearn.testing.trial import NotApplicable, Trial


@law(8, "gradients", drawn=False)
def gradients(trial: Trial) -> None:
    """Every parameter in use gets a finite gradient that is not zero everywhere."""
    module = trial.module(training=True)
    module.trainer = trainer()
    module.setup("fit")
    nonzero: dict[str, bool] = {}
    # Three times, for dropout may hide a parameter once. Empty batches need gradients as well:
    # under DDP another process waits for them.
    rich, empty = trial.rich(), cut_examples(trial.spec, trial.rich(), source=0, target=0)
    batches = [("full texts", rich, trial.batch(rich))] * 3
    batches.append(("empty texts", empty, trial.batch(empty)))
    duplicates = trial.batch(rich)._replace(indices=torch.tensor([~0, ~1, ~2, ~3]))
    batches.append(("duplicates only, which do not count", rich, duplicates))
    if trial.spec.source is None:  # nothing to predict, as at the end of a token stream
        first = duplicates.target[:, :1]
        ended = duplicates._replace(indices=None, target=first, target_lengths=torch.ones(4).long())
        batches.append(("start symbols only", empty, ended))
    for kind, examples, batch in batches:
        trial.drawn |= {"a batch of": kind, "examples": examples}
        module.zero_grad()
        torch.autograd.backward(module.compute_loss(batch).loss)
        found = {n: p.grad for n, p in module.named_parameters() if p.requires_grad}
        _check_present(trial, found, known=set(nonzero), kind=kind)
        for name, gradient in found.items():
            assert gradient is not None
            trial.expect(gradient.isfinite().all(), f"{name} has a gradient that is not finite")
            nonzero[name] = nonzero.get(name, False) or bool((gradient != 0).any())
    trial.drawn |= {"a batch of": "full texts", "examples": rich}
    for name, learns in nonzero.items():
        if learns or any(re.search(pattern, name) for pattern in trial.under_test.zero_gradients):
            continue
        # Over a single state an attention weight is one whatever the score, and a sequence of one
        # has no past: with a vector as source such a parameter may rest, if it learns from texts.
        if trial.generates and trial.spec.source is not None and not trial.sequence_source:
            served = [trial.under_test.tasks[task] for task in trial.under_test.serves]
            if any(s.source and s.source.is_sequence and s.target.needs_decoder for s in served):
                continue
        message = (
            f"{name} has a gradient of zero; if that is so by mathematics, name it in "
            "zero_gradients"
        )
        trial.expect(holds=False, message=message)


def _check_present(
    trial: Trial, found: dict[str, Tensor | None], *, known: set[str], kind: str
) -> None:
    """Report parameters without a gradient, and whether the batch is the reason."""
    missing = [name for name, gradient in found.items() if gradient is None]
    shown = ", ".join(missing[:4]) + (", …" if len(missing) > 4 else "")
    trial.expect(
        not missing or known,
        f"{shown}: no gradient, for which other processes would wait; use it, or switch its "
        "gradient off in __init__ (of layers that only memory.pooled needs, by pooling_modules() "
        "of the encoder)",
    )
    trial.expect(
        not missing,
        f"a batch of {kind} gives no gradient to {len(missing)} of {len(found)} parameters "
        f"({shown}), for which other processes would wait; let encode and decode call the encoder "
        "and the decoder for empty sequences too, as those of SequenceModule do",
    )


@law(8, "loss additivity", slow=True)
def loss_additivity(trial: Trial) -> None:
    """The loss of a batch is the sum of the losses of its parts, and so is the token count."""
    drawn = trial.examples(min_size=2)
    size = trial.draw(st.integers(1, len(drawn) - 1), "examples in the first part")
    module, batch = trial.module(), trial.batch(drawn)
    with torch.no_grad():
        whole = module.compute_loss(batch)
        parts = [
            module.compute_loss(rows_of(batch, rows))
            for rows in (range(size), range(size, len(drawn)))
        ]
    counted = counted_targets(trial.spec, batch)
    trial.expect(
        counted == int(whole.num_tokens),
        f"count_items of the target counts {counted} items, and the loss {int(whole.num_tokens)}",
    )
    total = sum(int(part.num_tokens) for part in parts)
    trial.expect(
        total == int(whole.num_tokens),
        f"{total} tokens count in the two parts, and {int(whole.num_tokens)} in the whole batch",
    )
    summed = parts[0].loss + parts[1].loss
    trial.close(summed, whole.loss, "the summed loss of two parts, and of the whole batch")


@law(8, "overfit a small batch", drawn=False)
def overfit_a_small_batch(trial: Trial) -> None:
    """A small batch can be overfitted: every token is right within 400 steps of Adam."""
    examples = overfitting_examples(trial.spec)
    attempts: list[Overfit] = []
    for rate in (1e-2, 3e-3, 3e-2):
        attempts.append(overfit(trial.module(perturbed=False, dtype=torch.float32), trial, rate))
        if attempts[-1].done:
            return
    best = max(attempts, key=lambda attempt: sum(attempt.right))
    wrong = [n for n, right in enumerate(best.right) if right < best.counts[n]]
    message = (
        f"{sum(best.right)} of {sum(best.counts)} are right after {STEPS} steps; the loss goes "
        f"from {best.start:.3g} to {best.loss:.3g}; wrong: "
        f"{', '.join(f'{examples[n][0]} → {examples[n][1]}' for n in wrong)}"
    )
    for one, other in best.same:
        message += f"; the sources {examples[one][0]} and {examples[other][0]} give the same output"
    trial.expect(holds=False, message=message)


@law(8, "initial loss", drawn=False)
def initial_loss(trial: Trial) -> None:
    """Before training, the loss is close to that of outputs of zero, such as log(vocab_size)."""
    module, batch = trial.module(perturbed=False), trial.batch(trial.rich())
    with torch.no_grad():
        output = module.compute_loss(batch)
    if int(output.num_tokens) == 0:
        raise NotApplicable("no target counts in its loss")
    target, count = trial.spec.target, float(output.num_tokens)
    labels, mask = target.labels_of(batch)
    zeros = torch.zeros(int(mask.sum()), module.head.out_features, dtype=trial.dtype)
    chance = float(target.item_loss(zeros, labels[mask]).sum()) / count
    loss = float(output.loss) / count
    trial.error = max(trial.error, abs(loss - chance))
    trial.expect(
        0.5 * chance < loss < chance + 2,
        f"the initial loss is {loss:.3g}, that of outputs of zero {chance:.3g}; initialize the "
        "head and its inputs with smaller weights",
    )


LAWS: tuple[Law, ...] = (gradients, loss_additivity, overfit_a_small_batch, initial_loss)
