"""The simple recurrent unit, as a user adds it (Lei et al. 2018, section 3, equations 1 to 4).

f_t = σ(W_f x_t + v_f ⊙ c_{t-1} + b_f)      c_t = f_t ⊙ c_{t-1} + (1 - f_t) ⊙ W x_t
r_t = σ(W_r x_t + v_r ⊙ c_{t-1} + b_r)      h_t = r_t ⊙ c_t + (1 - r_t) ⊙ α x_t

The layer has the protocol `seqlearn.nn.RecurrentLayer`, without a base class: its matrix products
are those of all steps at once, and its output is not its state.
"""

import torch
from torch import nn

import seqlearn as sl


class SRULayer(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.state_size = (d_model,)  # c
        self.project = nn.Linear(d_model, 3 * d_model)  # W (with a bias too), W_f and W_r
        self.v = nn.Parameter(torch.zeros(2, d_model))
        nn.init.uniform_(self.project.weight, -((3 / d_model) ** 0.5), (3 / d_model) ** 0.5)

    def initial_state(self, inputs):
        return (inputs.new_zeros(len(inputs), *self.state_size),)

    def forward(self, x, state, mask):
        value, forget, reset = self.project(x).chunk(3, -1)  # for all steps at once
        v_forget, v_reset = self.v
        cells = list(self.initial_state(x) if state is None else state)
        for t in range(x.shape[1]):
            f = (forget[:, t] + v_forget * cells[-1]).sigmoid()
            cell = f * cells[-1] + (1 - f) * value[:, t]
            cells.append(cell if mask is None else cell.where(mask[:, t, None], cells[-1]))
        cells = torch.stack(cells, 1)
        r = (reset + v_reset * cells[:, :-1]).sigmoid()
        return r * cells[:, 1:] + (1 - r) * 3**0.5 * x, (cells[:, -1],)


class SRU(sl.SequenceModule):
    def __init__(self, spec, d_model: int = 128, num_layers: int = 2, dropout: float = 0.0, **base):
        super().__init__(spec, d_model=d_model, **base)
        layers = [[SRULayer(d_model) for _ in range(num_layers)] for _ in range(2)]
        self.encoder = sl.nn.RecurrentEncoder(layers[0], d_model, dropout)
        self.decoder = sl.nn.RecurrentDecoder(layers[1], d_model, dropout)
