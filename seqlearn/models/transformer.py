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

from typing import Literal, Unpack

from torch import nn

from seqlearn.core.base import SequenceModule
from seqlearn.core.hparams import BaseOptions
from seqlearn.nn import (
    Activation,
    DecoderLayer,
    EncoderLayer,
    FeedForwardBlock,
    MultiHeadAttention,
    Positions,
    PreNormDecoderLayer,
    PreNormEncoderLayer,
    TransformerDecoder,
    TransformerEncoder,
    make_position_encoding,
)
from seqlearn.plain_data import check_whole_number
from seqlearn.spec import SequenceSpec


def max_positions(spec: SequenceSpec) -> tuple[int, int]:
    """How many positions are learned in the source and in the target, if they are.

    As many as the longest source seen has tokens; and in the target the start symbol, a prompt as
    long as the longest target seen, and all that `generate` adds by default.
    """
    source = 1 if spec.source is None else spec.source.longest
    target = spec.target.longest
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
        base: `recipe`, `generation` and `tie_embeddings`; see `SequenceModule`.

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
        **base: Unpack[BaseOptions],
    ) -> None:
        super().__init__(spec, d_model=d_model, **base)
        num_layers = check_whole_number(num_layers, "num_layers", 1)
        if norm not in ("post", "pre"):
            raise ValueError(f"expected norm 'post' or 'pre', got {norm!r}")
        d_feedforward = 4 * d_model if d_feedforward is None else d_feedforward
        source, target = max_positions(spec)
        rotary = positions == "rotary"
        pre = norm == "pre"

        def attention(*, rotary: bool = False) -> MultiHeadAttention:
            return MultiHeadAttention(d_model, num_heads, dropout, rotary=rotary)

        def feedforward() -> FeedForwardBlock:
            return FeedForwardBlock(d_model, d_feedforward, dropout, activation)

        encoder_layer = PreNormEncoderLayer if pre else EncoderLayer
        decoder_layer = PreNormDecoderLayer if pre else DecoderLayer
        self.encoder = TransformerEncoder(
            make_position_encoding(positions, d_model, source),
            [
                encoder_layer(attention(rotary=rotary), feedforward(), d_model, dropout)
                for _ in range(num_layers)
            ],
            nn.LayerNorm(d_model) if pre else None,
            dropout,
        )
        self.decoder = TransformerDecoder(
            make_position_encoding(positions, d_model, target),
            [
                decoder_layer(
                    attention(rotary=rotary), attention(), feedforward(), d_model, dropout
                )
                for _ in range(num_layers)
            ],
            nn.LayerNorm(d_model) if pre else None,
            dropout,
        )
