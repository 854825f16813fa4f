"""Law 1: attention weights are shares, of what may be seen alone, and make the output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from seqlearn.batch import SequenceBatch, causal_mask
from seqlearn.introspect import Recording
from seqlearn.nn import LuongAttention, MultiHeadAttention
from seqlearn.testing.law import Law, NotApplicable, Trial, law
from seqlearn.testing.laws.side_effects import recording_of


def recorded(trial: Trial) -> tuple[SequenceBatch, Recording]:
    """A batch, and the attention weights that a module reports of it.

    Raises:
        NotApplicable: If it reports none.
    """
    module, batch = trial.module(), trial.batch(trial.examples())
    with torch.no_grad(), recording_of(module, ["attention"]) as recording:
        module(batch)
    if not recording.attention:
        raise NotApplicable("it reports no attention weights")
    return batch, recording


def labelled(recording: Recording, name: str) -> bool:
    """Whether it is known which tokens the queries and keys of a module are."""
    axes = recording.axes.get(name, ())
    return bool(axes) and all(axis == "pooled" or recording.knows(axis) for axis in axes)


@law(1, "attention weights")
def attention_weights(trial: Trial) -> None:
    """Weights are not negative, sum to one over what may be seen, and are zero elsewhere."""
    batch, recording = recorded(trial)
    for name, weights in recording.attention.items():
        trial.expect(not weights.isnan().any(), f"{name}: weights that are not numbers")
        low = float(weights.min()) if weights.numel() else 0.0
        trial.expect(low >= 0, f"{name}: a weight of {low:.3g}, below zero")
        if not labelled(recording, name) or len(weights) != batch.size:
            # What its queries and keys are is not known; so much must hold of any softmax.
            total = weights.sum(-1)
            rows = torch.ones_like(total).where(total > 0, 0.0)
            trial.close(total, rows, f"{name}: the sum of each row's weights and one")
            continue
        queries, keys = recording.axes[name]
        seen = torch.ones_like(weights, dtype=torch.bool)
        real = torch.ones(weights.shape[0], weights.shape[2], dtype=torch.bool)
        if keys != "pooled":
            seen &= recording.mask(keys)[:, None, None]
        if queries != "pooled":
            real = recording.mask(queries)
        if (queries, keys) == ("target", "target"):
            seen &= causal_mask(weights.shape[2], weights.shape[3])
        seen &= real[:, None, :, None]
        looked = real[:, None].expand(weights.shape[:3])
        trial.zero(weights[~seen & looked[..., None]], f"{name}: weights where nothing may be seen")
        expected = seen.any(-1).to(weights.dtype)
        found = f"{name}: the sum of each row's weights and one (zero where nothing may be seen)"
        trial.close(weights.sum(-1)[looked], expected[looked], found)


class Heard:
    """What each attention of seqlearn's own is given as values, and what it makes of them.

    Attributes:
        values: By module name `batch heads key width`, where the module itself projects them.
        outputs: By module name `batch heads query width`, steps of a loop side by side.
    """

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}

    @contextmanager
    def of(self, module: nn.Module) -> Iterator[None]:
        """Listen while the block runs."""
        hooks: list[RemovableHandle] = []
        for name, part in module.named_modules():
            if isinstance(part, LuongAttention):
                hooks.append(part.register_forward_hook(partial(self._single, name)))
            elif isinstance(part, MultiHeadAttention):
                projected = partial(self._projected, name, part.num_heads)
                hooks.append(part.projection.register_forward_hook(projected))
                merged = partial(self._merged, name, part.num_heads)
                hooks.append(part.output.register_forward_pre_hook(merged))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _single(
        self, name: str, _part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
    ) -> None:
        self.values[name] = inputs[2][:, None]
        before = [self.outputs[name]] if name in self.outputs else []
        self.outputs[name] = torch.cat([*before, output[:, None]], 2)

    def _projected(
        self, name: str, heads: int, _part: nn.Module, _inputs: object, output: Tensor
    ) -> None:
        batch, time, _ = output.shape
        parts = output.view(
            batch, time, 3, heads, output.shape[-1] // 3 // heads
        )  # queries, keys and values
        self.values[name] = parts[:, :, 2].transpose(1, 2)

    def _merged(self, name: str, heads: int, _part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        batch, time, width = inputs[0].shape
        self.outputs[name] = inputs[0].view(batch, time, heads, width // heads).transpose(1, 2)


@law(1, "attention output")
def attention_output(trial: Trial) -> None:
    """Weights times values is what the attention gives on."""
    module, batch = trial.module(), trial.batch(trial.examples())
    with torch.no_grad():
        memory = module.encode(batch.source, batch.source_lengths)
        heard = Heard()
        with heard.of(module), recording_of(module, ["attention"]) as recording:
            module(batch)
    values, outputs = heard.values, heard.outputs
    known = [name for name in outputs if name in recording.attention]
    if not recording.attention:
        raise NotApplicable("it reports no attention weights")
    if not known:
        raise NotApplicable("none of its attention is seqlearn's own, and so tells its values")
    for name in known:
        weights, part = recording.attention[name], module.get_submodule(name)
        if name not in values and memory is not None and isinstance(part, MultiHeadAttention):
            with torch.no_grad():
                values[name] = part.project_memory(memory.states).value
        if outputs[name].shape[2] != weights.shape[2] or name not in values:
            continue  # called in parts, or on what is not known
        real = torch.ones(weights.shape[0], weights.shape[2], dtype=torch.bool)
        if labelled(recording, name) and recording.axes[name][0] != "pooled":
            real = recording.mask(recording.axes[name][0])
        elif name in recording.axes and batch.source_lengths is not None:
            real &= batch.source_lengths[:, None] > 0  # of an empty source nothing is recorded
        looked = real[:, None].expand(weights.shape[:3])
        made = (weights @ values[name])[looked]
        trial.close(made, outputs[name][looked], f"{name}: weights times values, and the output")


LAWS: tuple[Law, ...] = (attention_weights, attention_output)
