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
- `positions="learned"` adds a learned row for each position (Gehring et al. 2017), to embeddings
  that are then not multiplied by √d_model, as in GPT-2; `"rotary"` adds nothing, but turns the
  queries and keys of self-attention by their positions (Su et al. 2021), and keeps the √d_model.
- `activation="gelu"` has the exact x·Φ(x) (Hendrycks & Gimpel 2016) in place of max(0, x).
- The paper always shares one matrix between both embeddings and the output; here that is
  `tie_embeddings=True` (with a joint vocabulary), and an output bias stays.
- `Memory.pooled` (the mean of the encoder's states) is there for class and vector targets; the
  decoder does not look at it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from seqlearn.batch import Memory
from seqlearn.core.base import SequenceModule
from seqlearn.core.recipe import Recipe
from seqlearn.instrumentation import emit
from seqlearn.nn import (
    Dropout,
    KeyValue,
    KeyValueCache,
    MultiHeadAttention,
    Positions,
    make_position_encoding,
)
from seqlearn.plain_data import check_whole_number
from seqlearn.spec import SequenceSpec, TextSpec

Activation = Literal["relu", "gelu"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
}


class FeedForwardBlock(nn.Module):
    """The same two layers at every position: `max(0, x W_1 + b_1) W_2 + b_2` (equation 2)."""

    def __init__(
        self, d_model: int, d_feedforward: int, dropout: float, activation: Activation
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"expected activation 'relu' or 'gelu', got {activation!r}")
        d_feedforward = check_whole_number(d_feedforward, "d_feedforward", 1)
        self.activation = ACTIVATIONS[activation]
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
        return self.outer(self.dropout(self.activation(self.inner(inputs))))


class EncoderLayer(nn.Module):
    """The left block of figure 1, normalised after each sum."""

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_feedforward: int,
        dropout: float,
        activation: Activation,
        *,
        rotary: bool,
    ) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, num_heads, dropout, rotary=rotary)
        self.norm_self_attention = nn.LayerNorm(d_model)
        self.feedforward = FeedForwardBlock(d_model, d_feedforward, dropout, activation)
        self.norm_feedforward = nn.LayerNorm(d_model)
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch source d_model"], mask: Bool[Tensor, "batch source"]
    ) -> Float[Tensor, "batch source d_model"]:
        """Look around, then think at each position."""
        x = self.norm_self_attention(x + self.dropout(self.self_attention(x, mask)))
        return self.norm_feedforward(x + self.dropout(self.feedforward(x)))


class PreNormEncoderLayer(EncoderLayer):
    """The left block of figure 1, normalised before each part (Xiong et al. 2020, figure 1b)."""

    def forward(
        self, x: Float[Tensor, "batch source d_model"], mask: Bool[Tensor, "batch source"]
    ) -> Float[Tensor, "batch source d_model"]:
        """Look around, then think at each position."""
        x = x + self.dropout(self.self_attention(self.norm_self_attention(x), mask))
        return x + self.dropout(self.feedforward(self.norm_feedforward(x)))


class LayerState(NamedTuple):
    """What one decoder layer carries: its own past, and the source as projected for it."""

    past: KeyValueCache
    source: KeyValue | None


class DecoderLayer(nn.Module):
    """The right block of figure 1, normalised after each sum."""

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_feedforward: int,
        dropout: float,
        activation: Activation,
        *,
        rotary: bool,
    ) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, num_heads, dropout, rotary=rotary)
        self.norm_self_attention = nn.LayerNorm(d_model)
        self.cross_attention = MultiHeadAttention(d_model, num_heads, dropout)
        self.norm_cross_attention = nn.LayerNorm(d_model)
        self.feedforward = FeedForwardBlock(d_model, d_feedforward, dropout, activation)
        self.norm_feedforward = nn.LayerNorm(d_model)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "batch target d_model"],
        memory: Memory | None,
        state: LayerState | None,
    ) -> tuple[Float[Tensor, "batch target d_model"], LayerState]:
        """Look back, look at the source (if there is one), then think at each position."""
        past, source = self.unpack_state(memory, state)
        attn_out, past = self.self_attention.causal_self_attention(x, past)
        x = self.norm_self_attention(x + self.dropout(attn_out))
        if memory is not None and source is not None:
            attn_out = self.cross_attention.cross_attention(x, source, memory.mask)
            x = self.norm_cross_attention(x + self.dropout(attn_out))
        x = self.norm_feedforward(x + self.dropout(self.feedforward(x)))
        return x, LayerState(past, source)

    def unpack_state(
        self, memory: Memory | None, state: LayerState | None
    ) -> tuple[KeyValueCache | None, KeyValue | None]:
        """The past and the projected source; the source is projected at the first call alone."""
        if state is not None:
            return state.past, state.source
        return None, None if memory is None else self.cross_attention.project_memory(memory.states)


class PreNormDecoderLayer(DecoderLayer):
    """The right block of figure 1, normalised before each part (Xiong et al. 2020, figure 1b)."""

    def forward(
        self,
        x: Float[Tensor, "batch target d_model"],
        memory: Memory | None,
        state: LayerState | None,
    ) -> tuple[Float[Tensor, "batch target d_model"], LayerState]:
        """Look back, look at the source (if there is one), then think at each position."""
        past, source = self.unpack_state(memory, state)
        attn_out, past = self.self_attention.causal_self_attention(
            self.norm_self_attention(x), past
        )
        x = x + self.dropout(attn_out)
        if memory is not None and source is not None:
            x = x + self.dropout(
                self.cross_attention.cross_attention(
                    self.norm_cross_attention(x), source, memory.mask
                )
            )
        x = x + self.dropout(self.feedforward(self.norm_feedforward(x)))
        return x, LayerState(past, source)


class TransformerEncoder(nn.Module):
    """The left half of figure 1.

    Args:
        positions: Adds positions to the embeddings.
        layers: The blocks, from the input up.
        norm: The last normalisation of pre-norm, or `None`.
        dropout: Of the sum of embedding and position.
    """

    def __init__(
        self,
        positions: nn.Module,
        layers: list[EncoderLayer],
        norm: nn.Module | None,
        dropout: float,
    ) -> None:
        super().__init__()
        self.positions = positions
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(
        self, inputs: Float[Tensor, "batch source d_model"], mask: Bool[Tensor, "batch source"]
    ) -> Memory:
        """Read embedded tokens, of which those are real where `mask` is True."""
        x = self.dropout(self.positions(inputs, 0))
        for layer in self.layers:
            x = layer(x, mask)
            emit("states", layer, x, ("source",))
        x = x if self.norm is None else self.norm(x)
        real = x * mask[..., None]
        return Memory(x, mask, real.sum(1) / mask.sum(1, keepdim=True))


class TransformerState(NamedTuple):
    """What the decoder carries: how many tokens it has read, and each layer's state."""

    position: int
    layers: list[LayerState]


class TransformerDecoder(nn.Module):
    """The right half of figure 1; without a memory, a language model.

    Args:
        positions: Adds positions to the embeddings.
        layers: The blocks, from the input up.
        norm: The last normalisation of pre-norm, or `None`.
        dropout: Of the sum of embedding and position.
    """

    def __init__(
        self,
        positions: nn.Module,
        layers: list[DecoderLayer],
        norm: nn.Module | None,
        dropout: float,
    ) -> None:
        super().__init__()
        self.positions = positions
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
        x = self.dropout(self.positions(inputs, position))
        new_states = []
        for layer, layer_state in zip(self.layers, states, strict=True):
            x, new_state = layer(x, memory, layer_state)
            emit("states", layer, x, ("target",))
            new_states.append(new_state)
        x = x if self.norm is None else self.norm(x)
        return x, TransformerState(position + inputs.shape[1], new_states)


def max_positions(spec: SequenceSpec) -> tuple[int, int]:
    """How many positions are learned in the source and in the target, if they are.

    As many as the longest source seen has tokens; and in the target the start symbol, a prompt as
    long as the longest target seen, and all that `generate` adds by default.
    """
    source, target = (
        max(1, side.max_length) if isinstance(side, TextSpec) else 1
        for side in (spec.source, spec.target)
    )
    return source, 1 + target + max(8, 2 * target)


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
        positions: `"sinusoidal"`, as in the paper, and `"rotary"` serve any length; `"learned"`
            as many positions as `max_positions` says (in the source the longest text seen, in the
            target three times that), and refuses more.
        activation: Of the feed-forward networks: `"relu"`, as in the paper, or `"gelu"`.
        tie_embeddings: Share one matrix between the target's embedding, the output layer and,
            with a joint vocabulary, the source's embedding.
        recipe: How to train.

    Raises:
        ValueError: If `num_heads` does not divide `d_model` (into even widths, if rotary), a size
            is not positive, or `norm`, `positions` or `activation` is none of those named.

    Source: Vaswani et al. 2017; Xiong et al. 2020 for `norm="pre"`; Su et al. 2021 for rotary
    positions. `norm="pre", positions="learned", activation="gelu", tie_embeddings=True` without a
    source is GPT-2 (Radford et al. 2019).
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
        positions: Positions = "sinusoidal",
        activation: Activation = "relu",
        tie_embeddings: bool = False,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(spec, d_model=d_model, tie_embeddings=tie_embeddings, recipe=recipe)
        num_layers = check_whole_number(num_layers, "num_layers", 1)
        if norm not in ("post", "pre"):
            raise ValueError(f"expected norm 'post' or 'pre', got {norm!r}")
        inner = 4 * d_model if d_feedforward is None else d_feedforward
        sizes = (d_model, num_heads, inner, dropout, activation)
        rotary = positions == "rotary"
        source, target = max_positions(spec)
        encoder_layer, decoder_layer = (
            (EncoderLayer, DecoderLayer)
            if norm == "post"
            else (PreNormEncoderLayer, PreNormDecoderLayer)
        )
        last = (nn.LayerNorm(d_model), nn.LayerNorm(d_model)) if norm == "pre" else (None, None)
        self.encoder = TransformerEncoder(
            make_position_encoding(positions, d_model, source),
            [encoder_layer(*sizes, rotary=rotary) for _ in range(num_layers)],
            last[0],
            dropout,
        )
        self.decoder = TransformerDecoder(
            make_position_encoding(positions, d_model, target),
            [decoder_layer(*sizes, rotary=rotary) for _ in range(num_layers)],
            last[1],
            dropout,
        )
        if spec.source is None:  # nothing to look at: no gradients that other ranks would wait for
            for name, part in self.decoder.named_modules():
                if name.endswith(("cross_attention", "norm_cross_attention")):
                    part.requires_grad_(requires_grad=False)
