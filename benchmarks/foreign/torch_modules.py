"""`torch.nn.Transformer`'s halves and `torch.nn.LSTM` as modules of seqlearn, plain and mended."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import seqlearn as sl


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """The mean of the real states; zeros where there are none."""
    real = states.masked_fill(~mask[..., None], 0.0)
    return real.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


# The Transformer


class TransformerReader(nn.Module):
    NESTED = True  # the default

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.positions = sl.nn.SinusoidalPositions()
        layer = nn.TransformerEncoderLayer(d_model, 2, 16, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=self.NESTED)

    def forward(self, inputs: Tensor, mask: Tensor) -> sl.Memory:
        states = self.layers(self.positions(inputs, 0), src_key_padding_mask=~mask)
        return sl.Memory(states, mask, masked_mean(states, mask))


class TransformerWriter(nn.Module):
    """Its state is all that it was fed."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.positions = sl.nn.SinusoidalPositions()
        layer = nn.TransformerDecoderLayer(d_model, 2, 16, batch_first=True)
        self.layers = nn.TransformerDecoder(layer, 1)

    def forward(self, inputs: Tensor, memory: sl.Memory, state: Any = None) -> Any:
        fed = inputs if state is None else torch.cat([state, inputs], 1)
        causal = nn.Transformer.generate_square_subsequent_mask(fed.shape[1]) == -torch.inf
        answers = self.layers(
            self.positions(fed, 0),
            memory.states,
            tgt_mask=causal,
            memory_key_padding_mask=~memory.mask,
        )
        return answers[:, fed.shape[1] - inputs.shape[1] :], fed


class TorchTransformer(sl.SequenceModule):
    """`nn.TransformerEncoder` and `nn.TransformerDecoder`, as their documentation shows them."""

    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=8)
        if spec.source is None:
            raise ValueError("its decoder looks at a source, and there is none")
        self.encoder, self.decoder = TransformerReader(8), TransformerWriter(8)


def slow_path(_layer: nn.Module, _inputs: Any) -> None:
    """Does nothing; but a layer with a hook does not take torch's inference fast path."""


class MendedReader(TransformerReader):
    """Without the fast path, which fails on empty sources and under bf16."""

    NESTED = False

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        for layer in self.layers.layers:
            layer.register_forward_pre_hook(slow_path)


class MendedWriter(TransformerWriter):
    """No tokens are answered by none."""

    def forward(self, inputs: Tensor, memory: sl.Memory, state: Any = None) -> Any:
        if inputs.shape[1] == 0:
            return inputs, state
        return super().forward(inputs, memory, state)


class TorchTransformerMended(sl.SequenceModule):
    """The same, with every law kept."""

    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=8)
        if spec.source is None:
            raise ValueError("its decoder looks at a source, and there is none")
        self.encoder, self.decoder = MendedReader(8), MendedWriter(8)


# The LSTM


class SinglePrecision(nn.LSTM):
    """Leaves autocast, under which some CPUs have no kernel for it."""

    def forward(self, inputs: Any, first: Any = None) -> Any:
        with torch.autocast("cpu", enabled=False):
            own = self.weight_hh_l0.dtype
            first = None if first is None else tuple(part.to(own) for part in first)
            return super().forward(inputs.to(dtype=own), first)


class LSTMReader(nn.Module):
    LSTM = nn.LSTM

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.lstm = self.LSTM(d_model, d_model // 2, batch_first=True, bidirectional=True)

    def forward(self, inputs: Tensor, mask: Tensor) -> sl.Memory:
        states, (last, _) = self.lstm(inputs)
        return sl.Memory(states, mask, torch.cat([last[0], last[1]], -1))


class LSTMWriter(nn.Module):
    LSTM = nn.LSTM

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.lstm = self.LSTM(d_model, d_model, batch_first=True)

    def forward(self, inputs: Tensor, memory: sl.Memory | None, state: Any = None) -> Any:
        zeros = inputs.new_zeros(inputs.shape[0], inputs.shape[2])
        first = (zeros if memory is None else memory.pooled, zeros) if state is None else state
        answers, last = self.lstm(inputs, tuple(part[None].contiguous() for part in first))
        return answers, tuple(part[0] for part in last)


class TorchLSTM(sl.SequenceModule):
    """`nn.LSTM` in both directions over padded rows, without packing."""

    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=8)
        self.encoder, self.decoder = LSTMReader(8), LSTMWriter(8)


class PackingReader(LSTMReader):
    """Packed; packing takes no empty source, so that is one place long, and put out after."""

    LSTM = SinglePrecision

    def forward(self, inputs: Tensor, mask: Tensor) -> sl.Memory:
        lengths = mask.sum(1).clamp(min=1).cpu()
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        states, (last, _) = self.lstm(packed)
        states, _ = pad_packed_sequence(states, batch_first=True, total_length=inputs.shape[1])
        pooled = torch.cat([last[0], last[1]], -1) * mask.any(1, keepdim=True)
        return sl.Memory(states, mask, pooled)


class PatientWriter(LSTMWriter):
    """`nn.LSTM` takes no sequence of no steps: one step of padding, which is cut off again."""

    LSTM = SinglePrecision

    def forward(self, inputs: Tensor, memory: sl.Memory | None, state: Any = None) -> Any:
        if inputs.shape[1] == 0:
            answers, _ = super().forward(functional.pad(inputs, (0, 0, 0, 1)), memory, state)
            return answers[:, :0], state
        return super().forward(inputs, memory, state)


class TorchLSTMMended(sl.SequenceModule):
    """The same, packed, with every law kept."""

    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=8)
        self.encoder, self.decoder = PackingReader(8), PatientWriter(8)
