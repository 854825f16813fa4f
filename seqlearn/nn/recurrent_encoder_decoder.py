"""Encoder and decoder of the recurrent networks: one context vector between them.

                       one vector                      next token
    h_1 ─► h_2 ─► h_3 ──[ context ]──► s_1 ─► s_2 ─► s_3 ─► [ head ]
     ▲      ▲      ▲                    ▲      ▲      ▲
    x_1    x_2    x_3                 start   y_1    y_2

Source: Sutskever et al. 2014, section 2; Cho et al. 2014, section 2.2.

Departures from the papers:

- What passes from the encoder to the decoder is one vector of `d_model` numbers, made from the
  final state of every layer and direction (h, and c of an LSTM) by one linear map and tanh, and
  turned back into the first state of every decoder layer by another. Sutskever et al. hand over
  every layer's state as it is.
- The source is not reversed, as it is there; `bidirectional=True` reads it in both directions.
- Dropout falls on what enters each layer and leaves the last one, never on the path through time
  (Zaremba et al. 2014).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seqlearn.batch import Memory
from seqlearn.instrumentation import emit
from seqlearn.nn import BidirectionalLayer, Cell, CellState, Dropout, RecurrentLayer
from seqlearn.plain_data import check_whole_number


class RecurrentEncoder(nn.Module):
    """Reads a source from left to right, or in both directions.

    Args:
        cell: `"rnn"`, `"gru"` or `"lstm"`.
        d_model: Width of inputs, states and the pooled vector.
        num_layers: Layers, each reading the states of the one below.
        bidirectional: Whether each layer reads in both directions, `d_model // 2` wide each.
        dropout: Share of what is dropped of the inputs of each layer and of the last one's states.
        gate_bias: As in `RecurrentLayer`.

    Raises:
        ValueError: If there is no layer, or `d_model` is odd and the encoder bidirectional.
    """

    def __init__(
        self,
        cell: Cell,
        d_model: int,
        num_layers: int,
        dropout: float,
        *,
        bidirectional: bool,
        gate_bias: float | None = None,
    ) -> None:
        super().__init__()
        num_layers = check_whole_number(num_layers, "num_layers", 1)
        layer = BidirectionalLayer if bidirectional else RecurrentLayer
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            layer(cell, d_model, d_model, gate_bias=gate_bias, axis="source")
            for _ in range(num_layers)
        )
        parts = num_layers * (2 if cell == "lstm" else 1)
        self.context = nn.Linear(parts * d_model, d_model)

    def forward(
        self, inputs: Float[Tensor, "batch source d_model"], mask: Bool[Tensor, "batch source"]
    ) -> Memory:
        """Read embedded tokens, of which those are real where `mask` is True."""
        x = self.dropout(inputs * math.sqrt(inputs.shape[-1]))
        final: list[Tensor] = []
        for layer in self.layers:
            x, state = layer(x, mask=mask)
            x = self.dropout(x)
            final += state
        pooled = self.context(torch.cat(final, -1)).tanh()
        emit("states", self.context, pooled, ("pooled",))
        return Memory(x, mask, pooled)


class RecurrentDecoder(nn.Module):
    """Writes a target from left to right, beginning with what the context vector says.

    Args:
        cell: `"rnn"`, `"gru"` or `"lstm"`.
        d_model: Width of inputs, states and context.
        num_layers: Layers, each reading the states of the one below.
        dropout: Share of what is dropped of the inputs of each layer and of the last one's states.
        d_input: Width of what enters the lowest layer, if it is not `d_model`.
        gate_bias: As in `RecurrentLayer`.

    Raises:
        ValueError: If there is no layer.
    """

    stateful = True

    def __init__(
        self,
        cell: Cell,
        d_model: int,
        num_layers: int,
        dropout: float,
        d_input: int | None = None,
        *,
        gate_bias: float | None = None,
    ) -> None:
        super().__init__()
        num_layers = check_whole_number(num_layers, "num_layers", 1)
        widths = [d_input or d_model] + [d_model] * (num_layers - 1)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            RecurrentLayer(cell, width, d_model, gate_bias=gate_bias, axis="target")
            for width in widths
        )
        self.scale = math.sqrt(d_model)
        self.states_per_layer = 2 if cell == "lstm" else 1
        self.context_to_state = nn.Linear(d_model, num_layers * self.states_per_layer * d_model)

    def forward(
        self,
        inputs: Float[Tensor, "batch target d_input"],
        memory: Memory | None,
        state: list[CellState] | list[None] | None = None,
    ) -> tuple[Float[Tensor, "batch target d_model"], list[CellState]]:
        """Answer each embedded token with a vector from which the next token is read.

        Args:
            inputs: The new tokens, embedded.
            memory: The source, of which only the pooled vector is read, and only at the start;
                `None` for a language model.
            state: What the call before returned. `None` at the start.
        """
        states = self.initial_states(memory) if state is None else state
        x = self.dropout(inputs * self.scale)
        new_states = []
        for layer, layer_state in zip(self.layers, states, strict=True):
            x, new_state = layer(x, layer_state)
            x = self.dropout(x)
            new_states.append(new_state)
        return x, new_states

    def initial_states(self, memory: Memory | None) -> list[CellState] | list[None]:
        """Each layer's state before the first token: from the context, or zeros without one."""
        if memory is None:
            return [None] * len(self.layers)
        parts = self.context_to_state(memory.pooled).chunk(
            len(self.layers) * self.states_per_layer, -1
        )
        # h lies between -1 and 1, as a cell would make it; c may be anything.
        return [
            (parts[at].tanh(), *parts[at + 1 : at + self.states_per_layer])
            for at in range(0, len(parts), self.states_per_layer)
        ]


def freeze_context_projection(decoder: RecurrentDecoder) -> None:
    """Without a source nothing begins with a context: no gradients that other ranks wait for."""
    decoder.context_to_state.requires_grad_(requires_grad=False)
