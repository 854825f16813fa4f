"""Recurrent cells: the textbook step of each, and layers that run all steps on a fused kernel.

    rnn    h_t = tanh(W x_t + U h_{t-1} + b)                        Elman 1990

    gru    r_t = σ(W_r x_t + U_r h_{t-1} + b_r)                     Cho et al. 2014, section 2.3
           z_t = σ(W_z x_t + U_z h_{t-1} + b_z)
           n_t = tanh(W_n x_t + b_n + r_t ⊙ (U_n h_{t-1} + b'_n))
           h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}

    lstm   i_t, f_t, o_t = σ(W x_t + U h_{t-1} + b), each its own   Hochreiter & Schmidhuber 1997;
           g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)                  Gers et al. 2000 for f_t
           c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t
           h_t = o_t ⊙ tanh(c_t)

Every b is the sum of two biases here, since torch's kernels have two; the GRU's reset gate is
applied after the matrix product, as torch and cuDNN do it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from seqlearn.instrumentation import Axis, emit

Cell = Literal["rnn", "gru", "lstm"]
CELLS = ("rnn", "gru", "lstm")

CellState = tuple[Tensor, ...]
"""What a layer carries: `(h,)`, or `(h, c)` of an LSTM, each `batch hidden`."""

_GATE_CLOSED, _GATE_OPEN = (
    -1e4,
    1e4,
)  # σ of these is 0 and 1, to the last bit, beside any pre-activation


class RNNStep(NamedTuple):
    """One step of a tanh RNN."""

    hidden: Tensor


class GRUStep(NamedTuple):
    """One step of a GRU: the new state and the gates that made it (`candidate` is n_t)."""

    hidden: Tensor
    reset: Tensor
    update: Tensor
    candidate: Tensor


class LSTMStep(NamedTuple):
    """One step of an LSTM: the new states and the gates that made them (`candidate` is g_t)."""

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
    """
    gates = (from_input + from_state).chunk(4, -1)
    i, f, o = gates[0].sigmoid(), gates[1].sigmoid(), gates[3].sigmoid()
    candidate = gates[2].tanh()
    cell = f * cell + i * candidate
    return LSTMStep(o * cell.tanh(), cell, i, f, o, candidate)


class RecurrentLayer(nn.Module):
    """One layer in one direction; all steps in one call of torch's fused kernel.

    Its weights are those of `kernel` (an `nn.RNN`, `nn.GRU` or `nn.LSTM` of one layer), the gates
    below one another: `weight_ih_l0` is W, `weight_hh_l0` is U. They start as Glorot uniform (W),
    orthogonal (U, each gate its own; Saxe et al. 2014) and zero (b), but the forget gate's bias as
    one, so that an untrained LSTM remembers (Jozefowicz et al. 2015, section 2.2). With a larger
    `gate_bias` it remembers longer from the start (Tallec & Ollivier 2018, section 2).

    Args:
        cell: `"rnn"` (tanh), `"gru"` or `"lstm"`.
        d_input: Width of the inputs.
        d_hidden: Width of the states.
        reverse: Whether it reads from the last real step to the first.
        gate_bias: Where the bias of the gate that keeps the state starts: an LSTM's forget gate (1
            by default), a GRU's update gate (0). A plain network has none.
        axis: The sequence that a recording says its steps follow; inferred from their number, if
            `None`.

    Raises:
        ValueError: If there is no such cell.
    """

    def __init__(
        self,
        cell: Cell,
        d_input: int,
        d_hidden: int,
        *,
        reverse: bool = False,
        gate_bias: float | None = None,
        axis: Axis | None = None,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"expected cell 'rnn', 'gru' or 'lstm', got {cell!r}")
        kernel = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell]
        self.cell, self.d_hidden, self.reverse = cell, d_hidden, reverse
        self.axes = None if axis is None else (axis,)
        self.kernel = kernel(d_input, d_hidden, batch_first=True)
        nn.init.xavier_uniform_(self.kernel.weight_ih_l0)
        for gate in self.kernel.weight_hh_l0.split(d_hidden):
            nn.init.orthogonal_(gate)
        nn.init.zeros_(self.kernel.bias_ih_l0)
        nn.init.zeros_(self.kernel.bias_hh_l0)
        if cell != "rnn":  # in both kernels it is the second gate
            bias = float(cell == "lstm") if gate_bias is None else gate_bias
            nn.init.constant_(self.kernel.bias_ih_l0[d_hidden : 2 * d_hidden], bias)

    def initial_state(self, inputs: Float[Tensor, "batch time d_input"]) -> CellState:
        """The state before the first step: zeros."""
        zeros = inputs.new_zeros(len(inputs), self.d_hidden)
        return (zeros, zeros) if self.cell == "lstm" else (zeros,)

    def forward(
        self,
        inputs: Float[Tensor, "batch time d_input"],
        state: CellState | None = None,
        mask: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time d_hidden"], CellState]:
        """Run over all steps.

        Args:
            inputs: One vector per step.
            state: The state before the first step; zeros, if `None`.
            mask: True where a step is real, which are the first of each row; all, if `None`.

        Returns:
            h at every step (past a row's end it means nothing), and the state after each row's
            last real step (the last to be read); the state before the first one, where a row has
            none.
        """
        if inputs.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # Many CPUs have no LSTM kernel in bf16, and torch raises there instead of taking fp32.
            dtype = self.kernel.weight_ih_l0.dtype
            state = None if state is None else tuple(part.to(dtype) for part in state)
            with torch.autocast("cpu", enabled=False):
                return self.forward(inputs.to(dtype), state, mask)
        state = self.initial_state(inputs) if state is None else state
        real = mask
        if self.reverse and real is None:
            real = inputs.new_ones(inputs.shape[:2], dtype=torch.bool)

        def maybe_reverse(steps: Tensor) -> Tensor:
            return reverse_padded(steps, real) if self.reverse and real is not None else steps

        read = maybe_reverse(inputs)
        hidden, final = self._run(read, state, mask)
        emit("states", self, lambda: maybe_reverse(hidden), self.axes)
        if self.cell != "rnn":
            gates = self.gates
            emit(
                "gates",
                self,
                lambda: {
                    name: maybe_reverse(gate) for name, gate in gates(read, hidden, state).items()
                },
                self.axes,
            )
        return maybe_reverse(hidden), final

    def gates(
        self,
        inputs: Float[Tensor, "batch time d_input"],
        hidden: Float[Tensor, "batch time d_hidden"],
        state: CellState,
    ) -> dict[str, Float[Tensor, "batch time d_hidden"]]:
        """The gates of every step by the textbook form, from what the kernel read and answered.

        Args:
            inputs: What was read, in the order of reading.
            hidden: h at every step, as the kernel answered.
            state: The state before the first step.

        Returns:
            Of an LSTM `input`, `forget`, `output`, `candidate` and `cell` (c_t itself); of a GRU
            `reset`, `update` and `candidate`; of a plain network nothing.
        """
        w, u, b, b_state = self.kernel.parameters()
        before = torch.cat([state[0][:, None].to(hidden.dtype), hidden], 1)[:, :-1]
        from_input = functional.linear(inputs, w, b)
        from_state = functional.linear(before, u, b_state)
        if self.cell == "rnn":
            return {}
        if self.cell == "gru":
            step = gru_step(from_input, from_state, before)
            return {"reset": step.reset, "update": step.update, "candidate": step.candidate}
        cell, steps = state[1], []
        for x, h in zip(from_input.unbind(1), from_state.unbind(1), strict=True):
            steps.append(lstm_step(x, h, cell))
            cell = steps[-1].cell
        names = ("input", "forget", "output", "candidate", "cell")
        if not steps:
            return dict.fromkeys(names, hidden)
        return {name: torch.stack([getattr(step, name) for step in steps], 1) for name in names}

    def _run(
        self, inputs: Tensor, state: CellState, mask: Tensor | None
    ) -> tuple[Tensor, CellState]:
        """H at every step in the order of reading, and the last state."""
        if inputs.shape[1] == 0:
            # Kernels take no empty sequence. One step of padding, so that each weight has a
            # gradient (zero), for which other ranks would wait.
            mask = inputs.new_zeros(len(inputs), 1, dtype=torch.bool)
            hidden, state = self._run(functional.pad(inputs, (0, 0, 0, 1)), state, mask)
            return hidden[:, :0], state
        if self.cell == "lstm":
            hidden, c = self._lstm(inputs, state, mask)
            rest: CellState = (c,)
        else:
            hidden, rest = self.kernel(inputs, state[0][None].contiguous())[0], ()
        if mask is None:
            return hidden, (hidden[:, -1], *rest)
        last = mask.sum(1)[:, None, None] - 1
        h = hidden.gather(1, last.clamp(min=0).expand(-1, 1, self.d_hidden)).squeeze(1)
        return hidden, (torch.where(last.squeeze(1) < 0, state[0], h), *rest)

    def _lstm(self, inputs: Tensor, state: CellState, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Answer with h at every step, and c after the last real one.

        The kernel tells c only at the end of the padded row. So that it arrives there unchanged,
        one more input marks padding, and its weights shut the input gate and open the forget gate.
        """
        h, c = (part[None].contiguous() for part in state)
        if mask is None:
            hidden, (_, c) = self.kernel(inputs, (h, c))
            return hidden, c[0]
        w = self.kernel.weight_ih_l0
        pad_flag = w.new_zeros(len(w), 1)
        pad_flag[: self.d_hidden], pad_flag[self.d_hidden : 2 * self.d_hidden] = (
            _GATE_CLOSED,
            _GATE_OPEN,
        )
        marked = torch.cat([inputs, ~mask[..., None]], -1)
        weights = [torch.cat([w, pad_flag], 1), *list(self.kernel.parameters())[1:]]
        hidden, _, c = torch.lstm(marked, (h, c), weights, True, 1, 0.0, self.training, False, True)
        return hidden, c[0]


def reverse_padded(
    inputs: Float[Tensor, "batch time width"], mask: Bool[Tensor, "batch time"]
) -> Float[Tensor, "batch time width"]:
    """Turn each row round within its real steps, which are its first; padding stays in place."""
    place = torch.arange(inputs.shape[1], device=inputs.device)
    place = torch.where(mask, mask.sum(1, keepdim=True) - 1 - place, place)
    return inputs.gather(1, place[..., None].expand_as(inputs))


class BidirectionalLayer(nn.Module):
    """Two layers side by side: one reads forwards, the other backwards (Schuster & Paliwal 1997).

    Args:
        cell: Which cell.
        d_input: Width of the inputs.
        d_hidden: Width of both directions together; must be even.
        gate_bias: As in `RecurrentLayer`.
        axis: As in `RecurrentLayer`.

    Raises:
        ValueError: If `d_hidden` is odd.
    """

    def __init__(
        self,
        cell: Cell,
        d_input: int,
        d_hidden: int,
        *,
        gate_bias: float | None = None,
        axis: Axis | None = None,
    ) -> None:
        super().__init__()
        if d_hidden % 2:
            raise ValueError(
                f"a bidirectional layer has half its width in each direction; expected an even "
                f"width, got {d_hidden}"
            )
        self.axes = None if axis is None else (axis,)
        self.forward_layer, self.backward_layer = (
            RecurrentLayer(
                cell, d_input, d_hidden // 2, reverse=reverse, gate_bias=gate_bias, axis=axis
            )
            for reverse in (False, True)
        )

    def forward(
        self,
        inputs: Float[Tensor, "batch time d_input"],
        mask: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time d_hidden"], CellState]:
        """Read in both directions, from zeros: there is no state to go on from.

        Args:
            inputs: One vector per step.
            mask: True where a step is real, which are the first of each row; all, if `None`.

        Returns:
            h of both directions at every step, and the final states of both side by side.
        """
        fwd, end = self.forward_layer(inputs, mask=mask)
        bwd, start = self.backward_layer(inputs, mask=mask)
        both = torch.cat([fwd, bwd], -1)
        emit("states", self, both, self.axes)
        return both, tuple(torch.cat(pair, -1) for pair in zip(end, start, strict=True))
