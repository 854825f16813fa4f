"""Law 4: no output depends on a later target token or on another example of the batch."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import nn

from seqlearn.batch import SPECIAL_TOKENS
from seqlearn.testing.definition import Law, law
from seqlearn.testing.input_gradients import gradient_at, leaf_outputs
from seqlearn.testing.trial import Trial


@law(4, "causality", generates=True)
def causality(trial: Trial) -> None:
    """Changing later target tokens changes no earlier output, also in training mode."""
    drawn = trial.examples()
    batch = trial.batch(drawn)
    step = trial.draw(st.integers(1, max(1, batch.target.shape[1] - 1)), "first changed token")
    training = trial.draw(st.booleans(), "training mode")
    bf16 = trial.draw(st.booleans(), "bf16")
    other = batch.target.clone()
    other[:, step:] = torch.randint_like(
        other[:, step:], len(SPECIAL_TOKENS), trial.spec.target.output_size
    )
    dtype = torch.float32 if bf16 else trial.dtype
    batch = trial.batch(drawn, dtype)
    outputs = []
    for target in (batch.target, other):
        module = trial.module(training=training, dtype=dtype)
        torch.manual_seed(1)  # the same dropout mask
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            memory = module.encode(batch.source, batch.source_lengths)
            hidden, _ = module.decode(target, memory)
        outputs.append(hidden[:, :step].to(trial.dtype))
    trial.close(outputs[1], outputs[0], f"outputs of the {step} steps before the changed tokens")


@law(4, "causality by gradient", generates=True)
def causality_by_gradient(trial: Trial) -> None:
    """The gradient of an output is zero at every later target token, also in training and bf16."""
    drawn = trial.examples()
    training = trial.draw(st.booleans(), "training mode")
    bf16 = trial.draw(st.booleans(), "bf16")
    # In single precision, so that the fused kernels of training run.
    module = trial.module(training=training, dtype=torch.float32)
    batch = trial.batch(drawn, torch.float32)
    with (
        leaf_outputs(module.target_embedding, "target_embedding") as leaves,
        torch.autocast("cpu", torch.bfloat16, enabled=bf16),
    ):
        memory = module.encode(batch.source, batch.source_lengths)
        outputs, _ = module.decode(batch.target, memory)
    row = trial.draw(st.integers(0, batch.size - 1), "row")
    step = trial.draw(st.integers(0, batch.target.shape[1] - 1), "step")
    total = (outputs[row, step].float() * torch.randn(outputs.shape[-1])).sum()
    gradient = gradient_at(leaves, total)
    trial.zero(gradient[row, step + 1 :], f"the gradient of step {step} at later tokens")


@law(4, "no cross-example gradient")
def no_cross_example_gradient(trial: Trial) -> None:
    """The gradient of one example's outputs is zero at other examples and at source padding."""
    drawn = trial.examples(min_size=2)
    training = trial.draw(st.booleans(), "training mode")
    module, batch = trial.module(training=training), trial.batch(drawn)
    source = batch.source
    layers: list[tuple[str, nn.Module | None]] = []
    if trial.sequence_source:
        layers.append(("source_embedding", module.source_embedding))
    if trial.generates:
        layers.append(("target_embedding", module.target_embedding))
    row = trial.draw(st.integers(0, batch.size - 1), "row")
    for name, layer in layers:
        with leaf_outputs(layer, name) as leaves:
            outputs = module(batch)
        total = (outputs[row] * torch.randn_like(outputs[row])).sum()
        gradient = gradient_at(leaves, total)
        others = gradient[torch.arange(len(drawn)) != row]
        trial.zero(others, f"the gradient of example {row} at the {name} of other examples")
        if name == "source_embedding" and batch.source_lengths is not None:
            padded = gradient[row, int(batch.source_lengths[row]) :]
            trial.zero(padded, "the gradient at padded source positions")
    if source is not None and source.is_floating_point():
        leaf = source.clone().requires_grad_()
        outputs = module(batch._replace(source=leaf))
        total = (outputs[row] * torch.randn_like(outputs[row])).sum()
        (gradient,) = torch.autograd.grad(total, leaf)
        others = gradient[torch.arange(len(drawn)) != row]
        trial.zero(others, f"the gradient of example {row} at the numbers of other examples")
        if batch.source_lengths is not None:
            padded = gradient[row, int(batch.source_lengths[row]) :]
            trial.zero(padded, "the gradient at padded numbers of the source")


LAWS: tuple[Law, ...] = (causality, causality_by_gradient, no_cross_example_gradient)
