"""BART from Hugging Face Transformers as a module of seqlearn, as it is and corrected."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import BartConfig
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.models.bart.modeling_bart import BartDecoder, BartEncoder

import seqlearn as sl

from .torch_modules import masked_mean

MAX_POSITIONS = 16


def configuration() -> BartConfig:
    """A small configuration; weights are random."""
    return BartConfig(
        vocab_size=9,
        d_model=8,
        max_position_embeddings=MAX_POSITIONS,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
    )


class BartEncoderPart(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bart = BartEncoder(configuration())
        self.bart.embed_tokens = None  # it receives embedded tokens

    def forward(self, inputs: Tensor, mask: Tensor) -> sl.Memory:
        states = self.bart(inputs_embeds=inputs, attention_mask=mask.long()).last_hidden_state
        return sl.Memory(states, mask, masked_mean(states, mask))


class Cache:
    """BART's own cache with `select`, for beam search."""

    def __init__(self, cache: EncoderDecoderCache) -> None:
        self.cache = cache

    def select(self, rows: Tensor) -> Cache:
        """The cache of these rows."""
        self.cache.batch_select_indices(rows)
        return self


class BartDecoderPart(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bart = BartDecoder(configuration())
        self.bart.embed_tokens = None

    def forward(self, inputs: Tensor, memory: sl.Memory, state: Any = None) -> Any:
        state = state or Cache(EncoderDecoderCache(DynamicCache(), DynamicCache()))
        outputs = self.bart(
            inputs_embeds=inputs,
            encoder_hidden_states=memory.states,
            encoder_attention_mask=memory.mask.long(),
            past_key_values=state.cache,
            use_cache=True,
        )
        return outputs.last_hidden_state, state


class Bart(sl.SequenceModule):
    """`BartEncoder` and `BartDecoder` with the cache of Transformers."""

    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=8)
        if spec.source is None:
            raise ValueError("its decoder attends to a source, and the spec has none")
        self.encoder, self.decoder = BartEncoderPart(), BartDecoderPart()


class FixedBartDecoder(BartDecoderPart):
    """Zero inputs give zero outputs; BART's attention needs at least one query."""

    def forward(self, inputs: Tensor, memory: sl.Memory, state: Any = None) -> Any:
        if inputs.shape[1] == 0:
            return inputs, state
        return super().forward(inputs, memory, state)


class BartFixed(sl.SequenceModule):
    """The same; it satisfies every law."""

    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=8)
        if spec.source is None:
            raise ValueError("its decoder attends to a source, and the spec has none")
        self.encoder, self.decoder = BartEncoderPart(), FixedBartDecoder()
