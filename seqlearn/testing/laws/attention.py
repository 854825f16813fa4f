"""Law 1: attention weights are a distribution over visible keys and determine the output."""

from __future__ import annotations

import torch

from seqlearn.batch import causal_mask
from seqlearn.introspect.recording._record import record_quietly
from seqlearn.nn import MultiHeadAttention
from seqlearn.testing.definition import Law, law
from seqlearn.testing.recorded_attention import (
    AttentionCalls,
    has_known_axes,
    record_attention,
)
from seqlearn.testing.trial import NotApplicable, Trial


@law(1, "attention weights")
def attention_weights(trial: Trial) -> None:
    """Attention weights are not negative, sum to one over visible keys and are zero elsewhere."""
    batch, recording = record_attention(trial)
    for name, weights in recording.attention.items():
        trial.expect(not weights.isnan().any(), f"{name}: weights that are NaN")
        lowest = float(weights.min()) if weights.numel() else 0.0
        trial.expect(lowest >= 0, f"{name}: a negative weight, {lowest:.3g}")
        if not has_known_axes(recording, name) or len(weights) != batch.size:
            # Which keys are visible is not known; this much holds for every softmax.
            total = weights.sum(-1)
            rows = torch.ones_like(total).where(total > 0, 0.0)
            trial.close(total, rows, f"{name}: the sum of each row's weights and one")
            continue
        queries, keys = recording.axes[name]
        visible = torch.ones_like(weights, dtype=torch.bool)
        real = torch.ones(weights.shape[0], weights.shape[2], dtype=torch.bool)
        if keys != "pooled":
            visible &= recording.mask(keys)[:, None, None]
        if queries != "pooled":
            real = recording.mask(queries)
        if (queries, keys) == ("target", "target"):
            visible &= causal_mask(weights.shape[2], weights.shape[3])
        visible &= real[:, None, :, None]
        counted = real[:, None].expand(weights.shape[:3])
        trial.zero(weights[~visible & counted[..., None]], f"{name}: weights of invisible keys")
        expected = visible.any(-1).to(weights.dtype)
        label = f"{name}: the sum of each row's weights and one (zero where no key is visible)"
        trial.close(weights.sum(-1)[counted], expected[counted], label)


@law(1, "attention output")
def attention_output(trial: Trial) -> None:
    """The output of attention equals its weights times its values."""
    module, batch = trial.module(), trial.batch(trial.examples())
    calls = AttentionCalls()
    with torch.no_grad():
        memory = module.encode(batch.source, batch.source_lengths)
        with calls.of(module), record_quietly(module, ["attention"]) as recording:
            module(batch)
    values, outputs = calls.values, calls.outputs
    known = [name for name in outputs if name in recording.attention]
    if not recording.attention:
        raise NotApplicable("it reports no attention weights")
    if not known:
        raise NotApplicable("no attention module is seqlearn's own, so no values are known")
    for name in known:
        weights, part = recording.attention[name], module.get_submodule(name)
        if name not in values and memory is not None and isinstance(part, MultiHeadAttention):
            with torch.no_grad():
                values[name] = part.project_memory(memory.states).value
        if outputs[name].shape[2] != weights.shape[2] or name not in values:
            continue  # called several times, or on unknown values
        real = torch.ones(weights.shape[0], weights.shape[2], dtype=torch.bool)
        if has_known_axes(recording, name) and recording.axes[name][0] != "pooled":
            real = recording.mask(recording.axes[name][0])
        elif name in recording.axes and batch.source_lengths is not None:
            real &= batch.source_lengths[:, None] > 0  # of an empty source nothing is recorded
        counted = real[:, None].expand(weights.shape[:3])
        product = (weights @ values[name])[counted]
        trial.close(product, outputs[name][counted], f"{name}: weights times values, and output")


LAWS: tuple[Law, ...] = (attention_weights, attention_output)
