"""BART's halves, from Hugging Face Transformers, as modules of seqlearn, plain and mended."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import BartConfig
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.models.bart.modeling_bart import BartDecoder, BartEncoder

import seqlearn as sl

from .torch_modules import masked_mean

PLACES = 16


def configuration() -> BartConfig:
    """Small, and with random weights."""
    return BartConfig(
        vocab_size=9,
        d_model=8,
        max_position_embeddings=PLACES,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
    )


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bart = BartEncoder(configuration())
        self.bart.embed_tokens = None  # it is given embedded tokens

    def forward(self, inputs: Tensor, mask: Tensor) -> sl.Memory:
        states = self.bart(inputs_embeds=inputs, attention_mask=mask.long()).last_hidden_state
        return sl.Memory(states, mask, masked_mean(states, mask))


class Cache:
    """BART's own cache, of which rows can be selected."""

    def __init__(self, kept: EncoderDecoderCache) -> None:
        self.kept = kept

    def select(self, rows: Tensor) -> Cache:
        """The cache of these rows."""
        self.kept.batch_select_indices(rows)
        return self


class Writer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bart = BartDecoder(configuration())
        self.bart.embed_tokens = None

    def forward(self, inputs: Tensor, memory: sl.Memory, state: Any = None) -> Any:
        state = state or Cache(EncoderDecoderCache(DynamicCache(), DynamicCache()))
        answers = self.bart(
            inputs_embeds=inputs,
            encoder_hidden_states=memory.states,
            encoder_attention_mask=memory.mask.long(),
            past_key_values=state.kept,
            use_cache=True,
        )
        return answers.last_hidden_state, state


class Bart(sl.SequenceModule):
    """`BartEncoder` and `BartDecoder` with the cache of Transformers."""

    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=8)
        if spec.source is None:
            raise ValueError("its decoder looks at a source, and there is none")
        self.encoder, self.decoder = Reader(), Writer()


class PatientWriter(Writer):
    """No tokens are answered by none; BART's attention takes no queries of no places."""

    def forward(self, inputs: Tensor, memory: sl.Memory, state: Any = None) -> Any:
        if inputs.shape[1] == 0:
            return inputs, state
        return super().forward(inputs, memory, state)


class BartMended(sl.SequenceModule):
    """The same, with every law kept."""

    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=8)
        if spec.source is None:
            raise ValueError("its decoder looks at a source, and there is none")
        self.encoder, self.decoder = Reader(), PatientWriter()
