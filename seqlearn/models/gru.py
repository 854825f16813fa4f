"""The gated recurrent unit (Cho et al. 2014, figure 2): two gates decide what the state keeps.

                 ┌──────────────[ × z_t ]──────────────┐
                 │                                     ▼
    h_{t-1} ─────┼──► [ × r_t ] ──► [ tanh ] ──[ × (1 - z_t) ]──► (+) ──► h_t
                 │                     ▲
          r_t, z_t = σ(·)             x_t

Where the update gate z_t is one the state passes by untouched.

Departures from the paper: the reset gate r_t is applied after the matrix product, as torch's and
cuDNN's kernels do it; layers may be stacked and the encoder bidirectional; one context vector
connects source and target (`nn/recurrent_encoder_decoder.py`); the decoder reads it at its start.
"""

from __future__ import annotations

import functools
from typing import Unpack

from seqlearn.core.base import SequenceModule
from seqlearn.core.hparams import BaseOptions
from seqlearn.nn import GRULayer, RecurrentDecoder, RecurrentEncoder, stack_layers
from seqlearn.spec import SequenceSpec


class GRU(SequenceModule):
    """The GRU, for every shape; from sequence to sequence, through one context vector.

    Args:
        spec: What goes in and what comes out, such as `data.spec`.
        d_model: Width of embeddings, states, context and answers; even, if `bidirectional`.
        num_layers: Layers of the encoder, and of the decoder.
        bidirectional: Whether the encoder reads in both directions, `d_model // 2` wide each.
        update_bias: Where the bias of the update gates starts. From 3 or 4 the state is kept nearly
            whole from the first step of training on, and what is told once is learnt over tens of
            steps; with 0 such a task may not be learnt at all (see `benchmarks/results/dates.md`).
        dropout: Share of what is dropped between layers, in training.
        base: `recipe`, `generation` and `tie_embeddings`; see `SequenceModule`.

    Raises:
        ValueError: If there is no layer, or `d_model` is odd and the encoder bidirectional.

    Source: Cho et al. 2014, section 2.3.
    """

    def __init__(
        self,
        spec: SequenceSpec,
        *,
        d_model: int = 256,
        num_layers: int = 1,
        bidirectional: bool = False,
        update_bias: float = 0.0,
        dropout: float = 0.2,
        **base: Unpack[BaseOptions],
    ) -> None:
        super().__init__(spec, d_model=d_model, **base)
        make = functools.partial(GRULayer, update_bias=update_bias)
        layers = stack_layers(make, d_model, num_layers, bidirectional=bidirectional)
        self.encoder = RecurrentEncoder(layers, d_model, dropout)
        self.decoder = RecurrentDecoder(stack_layers(make, d_model, num_layers), d_model, dropout)
