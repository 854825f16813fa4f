"""The Transformer (Vaswani et al. 2017, figure 1): attention only, all positions in parallel.

                                              next token
                                                  │
                                               [ head ]
                                                  │
     memory ──────────────────────┐          [ LayerNorm ]  (pre-norm only)
        │                         │               │
   [ LayerNorm ] (pre-norm only)  │          ┌─ feed-forward ─┐
        │                         └───────►  ├─ cross ────────┤  × num_layers
   ┌─ feed-forward ─┐                        ├─ attention ────┤  (causal)
   ├─ attention ────┤  × num_layers          └───────┬────────┘
   └───────┬────────┘                                │
   √d · embedding + position                 √d · embedding + position
           │                                         │
        source                                 target so far

Departures from the paper:

- `norm="pre"` normalizes before each sublayer instead of after the sum (Xiong et al. 2020), with
  one more normalization at the end; `"post"` is the paper's.
- Dropout is also applied to attention weights and to the inner layer of the feed-forward network,
  as in the authors' code; `attention_dropout=0, activation_dropout=0` is what the paper describes.
- `positions="learned"` adds a learned vector for each position (Gehring et al. 2017), to embeddings
  that are then not multiplied by √d_model, as in GPT-2; `"rotary"` adds nothing, but rotates the
  queries and keys of self-attention by their positions (Su et al. 2021), and keeps the √d_model.
- `activation="gelu"` is the exact x·Φ(x) (Hendrycks & Gimpel 2016) instead of max(0, x).
- The paper always shares one matrix between both embeddings and the output layer; here that is
  `tie_embeddings=True` (with a joint vocabulary), and the output layer has a bias.
- `Memory.pooled` (the mean of the encoder's states) serves class and vector targets; the decoder
  does not use it.
"""

from __future__ import annotations

from typing import Literal, Unpack

from torch import nn

from seqlearn.core.base import SequenceModule
from seqlearn.core.generation_config import default_max_new_tokens
from seqlearn.core.hparams import BaseOptions
from seqlearn.nn import (
    ActivationFunction,
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
    """The number of learned positions of source and target.

    For the source it is the length of the longest source. For the target it is START, a
    prompt as long as the longest target, and all tokens that `generate` adds by default.
    """
    source = 1 if spec.source is None else spec.source.longest
    target = spec.target.longest
    return source, 1 + target + default_max_new_tokens(target)


class Transformer(SequenceModule):
    """The Transformer, for every task.

    Args:
        spec: The types of source and target, such as `data.spec`.
        d_model: Width of embeddings, states and outputs; a multiple of `num_heads`.
        num_layers: Number of layers of the encoder, and of the decoder.
        num_heads: Attention heads of each layer.
        d_feedforward: Inner width of the feed-forward blocks; 4 × `d_model` by default.
        dropout: Dropout probability in training: of the embeddings, and of each sublayer's output
            before it is added.
        attention_dropout: Dropout probability of the attention weights; `dropout` by default.
        activation_dropout: Dropout probability of the inner layer of the feed-forward blocks;
            `dropout` by default. With 0 for both of these, dropout is that of the paper.
        norm: `"post"` normalizes after each sum, as in the paper; `"pre"` before each sublayer.
        positions: `"sinusoidal"`, as in the paper, and `"rotary"` have no maximum length;
            `"learned"` has as many positions as `max_positions` returns (for the source the longest
            text, for the target about three times that), and longer ones are an error.
        activation: Activation of the feed-forward blocks: `"relu"`, as in the paper, or `"gelu"`.
        base: `recipe`, `generation` and `tie_embeddings`; see `SequenceModule`.

    Raises:
        ValueError: If `num_heads` does not divide `d_model` (into even widths, if rotary), a size
            is not positive, a dropout is not at least 0 and below 1, or `norm`, `positions` or
            `activation` is not one of those named.

    Source: Vaswani et al. 2017; Xiong et al. 2020 for `norm="pre"`; Su et al. 2021 for rotary
    positions. `norm="pre", positions="learned", activation="gelu", tie_embeddings=True` without a
    source is GPT-2 (Radford et al. 2019).

    Examples:
        >>> import seqlearn as sl
        >>> spec = sl.SequenceSpec(sl.TextSpec(9, 4), sl.TextSpec(9, 4))
        >>> model = sl.Transformer(spec, d_model=8, num_layers=1, num_heads=2)
        >>> with sl.record(model) as recording:
        ...     texts = model.generate([[4, 5, 6]], max_new_tokens=5)
        >>> recording.attention["encoder.layers.0.self_attention"].shape  # batch heads query key
        torch.Size([1, 2, 3, 3])
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
        attention_dropout: float | None = None,
        activation_dropout: float | None = None,
        norm: Literal["post", "pre"] = "post",
        positions: Positions = "sinusoidal",
        activation: ActivationFunction = "relu",
        **base: Unpack[BaseOptions],
    ) -> None:
        super().__init__(spec, d_model=d_model, **base)
        num_layers = check_whole_number(num_layers, "num_layers", 1)
        if norm not in ("post", "pre"):
            raise ValueError(f"expected norm 'post' or 'pre', got {norm!r}")
        d_feedforward = 4 * d_model if d_feedforward is None else d_feedforward
        source, target = max_positions(spec)
        of_weights = dropout if attention_dropout is None else attention_dropout
        of_inner = dropout if activation_dropout is None else activation_dropout
        rotary = positions == "rotary"
        pre = norm == "pre"

        def attention(*, rotary: bool = False) -> MultiHeadAttention:
            return MultiHeadAttention(d_model, num_heads, of_weights, rotary=rotary)

        def feedforward() -> FeedForwardBlock:
            return FeedForwardBlock(d_model, d_feedforward, of_inner, activation)

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
