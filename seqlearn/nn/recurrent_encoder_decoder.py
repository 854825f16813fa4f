"""Encoder and decoder of the recurrent networks: one context vector between them.

                       one vector                      next token
    h_1 ─► h_2 ─► h_3 ──[ context ]──► s_1 ─► s_2 ─► s_3 ─► [ head ]
     ▲      ▲      ▲                    ▲      ▲      ▲
    x_1    x_2    x_3                 start   y_1    y_2

Source: Sutskever et al. 2014, section 2; Cho et al. 2014, section 2.2.

Departures from the papers:

- The encoder passes one vector of `d_model` numbers to the decoder: a linear map and tanh of the
  final states of all layers and directions (h, and c of an LSTM). Another linear map turns it into
  the initial states of all decoder layers. Sutskever et al. pass on every layer's state.
- The source is not reversed, as it is there; a bidirectional encoder reads both directions.
- Dropout is applied to the input of each layer and to the output of the last one, never along
  time (Zaremba et al. 2014).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seqlearn.batch import Memory
from seqlearn.instrumentation import Axis, emit
from seqlearn.nn.dropout_layer import Dropout
from seqlearn.nn.protocols import RecurrentLayer, RecurrentState, check_block


class _Layers(nn.Module):
    """Recurrent layers on top of one another; their states are recorded along `axis`."""

    def __init__(self, layers: Sequence[RecurrentLayer], dropout: float, axis: Axis) -> None:
        super().__init__()
        if not isinstance(layers, Sequence | nn.ModuleList):
            raise TypeError(f"expected layers as a list, got {type(layers).__name__}")
        for number, block in enumerate(layers):
            name = f"layers[{number}]"
            check_block(block, name, "RecurrentLayer", "initial_state", "state_size")
        if not layers:
            raise ValueError("expected at least one layer, got none")
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(cast(Sequence[nn.Module], layers))
        self._axis = axis
        for layer in self.layers.modules():
            if getattr(layer, "emits_states", False):
                cast(Any, layer).axis = axis

    def _run(
        self,
        inputs: Tensor,
        states: Iterable[RecurrentState | None],
        mask: Tensor | None,
    ) -> tuple[Tensor, list[RecurrentState]]:
        x, final = self.dropout(inputs), []
        for layer, state in zip(self.layers, states, strict=True):
            x, new_state = layer(x, state, mask)
            if not getattr(layer, "emits_states", False):
                emit("states", layer, x, (self._axis,))
            x = self.dropout(x)
            final.append(new_state)
        return x, final


class RecurrentEncoder(_Layers):
    """Encodes a source with recurrent layers.

    Args:
        layers: Modules with the protocol `RecurrentLayer`, from the input up; the first takes
            `d_model` inputs, and outputs are `d_model` wide. `stack_layers` makes them.
        d_model: Width of inputs, outputs and the pooled vector.
        dropout: Probability with which an input of a layer, or an output of the last, is zeroed.

    Raises:
        ValueError: If there is no layer.

    Source: Sutskever et al. 2014, section 2.

    Examples:
        >>> from seqlearn.nn import LSTMLayer, stack_layers
        >>> encoder = RecurrentEncoder(stack_layers(LSTMLayer, 8, num_layers=2), 8, dropout=0.1)
        >>> encoder(torch.zeros(2, 3, 8), torch.ones(2, 3, dtype=torch.bool)).pooled.shape
        torch.Size([2, 8])
    """

    def __init__(self, layers: Sequence[RecurrentLayer], d_model: int, dropout: float) -> None:
        super().__init__(layers, dropout, "source")
        self.context = nn.Linear(sum(sum(layer.state_size) for layer in layers), d_model)

    def forward(
        self, inputs: Float[Tensor, "batch source d_model"], mask: Bool[Tensor, "batch source"]
    ) -> Memory:
        """Encode embedded tokens.

        Args:
            inputs: The embedded source.
            mask: True where a position is real.
        """
        scaled = inputs * math.sqrt(inputs.shape[-1])
        x, final = self._run(scaled, [None] * len(self.layers), mask)
        pooled = self.context(torch.cat([part for state in final for part in state], -1)).tanh()
        emit("states", self.context, pooled, ("pooled",))
        return Memory(x, mask, pooled)

    def pooling_modules(self) -> list[nn.Module]:
        """The modules that only the pooled vector needs."""
        return [self.context]


class RecurrentDecoder(_Layers):
    """Decodes a target with recurrent layers, whose initial states are made from the context.

    Args:
        layers: Modules with the protocol `RecurrentLayer`, from the input up, none of them
            bidirectional; outputs are `d_model` wide. `stack_layers` makes them.
        d_model: Width of outputs and context vector.
        dropout: Probability with which an input of a layer, or an output of the last, is zeroed.

    Raises:
        ValueError: If there is no layer.

    Source: Sutskever et al. 2014, section 2; Cho et al. 2014, section 2.2.

    Examples:
        >>> from seqlearn.nn import LSTMLayer, stack_layers
        >>> decoder = RecurrentDecoder(stack_layers(LSTMLayer, 8, num_layers=2), 8, dropout=0.1)
        >>> outputs, state = decoder(torch.zeros(2, 3, 8), None)
        >>> outputs.shape
        torch.Size([2, 3, 8])
    """

    stateful = True
    shares_memory = True  # it is read in the first call alone

    def __init__(self, layers: Sequence[RecurrentLayer], d_model: int, dropout: float) -> None:
        super().__init__(layers, dropout, "target")
        self.scale = math.sqrt(d_model)
        self.state_sizes: list[tuple[int, ...]] = [tuple(layer.state_size) for layer in layers]
        self.context_to_state = nn.Linear(d_model, sum(map(sum, self.state_sizes)))

    def forward(
        self,
        inputs: Float[Tensor, "batch target d_input"],
        memory: Memory | None,
        state: list[RecurrentState] | list[None] | None = None,
    ) -> tuple[Float[Tensor, "batch target d_model"], list[RecurrentState]]:
        """Compute one vector per token, from which the next token is predicted.

        Args:
            inputs: The new tokens, embedded.
            memory: The source, of which only the pooled vector is used, and only in the first call;
                `None` for a language model.
            state: The state returned by the previous call; `None` in the first call.
        """
        states = self.initial_states(memory) if state is None else state
        return self._run(inputs * self.scale, states, None)

    def initial_states(self, memory: Memory | None) -> list[RecurrentState] | list[None]:
        """Each layer's state before the first token: from the context, or zeros without one.

        The first tensor of each state, h, goes through tanh as in a cell; a c may be any number.
        """
        if memory is None:
            return [None] * len(self.layers)
        sizes = [size for state in self.state_sizes for size in state]
        parts = iter(self.context_to_state(memory.pooled).split(sizes, -1))
        states = [tuple(next(parts) for _ in state) for state in self.state_sizes]
        return [(h.tanh(), *rest) for h, *rest in states]

    def source_modules(self) -> list[nn.Module]:
        """The parts that are not used without a source; see `Decoder`."""
        return [self.context_to_state]
