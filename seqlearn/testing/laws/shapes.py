"""Law 2: the shapes of outputs follow those of inputs, at any length."""

from __future__ import annotations

import torch

from seqlearn.spec import TextSpec
from seqlearn.testing.law import TEXT_TARGET, Law, Trial, law


@law(2, "shapes")
def shapes(trial: Trial) -> None:
    """Shapes follow the inputs at any length, none and one included; all numbers are finite."""
    module, batch = trial.module(), trial.batch(trial.examples())
    size, d_model = batch.size, module.d_model
    with torch.no_grad():
        memory = module.encode(batch.source, batch.source_lengths)
        outputs = module(batch)
    if trial.spec.source is None:
        trial.expect(memory is None, "without a source, the memory is something else than None")
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
        trial.expect(memory.pooled.isfinite().all(), "memory.pooled: numbers that are not finite")
        trial.expect(
            memory.states[memory.mask].isfinite().all(),
            "memory.states: numbers that are not finite, where real",
        )
    if memory is not None and batch.source_lengths is not None:
        empty = batch.source_lengths == 0
        trial.zero(memory.pooled[empty], "memory.pooled of an empty source")
        trial.expect(
            torch.equal(memory.mask.any(1), ~empty),
            "memory.mask: real states where the source is empty, or none where it is not",
        )
    expected: tuple[int, ...] = (size, module.head.out_features)
    if isinstance(trial.spec.target, TextSpec):
        expected = (size, batch.target.shape[1] - 1, trial.spec.target.vocab_size)
    found = tuple(outputs.shape)
    trial.expect(found == expected, f"expected outputs as {expected}, got {found}")
    trial.expect(outputs.isfinite().all(), "outputs that are not finite")


@law(2, "empty target", shapes=TEXT_TARGET)
def no_tokens(trial: Trial) -> None:
    """A decoder that is fed no token answers none, and goes on as if nothing had been."""
    module, batch = trial.module(), trial.batch(trial.examples())
    with torch.no_grad():
        memory = module.encode(batch.source, batch.source_lengths)
        none, state = module.decode(batch.target[:, :0], memory)
        found, expected = tuple(none.shape), (batch.size, 0, module.d_model)
        trial.expect(found == expected, f"expected answers as {expected}, got {found}")
        after, _ = module.decode(batch.target, memory, state)
        whole, _ = module.decode(batch.target, memory)
    trial.close(after, whole, "answers after no token, and from the start")


LAWS: tuple[Law, ...] = (shapes, no_tokens)
