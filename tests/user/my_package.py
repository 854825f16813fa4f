"""A module as a user writes it in a project of their own."""

from typing import Unpack

import torch
from torch import nn

import seqlearn as sl


class BagEncoder(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.mix = nn.Linear(2 * d_model, d_model)

    def forward(self, inputs, mask):
        real = inputs * mask[..., None]
        mean = real.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        states = self.mix(torch.cat([real, mean[:, None].expand_as(real)], -1)).tanh()
        return sl.Memory(states, mask, mean)


class GruDecoder(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.gru = nn.GRU(d_model, d_model, batch_first=True)

    def forward(self, inputs, memory, state=None):
        first = torch.zeros_like(inputs[:, 0]) if memory is None else memory.pooled
        outputs, last = self.gru(inputs, (first if state is None else state)[None].contiguous())
        return outputs, last[0]


class MyModel(sl.SequenceModule):
    def __init__(self, spec, d_model: int = 32, **base: Unpack[sl.BaseOptions]):
        super().__init__(spec, d_model=d_model, **base)
        self.encoder = BagEncoder(d_model)
        self.decoder = GruDecoder(d_model)
