"""Recurrent layers that run all steps in one call of torch's fused kernel.

`RNNLayer`, `GRULayer` and `LSTMLayer` compute the steps of `seqlearn.nn.recurrent_steps`, to which
tests compare them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from seqlearn.instrumentation import Axis
from seqlearn.nn.protocols import RecurrentState
from seqlearn.nn.recurrent import DirectedLayer
from seqlearn.nn.recurrent_steps import gru_step, lstm_step

Cell = Literal["rnn", "gru", "lstm"]

_GATE_CLOSED, _GATE_OPEN = -1e4, 1e4  # whose σ is exactly 0 and 1, added to any pre-activation


class FusedLayer(DirectedLayer):
    """One layer in one direction on a fused kernel.

    Its weights are those of `kernel` (an `nn.RNN`, `nn.GRU` or `nn.LSTM` of one layer), the gates
    below one another: `weight_ih_l0` is W, `weight_hh_l0` is U. W starts as Glorot uniform, U
    orthogonal, one gate at a time (Saxe et al. 2014), and the biases at zero.

    Examples:
        >>> from seqlearn.nn import LSTMLayer
        >>> layer = LSTMLayer(4, 8)
        >>> layer.kernel.weight_ih_l0.shape, layer.kernel.weight_hh_l0.shape
        (torch.Size([32, 4]), torch.Size([32, 8]))
    """

    def __init__(
        self,
        kernel: Any,
        state_size: tuple[int, ...],
        *,
        reverse: bool,
        axis: Axis | None,
    ) -> None:
        super().__init__(state_size, reverse=reverse, axis=axis)
        self.d_hidden = kernel.hidden_size
        self.kernel: Any = kernel
        nn.init.xavier_uniform_(kernel.weight_ih_l0)
        for gate in kernel.weight_hh_l0.split(self.d_hidden):
            nn.init.orthogonal_(gate)
        nn.init.zeros_(kernel.bias_ih_l0)
        nn.init.zeros_(kernel.bias_hh_l0)

    def run(
        self,
        inputs: Float[Tensor, "batch time d_input"],
        state: RecurrentState,
        mask: Bool[Tensor, "batch time"] | None,
    ) -> tuple[Float[Tensor, "batch time d_hidden"], RecurrentState]:
        """Run the kernel; see `DirectedLayer.run`."""
        if inputs.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # Many CPUs have no LSTM kernel in bf16, and torch raises there instead of using fp32.
            dtype = self.kernel.weight_ih_l0.dtype
            with torch.autocast("cpu", enabled=False):
                state = tuple(part.to(dtype) for part in state)
                return self.run(inputs.to(dtype), state, mask)
        if inputs.shape[1] == 0:
            # Kernels take no empty sequence. One step of padding gives each weight a gradient
            # (zero), for which other ranks would wait.
            mask = inputs.new_zeros(len(inputs), 1, dtype=torch.bool)
            hidden, state = self.run(functional.pad(inputs, (0, 0, 0, 1)), state, mask)
            return hidden[:, :0], state
        hidden, rest = self.run_kernel(inputs, state, mask)
        if mask is None:
            return hidden, (hidden[:, -1], *rest)
        last = mask.sum(1)[:, None, None] - 1
        h = hidden.gather(1, last.clamp(min=0).expand(-1, 1, self.d_hidden)).squeeze(1)
        return hidden, (torch.where(last.squeeze(1) < 0, state[0], h), *rest)

    @abstractmethod
    def run_kernel(
        self, inputs: Tensor, state: RecurrentState, mask: Tensor | None
    ) -> tuple[Tensor, RecurrentState]:
        """Run the layer from left to right.

        Args:
            inputs: One vector per step, `batch time inputs`.
            state: The state before the first step, each tensor `batch d_model`.
            mask: True where a step is real, `batch time`; `None` if all are.

        Returns:
            h at every step, `batch time d_model`, and the rest of the state after the last real
            step, each tensor `batch d_model`.
        """

    def preactivations(
        self, inputs: Tensor, hidden: Tensor, state: RecurrentState
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`W x_t` and `U h_{t-1}` with their biases, and `h_{t-1}`, for all steps.

        Args:
            inputs: The inputs x, `batch time inputs`.
            hidden: The outputs h, `batch time d_model`.
            state: The state before the first step.

        Returns:
            The two products, `batch time gates·d_model`, and the states, `batch time d_model`.
        """
        w, u, b, b_state = self.kernel.parameters()
        before = torch.cat([state[0][:, None].to(hidden.dtype), hidden], 1)[:, :-1]
        with torch.autocast(inputs.device.type, enabled=False):
            from_input = functional.linear(inputs.to(w.dtype), w, b)
            return from_input, functional.linear(before.to(u.dtype), u, b_state), before


class RNNLayer(FusedLayer):
    """One tanh RNN layer (Elman 1990); the state is `(h,)`. It has no gates.

    The terms of its sum by name: `input` (W x_t), `state` (U h_{t-1}) and `bias` (b).

    Args:
        d_input: Width of the inputs.
        d_hidden: Width of the state.
        reverse: As in `DirectedLayer`.
        axis: As in `DirectedLayer`.

    Examples:
        >>> outputs, (h,) = RNNLayer(4, 8)(torch.zeros(2, 3, 4))
        >>> outputs.shape, h.shape
        (torch.Size([2, 3, 8]), torch.Size([2, 8]))
    """

    has_contributions = True

    def __init__(
        self, d_input: int, d_hidden: int, *, reverse: bool = False, axis: Axis | None = None
    ) -> None:
        kernel = nn.RNN(d_input, d_hidden, batch_first=True)
        super().__init__(kernel, (d_hidden,), reverse=reverse, axis=axis)

    def run_kernel(
        self,
        inputs: Tensor,
        state: RecurrentState,
        mask: Tensor | None,  # noqa: ARG002 -- h of the last real step is read off
    ) -> tuple[Tensor, RecurrentState]:
        """H at every step, `batch time d_model`; there is no other state."""
        return self.kernel(inputs, state[0][None].contiguous())[0], ()

    def gates(
        self,
        inputs: Float[Tensor, "batch time d_input"],  # noqa: ARG002 -- there are none to compute
        hidden: Float[Tensor, "batch time d_hidden"],  # noqa: ARG002
        state: RecurrentState,  # noqa: ARG002
    ) -> dict[str, Float[Tensor, "batch time d_hidden"]]:
        """None."""
        return {}

    def contributions(
        self,
        inputs: Float[Tensor, "batch time d_input"],
        hidden: Float[Tensor, "batch time d_hidden"],
        state: RecurrentState,
    ) -> dict[str, Float[Tensor, "batch time d_hidden"]]:
        """`input`, `state` and `bias`: the state is the tanh of their sum."""
        _, _, b, b_state = self.kernel.parameters()
        from_input, from_state, _ = self.preactivations(inputs, hidden, state)
        bias = (b + b_state).expand_as(from_input)
        return {"input": from_input - b, "state": from_state - b_state, "bias": bias}


class GRULayer(FusedLayer):
    """One GRU layer (Cho et al. 2014); the state is `(h,)`.

    Gates by name: `reset`, `update` and `candidate`.

    Args:
        d_input: Width of the inputs.
        d_hidden: Width of the state.
        reverse: As in `DirectedLayer`.
        update_bias: Initial bias of the update gate. With a larger one the state is kept for longer
            from the start (Tallec & Ollivier 2018, section 2).
        axis: As in `DirectedLayer`.

    Examples:
        >>> outputs, (h,) = GRULayer(4, 8)(torch.zeros(2, 3, 4))
        >>> outputs.shape, h.shape
        (torch.Size([2, 3, 8]), torch.Size([2, 8]))
    """

    has_gates = True

    def __init__(
        self,
        d_input: int,
        d_hidden: int,
        *,
        reverse: bool = False,
        update_bias: float = 0.0,
        axis: Axis | None = None,
    ) -> None:
        kernel: Any = nn.GRU(d_input, d_hidden, batch_first=True)
        super().__init__(kernel, (d_hidden,), reverse=reverse, axis=axis)
        nn.init.constant_(kernel.bias_ih_l0[d_hidden : 2 * d_hidden], update_bias)

    def run_kernel(
        self,
        inputs: Tensor,
        state: RecurrentState,
        mask: Tensor | None,  # noqa: ARG002 -- h of the last real step is read off
    ) -> tuple[Tensor, RecurrentState]:
        """H at every step, `batch time d_model`; there is no other state."""
        return self.kernel(inputs, state[0][None].contiguous())[0], ()

    def gates(
        self,
        inputs: Float[Tensor, "batch time d_input"],
        hidden: Float[Tensor, "batch time d_hidden"],
        state: RecurrentState,
    ) -> dict[str, Float[Tensor, "batch time d_hidden"]]:
        """`reset`, `update` and `candidate`, by the textbook form."""
        from_input, from_state, before = self.preactivations(inputs, hidden, state)
        step = gru_step(from_input, from_state, before)
        return {"reset": step.reset, "update": step.update, "candidate": step.candidate}


class LSTMLayer(FusedLayer):
    """One LSTM layer (Hochreiter & Schmidhuber 1997; Gers et al. 2000); the state is `(h, c)`.

    Gates by name: `input`, `forget`, `output`, `candidate`, and the cell state as `cell`.

    Args:
        d_input: Width of the inputs.
        d_hidden: Width of h and of c.
        reverse: As in `DirectedLayer`.
        forget_bias: Initial bias of the forget gate. With 1 an untrained LSTM remembers
            (Jozefowicz et al. 2015, section 2.2); with a larger one it remembers for longer
            (Tallec & Ollivier 2018, section 2).
        axis: As in `DirectedLayer`.

    Examples:
        >>> outputs, (h, c) = LSTMLayer(4, 8)(torch.zeros(2, 3, 4))
        >>> outputs.shape, h.shape, c.shape
        (torch.Size([2, 3, 8]), torch.Size([2, 8]), torch.Size([2, 8]))
    """

    has_gates = True

    def __init__(
        self,
        d_input: int,
        d_hidden: int,
        *,
        reverse: bool = False,
        forget_bias: float = 1.0,
        axis: Axis | None = None,
    ) -> None:
        kernel: Any = nn.LSTM(d_input, d_hidden, batch_first=True)
        super().__init__(kernel, (d_hidden, d_hidden), reverse=reverse, axis=axis)
        nn.init.constant_(kernel.bias_ih_l0[d_hidden : 2 * d_hidden], forget_bias)

    def run_kernel(
        self, inputs: Tensor, state: RecurrentState, mask: Tensor | None
    ) -> tuple[Tensor, RecurrentState]:
        """H at every step, `batch time d_model`, and c after the last real one.

        The kernel returns c only at the end of the padded row. To carry it there unchanged, one
        more input flags padding, whose weights close the input gate and open the forget gate.
        """
        h, c = (part[None].contiguous() for part in state)
        if mask is None:
            hidden, (_, c) = self.kernel(inputs, (h, c))
            return hidden, (c[0],)
        w = self.kernel.weight_ih_l0
        pad_flag = w.new_zeros(len(w), 1)
        pad_flag[: self.d_hidden] = _GATE_CLOSED
        pad_flag[self.d_hidden : 2 * self.d_hidden] = _GATE_OPEN
        flagged = torch.cat([inputs, ~mask[..., None]], -1)
        weights = [torch.cat([w, pad_flag], 1), *list(self.kernel.parameters())[1:]]
        hidden, _, c = torch.lstm(
            flagged, (h, c), weights, True, 1, 0.0, self.training, False, True
        )
        return hidden, (c[0],)

    def gates(
        self,
        inputs: Float[Tensor, "batch time d_input"],
        hidden: Float[Tensor, "batch time d_hidden"],
        state: RecurrentState,
    ) -> dict[str, Float[Tensor, "batch time d_hidden"]]:
        """`input`, `forget`, `output`, `candidate` and `cell` (c_t), by the textbook form."""
        from_input, from_state, _ = self.preactivations(inputs, hidden, state)
        cell, steps = state[1], []
        for x, h in zip(from_input.unbind(1), from_state.unbind(1), strict=True):
            steps.append(lstm_step(x, h, cell))
            cell = steps[-1].cell
        names = ("input", "forget", "output", "candidate", "cell")
        if not steps:
            return dict.fromkeys(names, hidden)
        return {name: torch.stack([getattr(step, name) for step in steps], 1) for name in names}


FUSED_LAYERS: dict[str, Callable[..., FusedLayer]] = {
    "rnn": RNNLayer,
    "gru": GRULayer,
    "lstm": LSTMLayer,
}
"""The layers by the name of their cell."""
