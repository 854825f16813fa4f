"""Law 2: output shapes follow input shapes for every length."""

from __future__ import annotations

import torch

from seqlearn.testing.definition import Law, law
from seqlearn.testing.trial import Trial


@law(2, "shapes")
def shapes(trial: Trial) -> None:
    """Output shapes follow input shapes for every length, with 0 and 1; all values are finite."""
    module, batch = trial.module(), trial.batch(trial.examples())
    size, d_model = batch.size, module.d_model
    with torch.no_grad():
        memory = module.encode(batch.source, batch.source_lengths)
        outputs = module(batch)
    if trial.spec.source is None:
        trial.expect(memory is None, "without a source, expected None as the memory")
    else:
        assert memory is not None
        trial.expect(
            memory.states.ndim == 3
            and memory.states.shape[::2] == (size, d_model)
            and memory.mask.shape == memory.states.shape[:2],
            f"expected memory.states as batch time d_model=({size}, time, {d_model}) and a mask of "
            f"its first two axes, got {tuple(memory.states.shape)} and {tuple(memory.mask.shape)}",
        )
        trial.expect(memory.mask.dtype == torch.bool, f"memory.mask is {memory.mask.dtype}")
        trial.expect(
            memory.pooled.shape == (size, d_model),
            f"expected memory.pooled as ({size}, {d_model}), got {tuple(memory.pooled.shape)}",
        )
        trial.expect(memory.pooled.isfinite().all(), "memory.pooled: values that are not finite")
        trial.expect(
            memory.states[memory.mask].isfinite().all(),
            "memory.states: values that are not finite at real positions",
        )
    if memory is not None and batch.source_lengths is not None:
        empty = batch.source_lengths == 0
        trial.zero(memory.pooled[empty], "memory.pooled of an empty source")
        trial.expect(
            torch.equal(memory.mask.any(1), ~empty),
            "memory.mask: expected real positions exactly where the source is not empty",
        )
    expected: tuple[int, ...] = (size, module.head.out_features)
    if trial.spec.target.is_sequence:
        labels, _ = trial.spec.target.labels_of(batch)
        expected = (size, labels.shape[1], module.head.out_features)
    found = tuple(outputs.shape)
    trial.expect(found == expected, f"expected outputs as {expected}, got {found}")
    trial.expect(outputs.isfinite().all(), "outputs: values that are not finite")


@law(2, "empty target", generates=True)
def empty_target(trial: Trial) -> None:
    """Decoding zero tokens returns an empty output and leaves the state as it was."""
    module, batch = trial.module(), trial.batch(trial.examples())
    with torch.no_grad():
        memory = module.encode(batch.source, batch.source_lengths)
        none, state = module.decode(batch.target[:, :0], memory)
        found, expected = tuple(none.shape), (batch.size, 0, module.d_model)
        trial.expect(
            found == expected, f"expected the shape {expected} for zero tokens, got {found}"
        )
        after, _ = module.decode(batch.target, memory, state)
        whole, _ = module.decode(batch.target, memory)
    trial.close(after, whole, "outputs after a call with zero tokens, and without that call")


LAWS: tuple[Law, ...] = (shapes, empty_target)
