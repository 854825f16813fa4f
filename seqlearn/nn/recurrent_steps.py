"""Recurrent cells: the textbook form of one step.

    rnn    h_t = tanh(W x_t + U h_{t-1} + b)                        Elman 1990

    gru    r_t = σ(W_r x_t + U_r h_{t-1} + b_r)                     Cho et al. 2014, section 2.3
           z_t = σ(W_z x_t + U_z h_{t-1} + b_z)
           n_t = tanh(W_n x_t + b_n + r_t ⊙ (U_n h_{t-1} + b'_n))
           h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}

    lstm   i_t, f_t, o_t = σ(W x_t + U h_{t-1} + b), each its own   Hochreiter & Schmidhuber 1997;
           g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)                  Gers et al. 2000 for f_t
           c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t
           h_t = o_t ⊙ tanh(c_t)

Each b is the sum of two biases, as in the kernels of torch. The reset gate of the GRU is applied
after the matrix product, as in torch and cuDNN. `seqlearn.nn.recurrent` runs all steps on the fused
kernels of torch.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class RNNStep(NamedTuple):
    """The result of one step of a tanh RNN."""

    hidden: Tensor


class GRUStep(NamedTuple):
    """The result of one step of a GRU: the new state and its gates (`candidate` is n_t)."""

    hidden: Tensor
    reset: Tensor
    update: Tensor
    candidate: Tensor


class LSTMStep(NamedTuple):
    """The result of one step of an LSTM: the new states and their gates (`candidate` is g_t)."""

    hidden: Tensor
    cell: Tensor
    input: Tensor
    forget: Tensor
    output: Tensor
    candidate: Tensor


def rnn_step(
    from_input: Float[Tensor, "*batch hidden"], from_state: Float[Tensor, "*batch hidden"]
) -> RNNStep:
    """The textbook form of one step: `h_t = tanh(W x_t + U h_{t-1} + b)`.

    Args:
        from_input: `W x_t` and its bias.
        from_state: `U h_{t-1}` and its bias.

    Source: Elman 1990.

    Examples:
        >>> import torch
        >>> rnn_step(torch.zeros(1), torch.zeros(1))
        RNNStep(hidden=tensor([0.]))
    """
    return RNNStep((from_input + from_state).tanh())


def gru_step(
    from_input: Float[Tensor, "*batch three_hidden"],
    from_state: Float[Tensor, "*batch three_hidden"],
    hidden: Float[Tensor, "*batch hidden"],
) -> GRUStep:
    """The textbook form of one step; the three parts are reset, update, candidate.

    Args:
        from_input: `W x_t` and its biases.
        from_state: `U h_{t-1}` and its biases.
        hidden: `h_{t-1}`.

    Source: Cho et al. 2014, section 2.3.

    Examples:
        >>> import torch
        >>> gru_step(torch.zeros(3), torch.zeros(3), torch.ones(1)).hidden
        tensor([0.5000])
    """
    x_reset, x_update, x_new = from_input.chunk(3, -1)
    h_reset, h_update, h_new = from_state.chunk(3, -1)
    reset = (x_reset + h_reset).sigmoid()
    update = (x_update + h_update).sigmoid()
    candidate = (x_new + reset * h_new).tanh()
    return GRUStep((1 - update) * candidate + update * hidden, reset, update, candidate)


def lstm_step(
    from_input: Float[Tensor, "*batch four_hidden"],
    from_state: Float[Tensor, "*batch four_hidden"],
    cell: Float[Tensor, "*batch hidden"],
) -> LSTMStep:
    """The textbook form of one step; the four parts are input, forget, candidate, output.

    Args:
        from_input: `W x_t` and its biases.
        from_state: `U h_{t-1}` and its biases.
        cell: `c_{t-1}`.

    Source: Hochreiter & Schmidhuber 1997, section 4; Gers et al. 2000 for the forget gate.

    Examples:
        >>> import torch
        >>> lstm_step(torch.zeros(4), torch.zeros(4), torch.ones(1)).cell
        tensor([0.5000])
    """
    gates = (from_input + from_state).chunk(4, -1)
    i, f, o = gates[0].sigmoid(), gates[1].sigmoid(), gates[3].sigmoid()
    candidate = gates[2].tanh()
    cell = f * cell + i * candidate
    return LSTMStep(o * cell.tanh(), cell, i, f, o, candidate)
