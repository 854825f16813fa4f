"""Laws of a user's own, written outside the package."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from seqlearn.testing import NotApplicable, Trial, law


@law(11, "bounded outputs")
def bounded_outputs(trial: Trial) -> None:
    """No output of a new module is larger than 50."""
    module, batch = trial.module(), trial.batch(trial.examples())
    with torch.no_grad():
        largest = module(batch).abs().max().item()
    trial.expect(largest < 50, f"an output of {largest:.3g}")


@law(11, "tied embeddings")
def tied_embeddings(trial: Trial) -> None:
    """Source and target embedding are one."""
    module = trial.module()
    if module.source_embedding is None or module.target_embedding is None:
        raise NotApplicable("it has one embedding only")
    trial.expect(module.source_embedding is module.target_embedding, "two embeddings")


@law(12, "scaled outputs", drawn=True, slow=True)
def scaled_outputs(trial: Trial) -> None:
    """Outputs are multiples of the head's scale, which nothing but a broken module violates."""
    factor = trial.draw(st.sampled_from([1.0, 2.0]), "factor")
    module, batch = trial.module(), trial.batch(trial.examples())
    with torch.no_grad():
        before = module(batch) * factor
        for parameter in module.head.parameters():
            parameter.mul_(factor)
        trial.close(module(batch), before, "outputs with the scaled head, and scaled outputs")
