"""Encoder and decoder of the Transformer, built from layers, attentions and feed-forward blocks.

A layer receives its attention and its feed-forward block as modules, so an attention of your own
goes into the stock layers (see the protocols `SelfAttention`, `CausalSelfAttention` and
`CrossAttention`). Each layer has two forms: normalised after each sum, or before each part.

Source: Vaswani et al. 2017, figure 1 and section 3; Xiong et al. 2020 for pre-norm.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seqlearn.batch import Memory
from seqlearn.instrumentation import Axes, emit
from seqlearn.nn.decoder_state import PerSource, State, attend_by_source, shares_memory
from seqlearn.nn.dropout_layer import Dropout
from seqlearn.nn.protocols import (
    CausalSelfAttention,
    CrossAttention,
    SelfAttention,
    check_block,
)


class _EncoderBlock(nn.Module, ABC):
    """The parts of an encoder layer.

    Args:
        self_attention: A module with the protocol `SelfAttention`, such as `MultiHeadAttention`.
        feedforward: A module from `batch source d_model` to the same shape.
        d_model: Width of inputs and outputs.
        dropout: Probability with which a number of each part's output is zeroed.
    """

    def __init__(
        self, self_attention: SelfAttention, feedforward: nn.Module, d_model: int, dropout: float
    ) -> None:
        super().__init__()
        check_block(self_attention, "self_attention", "SelfAttention")
        self.self_attention = self_attention
        self.norm_self_attention = nn.LayerNorm(d_model)
        self.feedforward = feedforward
        self.norm_feedforward = nn.LayerNorm(d_model)
        self.dropout = Dropout(dropout)

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "batch source d_model"], mask: Bool[Tensor, "batch source"]
    ) -> Float[Tensor, "batch source d_model"]:
        """Apply self-attention, then the feed-forward block; `mask` is True where real."""


class EncoderLayer(_EncoderBlock):
    """The left block of figure 1 of Vaswani et al. 2017, normalised after each sum.

    Args:
        self_attention: A module with the protocol `SelfAttention`, such as `MultiHeadAttention`.
        feedforward: A module from `batch source d_model` to the same shape.
        d_model: Width of inputs and outputs.
        dropout: Probability with which a number of each part's output is zeroed.

    Examples:
        >>> import torch
        >>> from seqlearn.nn import FeedForwardBlock, MultiHeadAttention
        >>> layer = EncoderLayer(MultiHeadAttention(8, 2), FeedForwardBlock(8, 32, 0.1), 8, 0.1)
        >>> layer(torch.zeros(2, 3, 8), torch.ones(2, 3, dtype=torch.bool)).shape
        torch.Size([2, 3, 8])
    """

    def forward(
        self, x: Float[Tensor, "batch source d_model"], mask: Bool[Tensor, "batch source"]
    ) -> Float[Tensor, "batch source d_model"]:
        """Apply self-attention, then the feed-forward block; `mask` is True where real."""
        x = self.norm_self_attention(x + self.dropout(self.self_attention(x, mask)))
        return self.norm_feedforward(x + self.dropout(self.feedforward(x)))


class PreNormEncoderLayer(_EncoderBlock):
    """The left block of figure 1, normalised before each part (Xiong et al. 2020, figure 1b).

    Arguments as in `EncoderLayer`.

    Examples:
        >>> import torch
        >>> from seqlearn.nn import FeedForwardBlock, MultiHeadAttention
        >>> block = FeedForwardBlock(8, 32, 0.1)
        >>> layer = PreNormEncoderLayer(MultiHeadAttention(8, 2), block, 8, 0.1)
        >>> layer(torch.zeros(2, 3, 8), torch.ones(2, 3, dtype=torch.bool)).shape
        torch.Size([2, 3, 8])
    """

    def forward(
        self, x: Float[Tensor, "batch source d_model"], mask: Bool[Tensor, "batch source"]
    ) -> Float[Tensor, "batch source d_model"]:
        """Apply self-attention, then the feed-forward block; `mask` is True where real."""
        x = x + self.dropout(self.self_attention(self.norm_self_attention(x), mask))
        return x + self.dropout(self.feedforward(self.norm_feedforward(x)))


class LayerState(NamedTuple):
    """The state of one decoder layer.

    Attributes:
        past: The cache of causal self-attention.
        source: The projected memory of cross-attention; `None` without a source.
    """

    past: State
    source: PerSource | None


class _DecoderBlock(nn.Module, ABC):
    """The parts of a decoder layer, and what the two forms have in common."""

    def __init__(
        self,
        self_attention: CausalSelfAttention,
        cross_attention: CrossAttention,
        feedforward: nn.Module,
        d_model: int,
        dropout: float,
    ) -> None:
        super().__init__()
        name, method = "CausalSelfAttention", "causal_self_attention"
        check_block(self_attention, "self_attention", name, method)
        methods = ("project_memory", "cross_attention")
        check_block(cross_attention, "cross_attention", "CrossAttention", *methods)
        self.self_attention = self_attention
        self.norm_self_attention = nn.LayerNorm(d_model)
        self.cross_attention = cross_attention
        self.norm_cross_attention = nn.LayerNorm(d_model)
        self.feedforward = feedforward
        self.norm_feedforward = nn.LayerNorm(d_model)
        self.dropout = Dropout(dropout)

    @abstractmethod
    def forward(
        self,
        x: Float[Tensor, "batch target d_model"],
        memory: Memory | None,
        state: LayerState | None,
    ) -> tuple[Float[Tensor, "batch target d_model"], LayerState]:
        """Apply causal self-attention, cross-attention and the feed-forward block."""

    def unpack_state(self, memory: Memory | None, state: LayerState | None) -> LayerState:
        """The state, or the initial one: the memory is projected in the first call alone."""
        if state is not None:
            return state
        project = self.cross_attention.project_memory
        return LayerState(None, None if memory is None else PerSource(project(memory.states)))

    def attend_to_source(
        self, x: Float[Tensor, "rows target d_model"], memory: Memory, source: PerSource
    ) -> Float[Tensor, "rows target d_model"]:
        """Apply cross-attention; the rows of each source are the queries of one call."""

        def cross_attention(queries: Tensor) -> Tensor:
            return self.cross_attention.cross_attention(queries, source.value, memory.mask)

        return attend_by_source(cross_attention, x, len(memory.mask))


class DecoderLayer(_DecoderBlock):
    """The right block of figure 1 of Vaswani et al. 2017, normalised after each sum.

    Args:
        self_attention: A module with the protocol `CausalSelfAttention`.
        cross_attention: A module with the protocol `CrossAttention`.
        feedforward: A module from `batch target d_model` to the same shape.
        d_model: Width of inputs and outputs.
        dropout: Probability with which a number of each part's output is zeroed.

    Examples:
        >>> import torch
        >>> from seqlearn.nn import FeedForwardBlock, MultiHeadAttention
        >>> attentions = MultiHeadAttention(8, 2), MultiHeadAttention(8, 2)
        >>> layer = DecoderLayer(*attentions, FeedForwardBlock(8, 32, 0.1), 8, 0.1)
        >>> outputs, state = layer(torch.zeros(2, 3, 8), None, None)
        >>> outputs.shape
        torch.Size([2, 3, 8])
    """

    shares_memory = True

    def forward(
        self,
        x: Float[Tensor, "batch target d_model"],
        memory: Memory | None,
        state: LayerState | None,
    ) -> tuple[Float[Tensor, "batch target d_model"], LayerState]:
        """Apply causal self-attention, cross-attention and the feed-forward block."""
        past, source = self.unpack_state(memory, state)
        attn_out, past = self.self_attention.causal_self_attention(x, past)
        x = self.norm_self_attention(x + self.dropout(attn_out))
        if memory is not None and source is not None:
            attn_out = self.attend_to_source(x, memory, source)
            x = self.norm_cross_attention(x + self.dropout(attn_out))
        x = self.norm_feedforward(x + self.dropout(self.feedforward(x)))
        return x, LayerState(past, source)


class PreNormDecoderLayer(_DecoderBlock):
    """The right block of figure 1, normalised before each part (Xiong et al. 2020, figure 1b).

    Arguments as in `DecoderLayer`.

    Examples:
        >>> import torch
        >>> from seqlearn.nn import FeedForwardBlock, MultiHeadAttention
        >>> attentions = MultiHeadAttention(8, 2), MultiHeadAttention(8, 2)
        >>> layer = PreNormDecoderLayer(*attentions, FeedForwardBlock(8, 32, 0.1), 8, 0.1)
        >>> outputs, state = layer(torch.zeros(2, 3, 8), None, None)
        >>> outputs.shape
        torch.Size([2, 3, 8])
    """

    shares_memory = True

    def forward(
        self,
        x: Float[Tensor, "batch target d_model"],
        memory: Memory | None,
        state: LayerState | None,
    ) -> tuple[Float[Tensor, "batch target d_model"], LayerState]:
        """Apply causal self-attention, cross-attention and the feed-forward block."""
        past, source = self.unpack_state(memory, state)
        y = self.norm_self_attention(x)
        attn_out, past = self.self_attention.causal_self_attention(y, past)
        x = x + self.dropout(attn_out)
        if memory is not None and source is not None:
            y = self.norm_cross_attention(x)
            x = x + self.dropout(self.attend_to_source(y, memory, source))
        x = x + self.dropout(self.feedforward(self.norm_feedforward(x)))
        return x, LayerState(past, source)


def _emit_positions(positions: nn.Module, inputs: Tensor, start: int, axes: Axes) -> None:
    """Report what is added to the embeddings: what becomes of embeddings that are zero."""
    emit("positions", positions, lambda: positions(torch.zeros_like(inputs), start), axes)


class TransformerEncoder(nn.Module):
    """The left half of figure 1 of Vaswani et al. 2017.

    Args:
        positions: Adds positions to the embeddings; see `make_position_encoding`.
        layers: `EncoderLayer`s, from the input up.
        norm: The last normalisation of pre-norm, or `None`.
        dropout: Probability with which a number of the sum of embedding and position is zeroed.

    Raises:
        TypeError: If `positions` is not a module, or `layers` not a list.

    Examples:
        >>> import torch
        >>> from seqlearn.nn import FeedForwardBlock, MultiHeadAttention, SinusoidalPositions
        >>> layer = EncoderLayer(MultiHeadAttention(8, 2), FeedForwardBlock(8, 32, 0.1), 8, 0.1)
        >>> encoder = TransformerEncoder(SinusoidalPositions(), [layer])
        >>> encoder(torch.zeros(2, 3, 8), torch.ones(2, 3, dtype=torch.bool)).states.shape
        torch.Size([2, 3, 8])
    """

    def __init__(
        self,
        positions: nn.Module,
        layers: Sequence[nn.Module],
        norm: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not isinstance(positions, nn.Module) or not isinstance(layers, Sequence | nn.ModuleList):
            raise TypeError(
                "expected (positions, layers): a module and a list of layers, got "
                f"{type(positions).__name__} and {type(layers).__name__}"
            )
        self.positions = positions
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(
        self, inputs: Float[Tensor, "batch source d_model"], mask: Bool[Tensor, "batch source"]
    ) -> Memory:
        """Encode embedded tokens; `mask` is True where a position is real."""
        x = self.dropout(self.positions(inputs, 0))
        _emit_positions(self.positions, inputs, 0, ("source",))
        for layer in self.layers:
            x = layer(x, mask)
            emit("states", layer, x, ("source",))
        x = x if self.norm is None else self.norm(x)
        real = x * mask[..., None]
        return Memory(x, mask, real.sum(1) / mask.sum(1, keepdim=True))


class TransformerState(NamedTuple):
    """The state of the decoder.

    Attributes:
        position: Number of tokens decoded so far.
        layers: The state of each layer.
    """

    position: int
    layers: list[LayerState]


class TransformerDecoder(nn.Module):
    """The right half of figure 1 of Vaswani et al. 2017; without a memory, a language model.

    Args:
        positions: Adds positions to the embeddings; see `make_position_encoding`.
        layers: `DecoderLayer`s, from the input up.
        norm: The last normalisation of pre-norm, or `None`.
        dropout: Probability with which a number of the sum of embedding and position is zeroed.

    Raises:
        TypeError: If `positions` is not a module, or `layers` not a list.

    Examples:
        >>> import torch
        >>> from seqlearn.nn import FeedForwardBlock, MultiHeadAttention, SinusoidalPositions
        >>> attentions = MultiHeadAttention(8, 2), MultiHeadAttention(8, 2)
        >>> layer = DecoderLayer(*attentions, FeedForwardBlock(8, 32, 0.1), 8, 0.1)
        >>> outputs, state = TransformerDecoder(SinusoidalPositions(), [layer])(
        ...     torch.zeros(2, 3, 8), memory=None
        ... )
        >>> outputs.shape
        torch.Size([2, 3, 8])
    """

    def __init__(
        self,
        positions: nn.Module,
        layers: Sequence[nn.Module],
        norm: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not isinstance(positions, nn.Module) or not isinstance(layers, Sequence | nn.ModuleList):
            raise TypeError(
                "expected (positions, layers): a module and a list of layers, got "
                f"{type(positions).__name__} and {type(layers).__name__}"
            )
        self.positions = positions
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    @property
    def shares_memory(self) -> bool:
        """Whether all layers accept a memory with one row per source; see `Decoder`."""
        return all(shares_memory(layer) for layer in self.layers)

    def forward(
        self,
        inputs: Float[Tensor, "batch target d_model"],
        memory: Memory | None,
        state: TransformerState | None = None,
    ) -> tuple[Float[Tensor, "batch target d_model"], TransformerState]:
        """Compute one vector per token, from which the next token is predicted.

        Args:
            inputs: The new tokens, embedded.
            memory: The encoded source, or `None`.
            state: The state returned by the previous call, which is consumed; `None` in the first
                call.
        """
        position = 0 if state is None else state.position
        states = [None] * len(self.layers) if state is None else state.layers
        x = self.dropout(self.positions(inputs, position))
        _emit_positions(self.positions, inputs, position, ("target",))
        new_states = []
        for layer, layer_state in zip(self.layers, states, strict=True):
            x, new_state = layer(x, memory, layer_state)
            emit("states", layer, x, ("target",))
            new_states.append(new_state)
        x = x if self.norm is None else self.norm(x)
        return x, TransformerState(position + inputs.shape[1], new_states)

    def source_modules(self) -> list[nn.Module]:
        """The parts that are not used without a source; see `Decoder`."""
        parts = ("cross_attention", "norm_cross_attention")
        named = self.layers.named_modules()
        return [part for name, part in named if name.rpartition(".")[2] in parts]
