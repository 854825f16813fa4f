"""Long short-term memory (Hochreiter & Schmidhuber 1997, figure 1): a path that passes by.

    c_{t-1} ──────[ × f_t ]──────(+)───────────────┬──► c_t
                                  ▲                │
                            [ i_t × g_t ]      [ tanh ]
                                  ▲                │
    h_{t-1} ──► i_t, f_t, o_t = σ(·), g_t = tanh(·) [ × o_t ] ──► h_t ──► next layer, decoder, head
                                  ▲
                                 x_t

The cell c_t is only multiplied by the forget gate and added to: where f_t is one, it and its
gradient pass by untouched.

Departures from the paper: a forget gate (Gers et al. 2000), without which the cell can never let
go; no peepholes; layers may be stacked and the encoder bidirectional; from source to target leads
one context vector (`nn/recurrent_encoder_decoder.py`).
"""

from __future__ import annotations

import functools
from typing import Unpack

from seqlearn.core.base import SequenceModule
from seqlearn.core.hparams import BaseOptions
from seqlearn.nn import LSTMLayer, RecurrentDecoder, RecurrentEncoder, stack_layers
from seqlearn.spec import SequenceSpec


class LSTM(SequenceModule):
    """The LSTM, for every shape; from sequence to sequence, through one context vector.

    Args:
        spec: What goes in and what comes out, such as `data.spec`.
        d_model: Width of embeddings, states, context and answers; even, if `bidirectional`.
        num_layers: Layers of the encoder, and of the decoder.
        bidirectional: Whether the encoder reads in both directions, `d_model // 2` wide each.
        forget_bias: Where the bias of the forget gates starts. From 3 or 4 the cell is kept nearly
            whole from the first step of training on, and what is told once is learnt over tens of
            steps; with 1 such a task may not be learnt at all (see `benchmarks/results/dates.md`).
        dropout: Share of what is dropped between layers, in training.
        base: `recipe`, `generation` and `tie_embeddings`; see `SequenceModule`.

    Raises:
        ValueError: If there is no layer, or `d_model` is odd and the encoder bidirectional.

    Source: Hochreiter & Schmidhuber 1997, section 4; Gers et al. 2000 for the forget gate.
    """

    def __init__(
        self,
        spec: SequenceSpec,
        *,
        d_model: int = 256,
        num_layers: int = 1,
        bidirectional: bool = False,
        forget_bias: float = 1.0,
        dropout: float = 0.2,
        **base: Unpack[BaseOptions],
    ) -> None:
        super().__init__(spec, d_model=d_model, **base)
        make = functools.partial(LSTMLayer, forget_bias=forget_bias)
        layers = stack_layers(make, d_model, num_layers, bidirectional=bidirectional)
        self.encoder = RecurrentEncoder(layers, d_model, dropout)
        self.decoder = RecurrentDecoder(stack_layers(make, d_model, num_layers), d_model, dropout)
