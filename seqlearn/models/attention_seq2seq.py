"""Encoder and decoder with attention (Bahdanau et al. 2015; Luong et al. 2015, figure 2).

                                           next token
                                               │
                                            [ head ]
                                               │
                                   [ feed-forward: tanh(W_c ·) ]
                                               │
                                       [ concatenate ]
                                        │           │
              context = Σ weight·h ─────┘           │
                    ▲                               │
            [ softmax of scores ] ◄─────────────────┤
              ▲     ▲     ▲                         │
             h_1 ─ h_2 ─ h_3 ──[ context ]──► s_1 ─ s_2
              ▲     ▲     ▲    (one vector)    ▲     ▲
             x_1   x_2   x_3                 start  y_1

One decoder step: score each encoder state, softmax, weighted sum, concatenate with the decoder
state, feed-forward, word.

Departures from the papers:

- The query is the new state s_t, as in Luong et al. (in Bahdanau et al. it is s_{t-1}, and the
  context is an input of the cell). With teacher forcing all steps are therefore computed at once.
  `input_feeding=True` feeds the last attentional hidden state to the cell (Luong et al., section
  3.3), which requires a loop.
- Only "global" attention; the context vector of the encoder is also the decoder's initial state.
- For a class or vector target there is no decoder: attention pooling with the encoder's context
  vector as the query gives the pooled vector (after Yang et al. 2016, equations 5 to 7).
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seqlearn.batch import Memory
from seqlearn.core.base import SequenceModule
from seqlearn.core.hparams import BaseOptions
from seqlearn.core.recipe import Recipe
from seqlearn.instrumentation import Axis, emit, time_loop
from seqlearn.nn import (
    FUSED_LAYERS,
    Cell,
    Dropout,
    LuongAttention,
    PerSource,
    RecurrentDecoder,
    RecurrentEncoder,
    RecurrentState,
    ScoreName,
    attend_by_source,
    stack_layers,
)
from seqlearn.spec import SequenceSpec


class AttentionalHidden(nn.Module):
    """Attend to the source, concatenate the context with the query, and apply one layer.

    `h̃_t = tanh(W_c [context_t; s_t] + b)` (Luong et al. 2015, equation 5).

    Args:
        attention: The attention over the encoder states.
        d_model: Width of queries, encoder states and outputs.
        dropout: Probability with which an output is zeroed.
    """

    def __init__(self, attention: LuongAttention, d_model: int, dropout: float) -> None:
        super().__init__()
        self.attention = attention
        self.feedforward = nn.Linear(2 * d_model, d_model)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        query: Float[Tensor, "batch target d_model"],
        key: Float[Tensor, "batch source d_model"],
        memory: Memory,
        axis: Axis = "target",
    ) -> Float[Tensor, "batch target d_model"]:
        """Compute one attentional hidden state per query.

        Args:
            query: Decoder states, or one context vector per source.
            key: The result of `attention.project_keys(memory.states)`.
            memory: The encoded source.
            axis: The sequence that the queries follow, for recordings.
        """
        context = self.attention(query, key, memory.states, memory.mask, axes=(axis, "source"))
        hidden = self.feedforward(torch.cat([context, query], -1)).tanh()
        emit("states", self, hidden, (axis,))
        return self.dropout(hidden)


class AttentionDecoderState(NamedTuple):
    """The state of the decoder.

    Attributes:
        layers: The states of the recurrent layers.
        key: The projected encoder states, one row per source.
        hidden: The last attentional hidden state, for input feeding.
    """

    layers: list[RecurrentState] | list[None]
    key: PerSource
    hidden: Tensor


class AttentionDecoder(nn.Module):
    """The right half of the figure.

    Args:
        recurrence: The recurrent layers; with `input_feeding` their inputs are `2 · d_model` wide.
        attention: The attention over the encoder states.
        d_model: Width of states and outputs.
        dropout: Probability with which an output is zeroed.
        input_feeding: Whether the recurrent layers also receive the attentional hidden state of
            the previous step.
    """

    shares_memory = True

    def __init__(
        self,
        recurrence: RecurrentDecoder,
        attention: LuongAttention,
        d_model: int,
        dropout: float,
        *,
        input_feeding: bool,
    ) -> None:
        super().__init__()
        self.input_feeding = input_feeding
        self.recurrence = recurrence
        self.attentional_hidden = AttentionalHidden(attention, d_model, dropout)

    def forward(
        self,
        inputs: Float[Tensor, "batch target d_model"],
        memory: Memory,
        state: AttentionDecoderState | None = None,
    ) -> tuple[Float[Tensor, "batch target d_model"], AttentionDecoderState]:
        """Compute one vector per token, from which the next token is predicted.

        Args:
            inputs: The new tokens, embedded.
            memory: The encoded source.
            state: The state returned by the previous call; `None` in the first call.
        """
        if state is None:
            first = self.recurrence.initial_states(memory)
            key = PerSource(self.attentional_hidden.attention.project_keys(memory.states))
            state = AttentionDecoderState(first, key, torch.zeros_like(memory.pooled))
        if not self.input_feeding:
            states, layers = self.recurrence(inputs, memory, state.layers)
            return self._attend(states, state.key, memory), state._replace(layers=layers)
        return self.forward_input_feeding(inputs, memory, state)

    def forward_input_feeding(
        self,
        inputs: Float[Tensor, "batch target d_model"],
        memory: Memory,
        state: AttentionDecoderState,
    ) -> tuple[Float[Tensor, "batch target d_model"], AttentionDecoderState]:
        """The loop of input feeding: the recurrence receives the previous attentional state."""
        outputs = []
        with time_loop():
            for token in inputs.unbind(1):
                # The recurrence multiplies its inputs by √d_model, which only embeddings need.
                inputs = torch.cat([token, state.hidden / self.recurrence.scale], -1)[:, None]
                states, layers = self.recurrence(inputs, memory, state.layers)
                hidden = self._attend(states, state.key, memory)
                outputs.append(hidden)
                state = state._replace(layers=layers, hidden=hidden.squeeze(1))
        return torch.cat(outputs, 1), state

    def _attend(self, states: Tensor, key: PerSource, memory: Memory) -> Tensor:
        """The attentional hidden states; the rows of each source are queries of one attention."""

        def attend(queries: Tensor) -> Tensor:
            return self.attentional_hidden(queries, key.value, memory)

        return attend_by_source(attend, states, len(memory.mask))


class AttentionPoolingEncoder(nn.Module):
    """The left half of the figure with attention pooling: the context vector attends once.

    Args:
        recurrence: The recurrent encoder.
        attention: The attention of the context vector over the encoder states.
        d_model: Width of states and pooled vector.
        dropout: Probability with which a number of the pooled vector is zeroed.
    """

    def __init__(
        self, recurrence: RecurrentEncoder, attention: LuongAttention, d_model: int, dropout: float
    ) -> None:
        super().__init__()
        self.recurrence = recurrence
        self.attentional_hidden = AttentionalHidden(attention, d_model, dropout)

    def forward(
        self, inputs: Float[Tensor, "batch source d_model"], mask: Bool[Tensor, "batch source"]
    ) -> Memory:
        """Encode embedded tokens; `mask` is True where a position is real."""
        memory = self.recurrence(inputs, mask)
        key = self.attentional_hidden.attention.project_keys(memory.states)
        pooled = self.attentional_hidden(memory.pooled[:, None], key, memory, "pooled").squeeze(1)
        return memory._replace(pooled=pooled)


class AttentionSeq2Seq(SequenceModule):
    """A recurrent encoder, and a recurrent decoder with attention to every encoder state.

    It serves every task that has a source.

    Args:
        spec: The types of source and target, such as `data.spec`.
        cell: `"rnn"` (tanh), `"gru"` or `"lstm"`.
        score: `"dot"` and `"general"` (Luong et al. 2015), `"additive"` (Bahdanau et al. 2015) or
            `"scaled_dot"` (Vaswani et al. 2017).
        d_model: Width of embeddings, states and outputs; even if `bidirectional`.
        num_layers: Number of layers of the encoder, and of the decoder.
        bidirectional: Whether the encoder is bidirectional, `d_model // 2` wide per direction.
        input_feeding: Whether the decoder's cell also receives the attentional hidden state of the
            previous step. Steps are then computed in a loop, also in training.
        dropout: Dropout probability between layers, in training.
        base: `recipe`, `generation` and `tie_embeddings`; see `SequenceModule`.

    Raises:
        ValueError: If there is no source (a language model), or an argument is not one of those
            named.

    Source: Luong et al. 2015, sections 3.1 and 3.3; Bahdanau et al. 2015, appendix A.

    Examples:
        >>> import seqlearn as sl
        >>> spec = sl.SequenceSpec(sl.TextSpec(9, 4), sl.TextSpec(9, 4))
        >>> model = sl.AttentionSeq2Seq(spec, cell="gru", score="additive", d_model=8)
        >>> with sl.record(model) as recording:
        ...     texts = model.generate([[4, 5, 6]], max_new_tokens=5)
        >>> list(recording.attention)
        ['decoder.attentional_hidden.attention']
    """

    default_recipe: ClassVar[Recipe] = Recipe(lr=2e-3)

    def __init__(
        self,
        spec: SequenceSpec,
        *,
        cell: Cell = "lstm",
        score: ScoreName = "general",
        d_model: int = 256,
        num_layers: int = 1,
        bidirectional: bool = True,
        input_feeding: bool = False,
        dropout: float = 0.2,
        **base: Unpack[BaseOptions],
    ) -> None:
        super().__init__(spec, d_model=d_model, **base)
        if spec.source is None:
            raise ValueError(
                "expected data with a source, which AttentionSeq2Seq attends to, got none; use "
                "RNN, GRU, LSTM, FeedForward or Transformer for a language model"
            )
        if cell not in FUSED_LAYERS:
            raise ValueError(f"expected cell 'rnn', 'gru' or 'lstm', got {cell!r}")
        make = FUSED_LAYERS[cell]
        encoder = RecurrentEncoder(
            stack_layers(make, d_model, num_layers, bidirectional=bidirectional), d_model, dropout
        )
        self.encoder = (
            encoder
            if spec.target.is_sequence
            else AttentionPoolingEncoder(encoder, LuongAttention(score, d_model), d_model, dropout)
        )
        d_input = 2 * d_model if input_feeding else d_model
        self.decoder = AttentionDecoder(
            RecurrentDecoder(
                stack_layers(make, d_model, num_layers, d_input=d_input), d_model, dropout
            ),
            LuongAttention(score, d_model),
            d_model,
            dropout,
            input_feeding=input_feeding,
        )
