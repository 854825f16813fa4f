"""Law 10: processes and accumulated micro-batches give the gradient of one whole batch."""

from __future__ import annotations

from functools import partial

import torch
from hypothesis import strategies as st

from seqlearn.testing.cases import rows_of
from seqlearn.testing.definition import Law, law
from seqlearn.testing.trainer_stub import step_gradients
from seqlearn.testing.trial import Trial


@law(10, "distributed and accumulation equivalence", slow=True)
def distributed_equivalence(trial: Trial) -> None:
    """Several processes, or accumulated micro-batches, give the gradient of one whole batch."""
    ranks, micro = trial.draw(
        st.sampled_from([(2, 1), (1, 2), (2, 2)]), "processes and micro-batches per process"
    )
    drawn = trial.examples(min_size=ranks * micro)
    batch, make = trial.batch(drawn), partial(trial.module, training=False)  # no dropout
    # One example for each micro-batch, the rest for the last.
    rows = [[row] for row in range(ranks * micro)]
    rows[-1] = list(range(ranks * micro - 1, len(drawn)))
    parts = [rows_of(batch, each) for each in rows]
    whole = step_gradients(make, [[batch]])
    shared = step_gradients(make, [parts[r * micro : (r + 1) * micro] for r in range(ranks)])
    trial.expect(
        list(whole) == list(shared), "other parameters have gradients than from the whole batch"
    )
    for name, gradient in whole.items():
        trial.close(
            shared[name], gradient, f"the gradient of {name}, distributed and from the whole batch"
        )
    trial.expect(
        all(bool(torch.isfinite(gradient).all()) for gradient in whole.values()),
        "a gradient that is not finite",
    )


LAWS: tuple[Law, ...] = (distributed_equivalence,)
