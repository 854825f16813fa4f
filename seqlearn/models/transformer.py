"""The Transformer (Vaswani et al. 2017, figure 1): attention alone, all positions in parallel.

                                              next token
                                                  │
                                               [ head ]
                                                  │
     memory ──────────────────────┐          [ LayerNorm ]  (pre-norm only)
        │                         │               │
   [ LayerNorm ] (pre-norm only)  │          ┌─ feed-forward ─┐
        │                         └───────►  ├─ cross ────────┤  × num_layers
   ┌─ feed-forward ─┐                        ├─ attention ────┤  (looks back only)
   ├─ attention ────┤  × num_layers          └───────┬────────┘
   └───────┬────────┘                                │
   √d · embedding + position                 √d · embedding + position
           │                                         │
        source                                 target so far

Departures from the paper:

- `norm="pre"` normalises before each part instead of after the sum (Xiong et al. 2020), with one
  more normalisation at the end; `"post"` is the paper's.
- Attention weights and the inner layer of the feed-forward network are dropped too, as in the
  authors' own code.
- The paper always shares one matrix between both embeddings and the output; here that is
  `tie_embeddings=True` (with a joint vocabulary), and an output bias stays.
- `Memory.summary` (the mean of the encoder's states) is there for class and vector targets; the
  decoder does not look at it.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn

from seqlearn.batch import Memory
from seqlearn.models.base import SequenceModule
from seqlearn.models.recipe import Recipe
from seqlearn.nn import Dropout, KeyValue, KeyValueCache, MultiHeadAttention, sinusoidal
from seqlearn.spec import SequenceSpec


class FeedForwardBlock(nn.Module):
    """The same two layers at every position: `max(0, x W_1 + b_1) W_2 + b_2` (equation 2)."""

    def __init__(self, d_model: int, d_feedforward: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(d_model, d_feedforward)
        self.dropout = Dropout(dropout)
        self.outer = nn.Linear(d_feedforward, d_model)
        for layer in (self.inner, self.outer):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, inputs: Float[Tensor, "batch time d_model"]
    ) -> Float[Tensor, "batch time d_model"]:
        """Work on every position alone."""
        return self.outer(self.dropout(self.inner(inputs).relu()))


class EncoderLayer(nn.Module):
    """The left block of figure 1, normalised after each sum."""

    def __init__(self, d_model: int, num_heads: int, d_feedforward: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, num_heads, dropout)
        self.norm_attention = nn.LayerNorm(d_model)
        self.feedforward = FeedForwardBlock(d_model, d_feedforward, dropout)
        self.norm_feedforward = nn.LayerNorm(d_model)
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch source d_model"], mask: Bool[Tensor, "batch source"]
    ) -> Float[Tensor, "batch source d_model"]:
        """Look around, then think at each position."""
        x = self.norm_attention(x + self.dropout(self.attention(x, mask)))
        return self.norm_feedforward(x + self.dropout(self.feedforward(x)))


class PreNormEncoderLayer(EncoderLayer):
    """The left block of figure 1, normalised before each part (Xiong et al. 2020, figure 1b)."""

    def forward(
        self, x: Float[Tensor, "batch source d_model"], mask: Bool[Tensor, "batch source"]
    ) -> Float[Tensor, "batch source d_model"]:
        """Look around, then think at each position."""
        x = x + self.dropout(self.attention(self.norm_attention(x), mask))
        return x + self.dropout(self.feedforward(self.norm_feedforward(x)))


class LayerState(NamedTuple):
    """What one decoder layer carries: its own past, and the source as projected for it."""

    past: KeyValueCache
    source: KeyValue | None


class DecoderLayer(nn.Module):
    """The right block of figure 1, normalised after each sum."""

    def __init__(self, d_model: int, num_heads: int, d_feedforward: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, num_heads, dropout)
        self.norm_attention = nn.LayerNorm(d_model)
        self.cross = MultiHeadAttention(d_model, num_heads, dropout)
        self.norm_cross = nn.LayerNorm(d_model)
        self.feedforward = FeedForwardBlock(d_model, d_feedforward, dropout)
        self.norm_feedforward = nn.LayerNorm(d_model)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "batch target d_model"],
        memory: Memory | None,
        state: LayerState | None,
    ) -> tuple[Float[Tensor, "batch target d_model"], LayerState]:
        """Look back, look at the source (if there is one), then think at each position."""
        past, source = self.recall(memory, state)
        looked, past = self.attention.look_back(x, past)
        x = self.norm_attention(x + self.dropout(looked))
        if memory is not None and source is not None:
            looked = self.cross.look_at(x, source, memory.mask)
            x = self.norm_cross(x + self.dropout(looked))
        x = self.norm_feedforward(x + self.dropout(self.feedforward(x)))
        return x, LayerState(past, source)

    def recall(
        self, memory: Memory | None, state: LayerState | None
    ) -> tuple[KeyValueCache | None, KeyValue | None]:
        """The past and the projected source; the source is projected at the first call alone."""
        if state is not None:
            return state.past, state.source
        return None, None if memory is None else self.cross.read(memory.states)


class PreNormDecoderLayer(DecoderLayer):
    """The right block of figure 1, normalised before each part (Xiong et al. 2020, figure 1b)."""

    def forward(
        self,
        x: Float[Tensor, "batch target d_model"],
        memory: Memory | None,
        state: LayerState | None,
    ) -> tuple[Float[Tensor, "batch target d_model"], LayerState]:
        """Look back, look at the source (if there is one), then think at each position."""
        past, source = self.recall(memory, state)
        looked, past = self.attention.look_back(self.norm_attention(x), past)
        x = x + self.dropout(looked)
        if memory is not None and source is not None:
            x = x + self.dropout(self.cross.look_at(self.norm_cross(x), source, memory.mask))
        x = x + self.dropout(self.feedforward(self.norm_feedforward(x)))
        return x, LayerState(past, source)


class TransformerEncoder(nn.Module):
    """The left half of figure 1.

    Args:
        layers: The blocks, from the input up.
        norm: The last normalisation of pre-norm, or `None`.
        dropout: Of the sum of embedding and position.
    """

    def __init__(self, layers: list[EncoderLayer], norm: nn.Module | None, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(
        self, inputs: Float[Tensor, "batch source d_model"], mask: Bool[Tensor, "batch source"]
    ) -> Memory:
        """Read embedded tokens, of which those are real where `mask` is True."""
        x = self.dropout(with_positions(inputs, 0))
        for layer in self.layers:
            x = layer(x, mask)
        x = x if self.norm is None else self.norm(x)
        real = x * mask[..., None]
        return Memory(x, mask, real.sum(1) / mask.sum(1, keepdim=True).clamp(min=1))


class TransformerState(NamedTuple):
    """What the decoder carries: how many tokens it has read, and each layer's state."""

    position: int
    layers: list[LayerState]


class TransformerDecoder(nn.Module):
    """The right half of figure 1; without a memory, a language model.

    Args:
        layers: The blocks, from the input up.
        norm: The last normalisation of pre-norm, or `None`.
        dropout: Of the sum of embedding and position.
    """

    def __init__(self, layers: list[DecoderLayer], norm: nn.Module | None, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(
        self,
        inputs: Float[Tensor, "batch target d_model"],
        memory: Memory | None,
        state: TransformerState | None = None,
    ) -> tuple[Float[Tensor, "batch target d_model"], TransformerState]:
        """Answer each embedded token with a vector from which the next token is read.

        Args:
            inputs: The new tokens, embedded.
            memory: The source, or `None`.
            state: What the call before returned; consumed. `None` at the start.
        """
        position = 0 if state is None else state.position
        states = [None] * len(self.layers) if state is None else state.layers
        x = self.dropout(with_positions(inputs, position))
        new_states = []
        for layer, layer_state in zip(self.layers, states, strict=True):
            x, new_state = layer(x, memory, layer_state)
            new_states.append(new_state)
        x = x if self.norm is None else self.norm(x)
        return x, TransformerState(position + inputs.shape[1], new_states)


def with_positions(
    inputs: Float[Tensor, "batch time d_model"], start: int
) -> Float[Tensor, "batch time d_model"]:
    """√d_model times the embeddings, plus their positions from `start` (sections 3.4 and 3.5)."""
    _, time, d_model = inputs.shape
    positions = sinusoidal(start, time, d_model, inputs.device)
    return inputs * math.sqrt(d_model) + positions.to(inputs.dtype)


class Transformer(SequenceModule):
    """The Transformer, for every shape.

    Args:
        spec: What goes in and what comes out, such as `data.spec`.
        d_model: Width of embeddings, states and answers; `num_heads` must divide it.
        num_layers: Blocks in the encoder, and in the decoder.
        num_heads: Attentions side by side in each block.
        d_feedforward: Width of the feed-forward networks' inner layer; 4 × `d_model` by default.
        dropout: Share of what is dropped in training.
        norm: `"post"` normalises after each sum, as the paper does; `"pre"` before each part.
        tie_embeddings: Share one matrix between the target's embedding, the output layer and,
            with a joint vocabulary, the source's embedding.
        recipe: How to train.

    Raises:
        ValueError: If `num_heads` does not divide `d_model`, a size is not positive, or `norm` is
            neither `"post"` nor `"pre"`.

    Source: Vaswani et al. 2017; Xiong et al. 2020 for `norm="pre"`.
    """

    def __init__(
        self,
        spec: SequenceSpec,
        *,
        d_model: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        d_feedforward: int | None = None,
        dropout: float = 0.1,
        norm: Literal["post", "pre"] = "post",
        tie_embeddings: bool = False,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(spec, d_model=d_model, tie_embeddings=tie_embeddings, recipe=recipe)
        if num_layers < 1:
            raise ValueError(f"expected at least one layer, got num_layers={num_layers}")
        if norm not in ("post", "pre"):
            raise ValueError(f"expected norm 'post' or 'pre', got {norm!r}")
        inner = 4 * d_model if d_feedforward is None else d_feedforward
        if inner < 1:
            raise ValueError(f"expected a d_feedforward of at least 1, got {inner}")
        sizes = (d_model, num_heads, inner, dropout)
        reading, writing = (
            (EncoderLayer, DecoderLayer)
            if norm == "post"
            else (PreNormEncoderLayer, PreNormDecoderLayer)
        )
        last = (nn.LayerNorm(d_model), nn.LayerNorm(d_model)) if norm == "pre" else (None, None)
        self.encoder = TransformerEncoder(
            [reading(*sizes) for _ in range(num_layers)], last[0], dropout
        )
        self.decoder = TransformerDecoder(
            [writing(*sizes) for _ in range(num_layers)], last[1], dropout
        )
        if spec.source is None:  # nothing to look at: no gradients that other ranks would wait for
            for name, part in self.decoder.named_modules():
                if name.endswith(("cross", "norm_cross")):
                    part.requires_grad_(requires_grad=False)
