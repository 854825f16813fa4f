"""A module of torch's own layers, which take no sequence of length zero."""

from typing import Unpack

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import seqlearn as sl


class PackedEncoder(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.gru = nn.GRU(d_model, d_model, batch_first=True)

    def forward(self, inputs, mask):
        packed = pack_padded_sequence(inputs, mask.sum(1).cpu(), True, enforce_sorted=False)
        states, last = self.gru(packed)
        states, _ = pad_packed_sequence(states, True, total_length=inputs.shape[1])
        return sl.Memory(states, mask, last[0])


class GruDecoder(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.gru = nn.GRU(d_model, d_model, batch_first=True)

    def forward(self, inputs, memory, state=None):
        if state is None:
            state = torch.zeros_like(inputs[:, 0]) if memory is None else memory.pooled
        outputs, last = self.gru(inputs, state[None].contiguous())
        return outputs, last[0]


class Packed(sl.SequenceModule):
    def __init__(self, spec, d_model: int = 32, **base: Unpack[sl.BaseOptions]):
        super().__init__(spec, d_model=d_model, **base)
        self.encoder = PackedEncoder(d_model)
        self.decoder = GruDecoder(d_model)
