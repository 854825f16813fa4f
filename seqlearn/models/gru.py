"""The gated recurrent unit (Cho et al. 2014, figure 2): two gates control the state.

                 ┌──────────────[ × z_t ]──────────────┐
                 │                                     ▼
    h_{t-1} ─────┼──► [ × r_t ] ──► [ tanh ] ──[ × (1 - z_t) ]──► (+) ──► h_t
                 │                     ▲
          r_t, z_t = σ(·)             x_t

Where the update gate z_t is one, the state does not change.

Departures from the paper: the reset gate r_t is applied after the matrix product, as in the kernels
of PyTorch and cuDNN; layers may be stacked and the encoder bidirectional; one context vector
connects source and target (`nn/recurrent_encoder_decoder.py`); it sets the decoder's initial state.
"""

from __future__ import annotations

import functools
from typing import Unpack

from seqlearn.core.base import SequenceModule
from seqlearn.core.hparams import BaseOptions
from seqlearn.nn import GRULayer, RecurrentDecoder, RecurrentEncoder, stack_layers
from seqlearn.spec import SequenceSpec


class GRU(SequenceModule):
    """The GRU, for every task; sequence to sequence goes through one context vector.

    Args:
        spec: The types of source and target, such as `data.spec`.
        d_model: Width of embeddings, states, context vector and outputs; even if `bidirectional`.
        num_layers: Number of layers of the encoder, and of the decoder.
        bidirectional: Whether the encoder is bidirectional, `d_model // 2` wide per direction.
        update_bias: The initial bias of the update gates. With 3 or 4 the state is preserved almost
            fully from the first training step on, so that dependencies over tens of steps are
            learned; with 0 they may not be learned at all (see `benchmarks/results/dates.md`).
        dropout: Dropout probability between layers, in training.
        base: `recipe`, `generation` and `tie_embeddings`; see `SequenceModule`.

    Raises:
        ValueError: If `num_layers` is below one, or `d_model` is odd and the encoder bidirectional.

    Source: Cho et al. 2014, section 2.3.

    Examples:
        >>> import seqlearn as sl
        >>> spec = sl.SequenceSpec(sl.TextSpec(9, 4), sl.TextSpec(9, 4))
        >>> model = sl.GRU(spec, d_model=8, update_bias=3.0)  # with data: sl.GRU(data.spec)
        >>> len(model.generate([[4, 5, 6], [7]], max_new_tokens=5))
        2
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
