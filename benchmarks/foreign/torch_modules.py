"""`torch.nn.Transformer` and `torch.nn.LSTM` as modules of seqlearn, as they are and corrected."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import seqlearn as sl


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """The mean of the real states; zeros if there are none."""
    real = states.masked_fill(~mask[..., None], 0.0)
    return real.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


# The Transformer


class TransformerEncoderPart(nn.Module):
    NESTED = True  # the default

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.positions = sl.nn.SinusoidalPositions()
        layer = nn.TransformerEncoderLayer(d_model, 2, 16, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=self.NESTED)

    def forward(self, inputs: Tensor, mask: Tensor) -> sl.Memory:
        states = self.layers(self.positions(inputs, 0), src_key_padding_mask=~mask)
        return sl.Memory(states, mask, masked_mean(states, mask))


class TransformerDecoderPart(nn.Module):
    """Its state holds all inputs so far: `nn.TransformerDecoder` has no cache."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.positions = sl.nn.SinusoidalPositions()
        layer = nn.TransformerDecoderLayer(d_model, 2, 16, batch_first=True)
        self.layers = nn.TransformerDecoder(layer, 1)

    def forward(self, inputs: Tensor, memory: sl.Memory, state: Any = None) -> Any:
        so_far = inputs if state is None else torch.cat([state, inputs], 1)
        causal = nn.Transformer.generate_square_subsequent_mask(so_far.shape[1]) == -torch.inf
        outputs = self.layers(
            self.positions(so_far, 0),
            memory.states,
            tgt_mask=causal,
            memory_key_padding_mask=~memory.mask,
        )
        return outputs[:, so_far.shape[1] - inputs.shape[1] :], so_far


class TorchTransformer(sl.SequenceModule):
    """`nn.TransformerEncoder` and `nn.TransformerDecoder`, as their documentation shows them."""

    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=8)
        if spec.source is None:
            raise ValueError("its decoder attends to a source, and the spec has none")
        self.encoder, self.decoder = TransformerEncoderPart(8), TransformerDecoderPart(8)


def slow_path(_layer: nn.Module, _inputs: Any) -> None:
    """Do nothing: a layer with a hook does not take torch's inference fast path."""


class FixedTransformerEncoder(TransformerEncoderPart):
    """Without the fast path, which fails on empty sources and under bf16."""

    NESTED = False

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        for layer in self.layers.layers:
            layer.register_forward_pre_hook(slow_path)


class FixedTransformerDecoder(TransformerDecoderPart):
    """Zero inputs give zero outputs."""

    def forward(self, inputs: Tensor, memory: sl.Memory, state: Any = None) -> Any:
        if inputs.shape[1] == 0:
            return inputs, state
        return super().forward(inputs, memory, state)


class TorchTransformerFixed(sl.SequenceModule):
    """The same; it satisfies every law."""

    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=8)
        if spec.source is None:
            raise ValueError("its decoder attends to a source, and the spec has none")
        self.encoder, self.decoder = FixedTransformerEncoder(8), FixedTransformerDecoder(8)


# The LSTM


class SinglePrecision(nn.LSTM):
    """`nn.LSTM` outside of autocast, under which some CPUs have no kernel for it."""

    def forward(self, inputs: Any, first: Any = None) -> Any:
        with torch.autocast("cpu", enabled=False):
            own = self.weight_hh_l0.dtype
            first = None if first is None else tuple(part.to(own) for part in first)
            return super().forward(inputs.to(dtype=own), first)


class LSTMEncoder(nn.Module):
    LSTM = nn.LSTM

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.lstm = self.LSTM(d_model, d_model // 2, batch_first=True, bidirectional=True)

    def forward(self, inputs: Tensor, mask: Tensor) -> sl.Memory:
        states, (last, _) = self.lstm(inputs)
        return sl.Memory(states, mask, torch.cat([last[0], last[1]], -1))


class LSTMDecoder(nn.Module):
    LSTM = nn.LSTM

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.lstm = self.LSTM(d_model, d_model, batch_first=True)

    def forward(self, inputs: Tensor, memory: sl.Memory | None, state: Any = None) -> Any:
        zeros = inputs.new_zeros(inputs.shape[0], inputs.shape[2])
        first = (zeros if memory is None else memory.pooled, zeros) if state is None else state
        outputs, last = self.lstm(inputs, tuple(part[None].contiguous() for part in first))
        return outputs, tuple(part[0] for part in last)


class TorchLSTM(sl.SequenceModule):
    """A bidirectional `nn.LSTM` over padded rows, without packing."""

    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=8)
        self.encoder, self.decoder = LSTMEncoder(8), LSTMDecoder(8)


class PackedLSTMEncoder(LSTMEncoder):
    """With packing, which needs lengths of at least 1: an empty source is one masked step."""

    LSTM = SinglePrecision

    def forward(self, inputs: Tensor, mask: Tensor) -> sl.Memory:
        lengths = mask.sum(1).clamp(min=1).cpu()
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        states, (last, _) = self.lstm(packed)
        states, _ = pad_packed_sequence(states, batch_first=True, total_length=inputs.shape[1])
        pooled = torch.cat([last[0], last[1]], -1) * mask.any(1, keepdim=True)
        return sl.Memory(states, mask, pooled)


class FixedLSTMDecoder(LSTMDecoder):
    """`nn.LSTM` needs at least one step: zero inputs become one step, which is cut off again."""

    LSTM = SinglePrecision

    def forward(self, inputs: Tensor, memory: sl.Memory | None, state: Any = None) -> Any:
        if inputs.shape[1] == 0:
            outputs, _ = super().forward(functional.pad(inputs, (0, 0, 0, 1)), memory, state)
            return outputs[:, :0], state
        return super().forward(inputs, memory, state)


class TorchLSTMFixed(sl.SequenceModule):
    """The same with packing; it satisfies every law."""

    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=8)
        self.encoder, self.decoder = PackedLSTMEncoder(8), FixedLSTMDecoder(8)
