"""The simple recurrent unit, as a user adds it (Lei et al. 2018, section 3, equations 1 to 4).

f_t = σ(W_f x_t + v_f ⊙ c_{t-1} + b_f)      c_t = f_t ⊙ c_{t-1} + (1 - f_t) ⊙ W x_t
r_t = σ(W_r x_t + v_r ⊙ c_{t-1} + b_r)      h_t = r_t ⊙ c_t + (1 - r_t) ⊙ α x_t
"""

import torch
from torch import nn

import seqlearn as sl


class Layer(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.project = nn.Linear(d_model, 3 * d_model)  # W (with a bias too), W_f and W_r
        self.v = nn.Parameter(torch.zeros(2, d_model))
        nn.init.uniform_(self.project.weight, -((3 / d_model) ** 0.5), (3 / d_model) ** 0.5)

    def forward(self, x, cell, mask=None):
        value, forget, reset = self.project(x).chunk(3, -1)  # for all steps at once
        v_forget, v_reset = self.v
        cells = [cell]
        for t in range(x.shape[1]):
            kept = (forget[:, t] + v_forget * cells[-1]).sigmoid()
            cell = kept * cells[-1] + (1 - kept) * value[:, t]
            cells.append(cell if mask is None else cell.where(mask[:, t, None], cells[-1]))
        cells = torch.stack(cells, 1)
        shown = (reset + v_reset * cells[:, :-1]).sigmoid()
        return shown * cells[:, 1:] + (1 - shown) * 3**0.5 * x, cells[:, -1]


class Stack(nn.Module):
    def __init__(self, d_model, num_layers):
        super().__init__()
        self.layers = nn.ModuleList(Layer(d_model) for _ in range(num_layers))

    def forward(self, inputs, cells, mask=None):
        x, last = inputs * inputs.shape[-1] ** 0.5, []
        for layer, first in zip(self.layers, cells, strict=True):
            x, cell = layer(x, first, mask)
            last.append(cell)
        return x, last


class Encoder(Stack):
    def forward(self, inputs, mask):
        first = [inputs.new_zeros(len(inputs), inputs.shape[-1])] * len(self.layers)
        states, last = super().forward(inputs, first, mask)
        return sl.Memory(states, mask, last[-1])


class Decoder(Stack):
    stateful = True  # from batch to batch of a long text

    def forward(self, inputs, memory, state=None):
        zeros = inputs.new_zeros(len(inputs), inputs.shape[-1])
        first = [zeros if memory is None else memory.pooled] * len(self.layers)
        return super().forward(inputs, state or first)


class SRU(sl.SequenceModule):
    def __init__(self, spec, d_model: int = 128, num_layers: int = 2):
        super().__init__(spec, d_model=d_model)
        self.encoder = Encoder(d_model, num_layers)
        self.decoder = Decoder(d_model, num_layers)
