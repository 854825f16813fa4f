"""Attention weights and outputs of a module, recorded for the laws that check them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from seqlearn.batch import SequenceBatch
from seqlearn.introspect import Recording
from seqlearn.introspect.recording._record import record_quietly
from seqlearn.nn import LuongAttention, MultiHeadAttention
from seqlearn.testing.trial import NotApplicable, Trial


def record_attention(trial: Trial) -> tuple[SequenceBatch, Recording]:
    """Draw a batch and record the attention weights of a forward pass.

    Raises:
        NotApplicable: If the module reports none.
    """
    module, batch = trial.module(), trial.batch(trial.examples())
    with torch.no_grad(), record_quietly(module, ["attention"]) as recording:
        module(batch)
    if not recording.attention:
        raise NotApplicable("it reports no attention weights")
    return batch, recording


def has_known_axes(recording: Recording, name: str) -> bool:
    """Whether it is known which tokens the queries and keys of a module are."""
    axes = recording.axes.get(name, ())
    return bool(axes) and all(axis == "pooled" or recording.knows(axis) for axis in axes)


class AttentionCalls:
    """The values and outputs of each of seqlearn's own attention modules.

    Attributes:
        values: By module name `batch heads key width`, where the module itself projects them.
        outputs: By module name `batch heads query width`, the steps of a loop side by side.
    """

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}

    @contextmanager
    def of(self, module: nn.Module) -> Iterator[None]:
        """Collect them while the block runs."""
        hooks: list[RemovableHandle] = []
        for name, part in module.named_modules():
            if isinstance(part, LuongAttention):
                hooks.append(part.register_forward_hook(partial(self._add_single_head, name)))
            elif isinstance(part, MultiHeadAttention):
                values = partial(self._add_values, name, part.num_heads)
                hooks.append(part.projection.register_forward_hook(values))
                outputs = partial(self._add_outputs, name, part.num_heads)
                hooks.append(part.output.register_forward_pre_hook(outputs))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _add_single_head(
        self, name: str, _part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
    ) -> None:
        self.values[name] = inputs[2][:, None]
        before = [self.outputs[name]] if name in self.outputs else []
        self.outputs[name] = torch.cat([*before, output[:, None]], 2)

    def _add_values(
        self, name: str, heads: int, _part: nn.Module, _inputs: object, output: Tensor
    ) -> None:
        batch, time, _ = output.shape
        # The projection holds queries, keys and values side by side.
        parts = output.view(batch, time, 3, heads, output.shape[-1] // 3 // heads)
        self.values[name] = parts[:, :, 2].transpose(1, 2)

    def _add_outputs(
        self, name: str, heads: int, _part: nn.Module, inputs: tuple[Tensor, ...]
    ) -> None:
        batch, time, width = inputs[0].shape
        self.outputs[name] = inputs[0].view(batch, time, heads, width // heads).transpose(1, 2)
