"""Generation of whole batches of sentences: seqlearn, Hugging Face `generate`, JoeyNMT's search.

Each function takes a model and what to generate, and returns a function from sentences (lists of
source ids) to the generated ids. Peers get the sentences sorted by length and in batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import seqlearn as sl
from benchmarks.peers import peer
from benchmarks.peers.transformers import vocabulary_sizes
from seqlearn.batch import END, PAD, START, UNKNOWN, length_mask, pad
from seqlearn.nn import MultiHeadAttention, sinusoidal

Sentences = Sequence[list[int]]
Generate = Callable[[Sentences], object]
MOST_POSITIONS = 512
FORM = {"norm": "post", "positions": "sinusoidal", "activation": "relu"}


class Search(NamedTuple):
    """What to generate.

    Attributes:
        beam_size: 1 is greedy search.
        new_tokens: Most tokens of a text.
        batch_size: Sentences in a batch of the peers.
    """

    beam_size: int
    new_tokens: int
    batch_size: int

    def batches(
        self, sentences: Sentences, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Padded ids and lengths, the shortest first."""
        ordered = sorted(sentences, key=len)
        for start in range(0, len(ordered), self.batch_size):
            ids, lengths = pad(ordered[start : start + self.batch_size])
            yield ids.to(device), lengths.to(device)


def seqlearn(model: sl.SequenceModule, search: Search) -> Generate:
    """`generate` with its defaults, also where a checkpoint saves other ones."""
    chosen: dict[str, Any] = {"strategy": "greedy"}
    if search.beam_size > 1:
        chosen = {"strategy": "beam", "beam_size": search.beam_size}
    model.generation = sl.GenerationConfig(**chosen, max_new_tokens=search.new_tokens)
    return model.generate


def hugging_face(
    model: sl.Transformer, search: Search, dtype: torch.dtype = torch.float32
) -> Generate:
    """`MarianMTModel.generate` with the weights of a post-norm Transformer and the KV cache."""
    theirs: Any = as_marian(model).to(model.device, dtype)

    @torch.no_grad()
    def generate(sentences: Sentences) -> list[Tensor]:
        return [
            theirs.generate(
                input_ids=source,
                attention_mask=length_mask(lengths, source.shape[1]).long(),
                num_beams=search.beam_size,
                max_new_tokens=search.new_tokens,
                do_sample=False,
                early_stopping=False,
                suppress_tokens=[PAD, START, UNKNOWN],
            )
            for source, lengths in search.batches(sentences, model.device)
        ]

    return generate


def joeynmt(model: Any, search: Search) -> Generate:
    """The search of JoeyNMT, with a model of its own."""
    library = peer("joeynmt.search")

    @torch.no_grad()
    def generate(sentences: Sentences) -> list[Tensor]:
        found = []
        for batch in search.batches(sentences, next(model.parameters()).device):
            source, lengths = (part.flip(0) for part in batch)  # it packs: the longest comes first
            mask = length_mask(lengths, source.shape[1])[:, None]
            states, last, _, _ = model(
                return_type="encode", src=source, src_length=lengths, src_mask=mask
            )
            common = {
                "model": model, "encoder_output": states, "encoder_hidden": last,
                "src_mask": mask, "max_output_length": search.new_tokens,
                "min_output_length": search.new_tokens, "generate_unk": False,
            }  # fmt: skip
            if search.beam_size == 1:
                found.append(library.greedy(**common)[0])
            else:
                found.append(
                    library.beam_search(**common, beam_size=search.beam_size, alpha=1.0)[0]
                )
        return found

    return generate


def as_marian(model: Any) -> nn.Module:
    """`MarianMTModel` with the weights of a post-norm Transformer with sinusoidal positions.

    Raises:
        ValueError: If the Transformer has another form.
    """
    wrong = {
        name: model.hparams[name] for name, form in FORM.items() if model.hparams[name] != form
    }
    if wrong:
        raise ValueError(f"expected a Transformer with {FORM}, as Marian has, got {wrong}")
    library = peer("transformers")
    source, target = vocabulary_sizes(model.spec)
    layers, attention = model.encoder.layers, model.encoder.layers[0].self_attention
    inner = model.encoder.layers[0].feedforward.inner.out_features
    config = library.MarianConfig(
        vocab_size=source, decoder_vocab_size=target, share_encoder_decoder_embeddings=False,
        tie_word_embeddings=False, d_model=model.d_model, encoder_layers=len(layers),
        decoder_layers=len(layers), encoder_attention_heads=attention.num_heads,
        decoder_attention_heads=attention.num_heads, encoder_ffn_dim=inner,
        decoder_ffn_dim=inner, dropout=0.0, activation_function="relu", scale_embedding=True,
        max_position_embeddings=MOST_POSITIONS, pad_token_id=PAD, eos_token_id=END,
        decoder_start_token_id=START, forced_eos_token_id=None, use_cache=True,
    )  # fmt: skip
    theirs = library.MarianMTModel(config)
    halves = ((theirs.model.encoder, model.encoder), (theirs.model.decoder, model.decoder))
    for side, half in halves:
        side.embed_positions.weight.data.copy_(sinusoidal(0, MOST_POSITIONS, model.d_model))
        for layer, mine in zip(side.layers, half.layers, strict=True):
            copy_attention(layer.self_attn, mine.self_attention)
            layer.self_attn_layer_norm.load_state_dict(mine.norm_self_attention.state_dict())
            if hasattr(mine, "cross_attention"):
                copy_attention(layer.encoder_attn, mine.cross_attention)
                norm = mine.norm_cross_attention.state_dict()
                layer.encoder_attn_layer_norm.load_state_dict(norm)
            layer.fc1.load_state_dict(mine.feedforward.inner.state_dict())
            layer.fc2.load_state_dict(mine.feedforward.outer.state_dict())
            layer.final_layer_norm.load_state_dict(mine.norm_feedforward.state_dict())
    theirs.model.encoder.embed_tokens.load_state_dict(model.source_embedding.state_dict())
    theirs.model.decoder.embed_tokens.load_state_dict(model.target_embedding.state_dict())
    theirs.lm_head.weight.data.copy_(model.head.weight)
    theirs.final_logits_bias.copy_(model.head.bias)
    return theirs.eval()


def copy_attention(theirs: Any, mine: MultiHeadAttention) -> None:
    """Copy the weights of an attention."""
    weights, biases = mine.projection.weight.chunk(3), mine.projection.bias.chunk(3)
    names = ("q_proj", "k_proj", "v_proj")
    for name, weight, bias in zip(names, weights, biases, strict=True):
        getattr(theirs, name).weight.data.copy_(weight)
        getattr(theirs, name).bias.data.copy_(bias)
    theirs.out_proj.load_state_dict(mine.output.state_dict())
