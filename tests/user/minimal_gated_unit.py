"""The minimal gated unit (Zhou et al. 2016, equations 7 to 9): a recurrent layer and its module."""

import torch
from torch import nn

import seqlearn as sl


class MGULayer(sl.nn.StepLayer):
    def __init__(self, d_input, d_hidden, **options):
        super().__init__(state_size=(d_hidden,), **options)
        self.forget = nn.Linear(d_input + d_hidden, d_hidden)
        self.candidate = nn.Linear(d_input + d_hidden, d_hidden)

    def step(self, x, state):
        (h,) = state
        f = self.forget(torch.cat([x, h], -1)).sigmoid()
        new = self.candidate(torch.cat([x, f * h], -1)).tanh()
        return ((1 - f) * h + f * new,)


class MGU(sl.SequenceModule):
    def __init__(self, spec, d_model: int = 128, num_layers: int = 1, dropout: float = 0.2, **base):
        super().__init__(spec, d_model=d_model, **base)
        encoder_layers = sl.nn.stack_layers(MGULayer, d_model, num_layers, bidirectional=True)
        self.encoder = sl.nn.RecurrentEncoder(encoder_layers, d_model, dropout)
        decoder_layers = sl.nn.stack_layers(MGULayer, d_model, num_layers)
        self.decoder = sl.nn.RecurrentDecoder(decoder_layers, d_model, dropout)
