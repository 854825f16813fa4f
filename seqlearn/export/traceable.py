"""Forms of the layers that `torch.export` traces once for every length.

A copy of the module gets them: fused recurrent kernels become a `scan` over time, attention becomes
matrix products, and what depends on sizes in Python becomes indexing. Weights, outputs and what is
recorded stay the same.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from torch.nn import functional

from seqlearn.batch import Memory
from seqlearn.core import SequenceModule
from seqlearn.instrumentation import Axes, emit, muted
from seqlearn.models.feedforward import FeedForwardDecoder, FeedForwardEncoder
from seqlearn.nn import (
    GRULayer,
    LearnedPositions,
    LSTMLayer,
    MultiHeadAttention,
    RecurrentState,
    RNNLayer,
    StepLayer,
    gru_step,
    lstm_step,
    rnn_step,
    rotary,
)

HIDDEN = torch.finfo(torch.float32).min / 2
"""Added to the scores of keys that may not be seen: their weights are exactly zero."""


def cpu_copy(module: SequenceModule) -> SequenceModule:
    """A copy without its trainer, on the CPU, in single precision and eval mode."""
    copied = copy.deepcopy(module, {id(module._trainer): None})  # noqa: SLF001 -- raises if absent
    return copied.to("cpu", torch.float32).eval().requires_grad_(requires_grad=False)


def traceable_copy(module: SequenceModule) -> SequenceModule:
    """A copy that can be traced once for all lengths."""
    copied = cpu_copy(module)
    for part in copied.modules():
        for kind, method, form in _FORMS:
            if isinstance(part, kind) and _is_stock(part, kind, method):
                setattr(part, method, functools.partial(form, part))
    return copied


def _is_stock(part: nn.Module, kind: type, method: str) -> bool:
    """Whether a part has the method of this class, not one of a subclass."""
    return getattr(type(part), method) is getattr(kind, method)


# Attention


def split_heads(attention: MultiHeadAttention, projected: Tensor, batch: Any) -> Tensor:
    """From `batch time d_model`, or `(batch time) d_model`, to `batch heads time d_head`."""
    width = attention.d_model // attention.num_heads
    return projected.reshape(batch, -1, attention.num_heads, width).transpose(1, 2)


def project(
    attention: MultiHeadAttention, inputs: Tensor, batch: Any, start: Any
) -> tuple[Tensor, ...]:
    """Queries, keys and values of self-attention, `batch heads time d_head`.

    Products of matrices take fewer operations in ONNX than those of batches of matrices.
    """
    parts = attention.projection(inputs).chunk(3, -1)
    query, key, value = (split_heads(attention, part, batch) for part in parts)
    if attention.rotary:
        query, key = rotary(query, start), rotary(key, start)
    return query, key, value


def project_memory(attention: MultiHeadAttention, states: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of cross-attention, `batch heads source d_head`."""
    d_model = attention.d_model
    weight, bias = attention.projection.weight[d_model:], attention.projection.bias[d_model:]
    key, value = functional.linear(states, weight, bias).chunk(2, -1)
    batch = states.shape[0]
    return split_heads(attention, key, batch), split_heads(attention, value, batch)


def project_query(attention: MultiHeadAttention, inputs: Tensor, batch: Any) -> Tensor:
    """Queries of cross-attention, `batch heads time d_head`."""
    d_model = attention.d_model
    weight, bias = attention.projection.weight[:d_model], attention.projection.bias[:d_model]
    return split_heads(attention, functional.linear(inputs, weight, bias), batch)


def weigh(query: Tensor, key: Tensor, hidden: Tensor) -> Tensor:
    """The weights of keys; `hidden` is added to the scores, `HIDDEN` where nothing may be seen."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    return (scores + hidden).softmax(-1)


def merge_heads(heads: Tensor) -> Tensor:
    """From `batch heads time d_head` to `batch time d_model`."""
    return heads.transpose(1, 2).flatten(2)


def hide(mask: Tensor) -> Tensor:
    """What `weigh` adds for a mask that is True where a key may be seen."""
    return torch.where(mask, 0.0, HIDDEN)


def _self_attention(
    self: MultiHeadAttention,
    inputs: Tensor,
    mask: Tensor,
    *,
    axes: Axes = ("source", "source"),
) -> Tensor:
    query, key, value = project(self, inputs, inputs.shape[0], 0)
    weights = weigh(query, key, hide(mask[:, None, None]))
    emit("attention", self, lambda: weights * mask[:, None, None], axes)
    return self.output(merge_heads(weights @ value))


# Positions


def _learned_positions(self: LearnedPositions, inputs: Tensor, start: Any) -> Tensor:
    place = torch.arange(start, start + inputs.shape[1])
    return inputs + functional.embedding(place, self.weight)


# Recurrent layers


def _scan(
    step: Callable[[Tensor, RecurrentState], RecurrentState],
    inputs: Tensor,
    state: RecurrentState,
    mask: Tensor | None,
) -> tuple[Tensor, RecurrentState]:
    """Run `step` over `batch time width`; at padding the state stays as it is."""

    def body(
        before: tuple[Tensor, ...], given: tuple[Tensor, ...]
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        after = step(given[0], before)
        if mask is not None:
            pairs = zip(after, before, strict=True)
            after = tuple(torch.where(given[1], new, old) for new, old in pairs)
        return after, after[0].clone()

    steps = [inputs] if mask is None else [inputs, mask[..., None]]
    with muted():
        final, hidden = scan(body, tuple(state), tuple(each.transpose(0, 1) for each in steps))
    return hidden.transpose(0, 1), tuple(final)


def _fused_run(
    self: Any, inputs: Tensor, state: RecurrentState, mask: Tensor | None
) -> tuple[Tensor, RecurrentState]:
    w, u, b, b_state = self.kernel.parameters()

    def step(x: Tensor, before: RecurrentState) -> RecurrentState:
        from_state = functional.linear(before[0], u, b_state)
        if isinstance(self, LSTMLayer):
            done = lstm_step(x, from_state, before[1])
            return done.hidden, done.cell
        if isinstance(self, GRULayer):
            return (gru_step(x, from_state, before[0]).hidden,)
        return (rnn_step(x, from_state).hidden,)

    return _scan(step, functional.linear(inputs, w, b), state, mask)


def _lstm_gates(
    self: LSTMLayer, inputs: Tensor, hidden: Tensor, state: RecurrentState
) -> dict[str, Tensor]:
    from_input, from_state, _ = self.preactivations(inputs, hidden, state)

    def step(x: Tensor, before: RecurrentState) -> RecurrentState:
        return (lstm_step(x, torch.zeros_like(x), before[0]).cell,)

    cells, _ = _scan(step, from_input + from_state, (state[1],), None)
    before = torch.cat([state[1][:, None], cells], 1)[:, :-1]
    found = lstm_step(from_input, from_state, before)
    return {
        "input": found.input,
        "forget": found.forget,
        "output": found.output,
        "candidate": found.candidate,
        "cell": found.cell,
    }


def _step_run(
    self: StepLayer, inputs: Tensor, state: RecurrentState, mask: Tensor | None
) -> tuple[Tensor, RecurrentState]:
    return _scan(self.step, inputs, state, mask)


# The feed-forward network


def _window_of_source(self: FeedForwardEncoder, inputs: Tensor, mask: Tensor) -> Memory:
    place = mask.sum(1, keepdim=True) + torch.arange(-self.window, 0)
    padded = functional.pad(inputs, (0, 0, 0, self.window))
    read = padded.gather(1, place.clamp(min=0)[..., None].expand(-1, -1, inputs.shape[-1]))
    read = read * (place >= 0)[..., None] * math.sqrt(inputs.shape[-1])
    pooled = self.hidden(read.flatten(1))
    emit("states", self.hidden, pooled, ("pooled",))
    return Memory(pooled[:, None], mask[:, :1], pooled)


def _window_of_target(
    self: FeedForwardDecoder, inputs: Tensor, memory: Memory | None, state: Tensor
) -> tuple[Tensor, Tensor]:
    target, d_model = inputs.shape[1:]
    tokens = torch.cat([state, inputs], 1)
    place = torch.arange(target)[:, None] + torch.arange(self.window)
    read = tokens[:, place].flatten(2) * math.sqrt(d_model)
    if memory is not None:
        read = torch.cat([read, memory.pooled[:, None].expand(-1, target, -1)], -1)
    outputs = self.hidden(read)
    emit("states", self.hidden, outputs, ("target",))
    return outputs, tokens[:, target:]


_FORMS: list[tuple[type[Any], str, Callable[..., Any]]] = [
    (MultiHeadAttention, "forward", _self_attention),
    (LearnedPositions, "forward", _learned_positions),
    (RNNLayer, "run", _fused_run),
    (GRULayer, "run", _fused_run),
    (LSTMLayer, "run", _fused_run),
    (LSTMLayer, "gates", _lstm_gates),
    (StepLayer, "run", _step_run),
    (FeedForwardEncoder, "forward", _window_of_source),
    (FeedForwardDecoder, "forward", _window_of_target),
]
