"""Law 3: padding, the order of a batch and its other examples change nothing."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from hypothesis import strategies as st

from seqlearn.testing.cases import real_outputs, repad_with_garbage, rows_of
from seqlearn.testing.definition import Law, law
from seqlearn.testing.generation_helpers import (
    generate_arguments,
    generated_ids,
    generation_limit,
    near_tie,
)
from seqlearn.testing.trial import Trial


@law(3, "padding")
def padding(trial: Trial) -> None:
    """More padding, and arbitrary values in padded positions, change no output and no loss."""
    drawn = trial.examples()
    batch = trial.batch(drawn)
    wide = batch
    if batch.source is not None and batch.source_lengths is not None:
        width = batch.source.shape[1]
        most = max(width, trial.under_test.widest_source)
        width = trial.draw(st.integers(width, most), "source padded to")
        wide = wide._replace(
            source=repad_with_garbage(
                batch.source, batch.source_lengths, trial.garbage(batch.size, width, target=False)
            )
        )
    if batch.target_lengths is not None:
        width = batch.target.shape[1]
        most = max(width, trial.under_test.widest_target)
        width = trial.draw(st.integers(width, most), "target padded to")
        wide = wide._replace(
            target=repad_with_garbage(
                batch.target, batch.target_lengths, trial.garbage(batch.size, width, target=True)
            )
        )
    module, real = trial.module(), partial(real_outputs, trial.spec)
    with torch.no_grad():
        one, other = (
            real(batch, module(batch)),
            real(batch, module(wide)),
        )
        trial.close(other, one, "outputs with and without more padding")
        if batch.source is not None:
            memory, again = (module.encode(b.source, b.source_lengths) for b in (batch, wide))
            assert memory is not None
            assert again is not None
            trial.close(again.pooled, memory.pooled, "memory.pooled with and without more padding")
        measured, padded = module.compute_loss(batch), module.compute_loss(wide)
    trial.close(padded.loss, measured.loss, "losses with and without more padding")
    trial.expect(
        int(padded.num_tokens) == int(measured.num_tokens),
        f"with more padding {int(padded.num_tokens)} tokens count in the loss, "
        f"{int(measured.num_tokens)} without",
    )


@law(3, "batch invariance")
def batch_invariance(trial: Trial) -> None:
    """Outputs do not depend on the order of a batch or on its other examples."""
    drawn = trial.examples(min_size=2)
    order = trial.draw(st.permutations(range(len(drawn))), "order")
    batch, module = trial.batch(drawn), trial.module()
    real = partial(real_outputs, trial.spec)
    with torch.no_grad():
        together = module(batch)
        moved = rows_of(batch, order)
        picked = real(moved, together[list(order)])
        trial.close(real(moved, module(moved)), picked, "outputs in another order")
        for row, example in enumerate(drawn):
            alone = trial.batch([example])
            expected = real(alone, together[row : row + 1])
            found = real(alone, module(alone))
            trial.close(found, expected, f"outputs of example {row} alone and in the batch")


@law(3, "batch-invariant generation", generates=True)
def batch_invariant_generation(trial: Trial) -> None:
    """Generated texts do not depend on the order of the sources or on the other sources."""
    drawn = trial.examples(min_size=2, max_size=3)
    options: dict[str, Any] = trial.draw(
        st.sampled_from([{}, {"strategy": "beam", "beam_size": 3}]), "options"
    )
    module = trial.module()
    limit = generation_limit(trial, drawn)

    def generate(rows: list[int]) -> list[list[int]]:
        texts = module.generate(
            **generate_arguments(trial, [drawn[row] for row in rows]),
            **options,
            max_new_tokens=limit,
        )
        return generated_ids(trial, texts)

    rows = list(range(len(drawn)))
    together = generate(rows)
    trial.expect(len(together) == len(drawn), f"{len(together)} texts for {len(drawn)} sources")
    for found, places in (
        (generate(rows[::-1])[::-1], rows),
        *((generate([r]), [r]) for r in rows),
    ):
        for answer, row in zip(found, places, strict=True):
            other = together[row]
            trial.expect(
                answer == other or near_tie(trial, module, drawn[row], [answer, other]),
                f"example {row} gives {other} in one batch and {answer} in another",
            )


LAWS: tuple[Law, ...] = (padding, batch_invariance, batch_invariant_generation)
