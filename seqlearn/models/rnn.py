"""The recurrent network (Elman 1990, figure 2): a state that is carried through time.

         ┌────────── W_hh ──────────┐
         ▼                          │
    h_{t-1} ──► [ tanh(W x_t + U h_{t-1} + b) ] ──► h_t ──► next layer, decoder, head
                        ▲
                       x_t

It takes sequences of any length, one step after another. The state passes through U and tanh at
every step, so gradients vanish (or explode) with distance.

Departures from the paper: gradients flow through all steps, not one; layers may be stacked and the
encoder bidirectional; one context vector connects source and target
(`nn/recurrent_encoder_decoder.py`).
"""

from __future__ import annotations

from typing import Unpack

from seqlearn.core.base import SequenceModule
from seqlearn.core.hparams import BaseOptions
from seqlearn.nn import RecurrentDecoder, RecurrentEncoder, RNNLayer, stack_layers
from seqlearn.spec import SequenceSpec


class RNN(SequenceModule):
    """The tanh RNN, for every task; sequence to sequence goes through one context vector.

    Args:
        spec: The types of source and target, such as `data.spec`.
        d_model: Width of embeddings, states, context vector and outputs; even if `bidirectional`.
        num_layers: Number of layers of the encoder, and of the decoder.
        bidirectional: Whether the encoder is bidirectional, `d_model // 2` wide per direction.
        dropout: Dropout probability between layers, in training.
        base: `recipe`, `generation` and `tie_embeddings`; see `SequenceModule`.

    Raises:
        ValueError: If `num_layers` is below one, or `d_model` is odd and the encoder bidirectional.

    Source: Elman 1990.

    Examples:
        >>> import seqlearn as sl
        >>> spec = sl.SequenceSpec(sl.TextSpec(9, 4), sl.ClassesSpec(("no", "yes")))
        >>> model = sl.RNN(spec, d_model=8)  # with data: sl.RNN(data.spec)
        >>> labels, probabilities = model.classify([[4, 5, 6], [7]])
        >>> probabilities.shape
        torch.Size([2, 2])
    """

    def __init__(
        self,
        spec: SequenceSpec,
        *,
        d_model: int = 256,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.2,
        **base: Unpack[BaseOptions],
    ) -> None:
        super().__init__(spec, d_model=d_model, **base)
        self.encoder = RecurrentEncoder(
            stack_layers(RNNLayer, d_model, num_layers, bidirectional=bidirectional),
            d_model,
            dropout,
        )
        self.decoder = RecurrentDecoder(
            stack_layers(RNNLayer, d_model, num_layers), d_model, dropout
        )
