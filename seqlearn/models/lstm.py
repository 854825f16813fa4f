"""Long short-term memory (Hochreiter & Schmidhuber 1997, figure 1): an additive state path.

    c_{t-1} ──────[ × f_t ]──────(+)───────────────┬──► c_t
                                  ▲                │
                            [ i_t × g_t ]      [ tanh ]
                                  ▲                │
    h_{t-1} ──► i_t, f_t, o_t = σ(·), g_t = tanh(·) [ × o_t ] ──► h_t ──► next layer, decoder, head
                                  ▲
                                 x_t

The cell c_t is only multiplied by the forget gate and added to: where f_t is one, the cell and its
gradient are preserved.

Departures from the paper: a forget gate (Gers et al. 2000), without which the cell cannot be reset;
no peepholes; layers may be stacked and the encoder bidirectional; one context vector connects
source and target (`nn/recurrent_encoder_decoder.py`).
"""

from __future__ import annotations

import functools
from typing import Unpack

from seqlearn.core.base import SequenceModule
from seqlearn.core.hparams import BaseOptions
from seqlearn.nn import LSTMLayer, RecurrentDecoder, RecurrentEncoder, stack_layers
from seqlearn.spec import SequenceSpec


class LSTM(SequenceModule):
    """The LSTM, for every task; sequence to sequence goes through one context vector.

    Args:
        spec: The types of source and target, such as `data.spec`.
        d_model: Width of embeddings, states, context vector and outputs; even if `bidirectional`.
        num_layers: Number of layers of the encoder, and of the decoder.
        bidirectional: Whether the encoder is bidirectional, `d_model // 2` wide per direction.
        forget_bias: The initial bias of the forget gates. With 3 or 4 the cell is preserved almost
            fully from the first training step on, so that dependencies over tens of steps are
            learned; with 1 they may not be learned at all (see `benchmarks/results/dates.md`).
        dropout: Dropout probability between layers, in training.
        base: `recipe`, `generation` and `tie_embeddings`; see `SequenceModule`.

    Raises:
        ValueError: If `num_layers` is below one, or `d_model` is odd and the encoder bidirectional.

    Source: Hochreiter & Schmidhuber 1997, section 4; Gers et al. 2000 for the forget gate.

    Examples:
        >>> import seqlearn as sl
        >>> spec = sl.SequenceSpec(sl.TextSpec(9, 4), sl.TextSpec(9, 4))
        >>> model = sl.LSTM(spec, d_model=8, num_layers=2)  # with data: sl.LSTM(data.spec)
        >>> with sl.record(model) as recording:
        ...     texts = model.generate([[4, 5, 6]], max_new_tokens=5)
        >>> sorted(recording.gates["encoder.layers.0"])
        ['candidate', 'cell', 'forget', 'input', 'output']
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
