"""Encoder–decoder Transformers: seqlearn, PyTorch, Hugging Face, x-transformers, JoeyNMT.

All have the same sizes, label smoothing 0.1, separate weights of both embeddings and of the output
layer, and dropout 0.1 of embeddings, of attention weights, of inner layers and of the outputs of
sublayers, as far as a library has it. Each function returns a module and a function from a batch to
its mean loss.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

import seqlearn as sl
from benchmarks.peers import peer
from benchmarks.peers.joeynmt import joeynmt_loss, joeynmt_model
from benchmarks.workloads import Size, ids_of
from seqlearn.batch import END, PAD, START, SequenceBatch
from seqlearn.nn import sinusoidal

DROPOUT = SMOOTHING = 0.1
Loss = Callable[[SequenceBatch], Tensor]
Trainee = tuple[nn.Module, Loss]


def seqlearn(spec: sl.SequenceSpec, size: Size) -> Trainee:
    """`seqlearn.Transformer`."""
    model = sl.Transformer(spec, **size._asdict(), dropout=DROPOUT)

    def loss(batch: SequenceBatch) -> Tensor:
        measured = model.compute_loss(batch, smoothing=SMOOTHING)
        return measured.loss / measured.num_tokens

    return model, loss


class TorchTransformer(nn.Module):
    """`torch.nn.Transformer` with embeddings, positions and an output layer."""

    def __init__(self, source_size: int, target_size: int, size: Size) -> None:
        super().__init__()
        width, layers, heads, inner = size
        self.width = width
        self.source = nn.Embedding(source_size, width)
        self.target = nn.Embedding(target_size, width)
        self.transformer = nn.Transformer(
            width, heads, layers, layers, inner, dropout=DROPOUT, batch_first=True
        )
        self.dropout = nn.Dropout(DROPOUT)
        self.head = nn.Linear(width, target_size)

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Logits, `batch target vocab`."""
        ids = ids_of(batch)
        causal = nn.Transformer.generate_square_subsequent_mask
        return self.head(
            self.transformer(
                self.embedded(self.source, ids.source),
                self.embedded(self.target, ids.inputs),
                src_key_padding_mask=~ids.mask,
                memory_key_padding_mask=~ids.mask,
                tgt_mask=causal(ids.inputs.shape[1], ids.inputs.device).isinf(),
                tgt_is_causal=True,
            )
        )

    def embedded(self, embedding: nn.Embedding, ids: Tensor) -> Tensor:
        """Embeddings with positions, `batch time width`."""
        places = sinusoidal(0, ids.shape[1], self.width, ids.device)
        return self.dropout(embedding(ids) * self.width**0.5 + places)


def torch_transformer(spec: sl.SequenceSpec, size: Size) -> Trainee:
    """`torch.nn.Transformer`."""
    source, target = vocabulary_sizes(spec)
    model = TorchTransformer(source, target, size)
    return model, lambda batch: cross_entropy(model(batch), ids_of(batch).labels)


def marian(spec: sl.SequenceSpec, size: Size) -> Trainee:
    """`MarianMTModel` of Hugging Face."""
    hugging_face = peer("transformers")
    source, target = vocabulary_sizes(spec)
    config = hugging_face.MarianConfig(
        vocab_size=source, decoder_vocab_size=target, share_encoder_decoder_embeddings=False,
        d_model=size.d_model, encoder_layers=size.num_layers, decoder_layers=size.num_layers,
        encoder_attention_heads=size.num_heads, decoder_attention_heads=size.num_heads,
        encoder_ffn_dim=size.d_feedforward, decoder_ffn_dim=size.d_feedforward,
        dropout=DROPOUT, attention_dropout=DROPOUT, activation_dropout=DROPOUT,
        activation_function="relu", scale_embedding=True, max_position_embeddings=512,
        pad_token_id=PAD, eos_token_id=END, decoder_start_token_id=START, use_cache=False,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = hugging_face.MarianMTModel(config).train()

    def loss(batch: SequenceBatch) -> Tensor:
        ids = ids_of(batch)
        found = model(
            input_ids=ids.source, attention_mask=ids.mask.long(), decoder_input_ids=ids.inputs
        )
        return cross_entropy(found.logits, ids.labels)

    return model, loss


def x_transformers(spec: sl.SequenceSpec, size: Size) -> Trainee:
    """`XTransformer` of x-transformers, with learned positions and fused attention."""
    library = peer("x_transformers")
    source, target = vocabulary_sizes(spec)
    side = {
        "depth": size.num_layers, "heads": size.num_heads, "max_seq_len": 512,
        "attn_dim_head": size.d_model // size.num_heads, "attn_flash": True,
        "ff_mult": size.d_feedforward / size.d_model, "attn_dropout": DROPOUT,
        "ff_dropout": DROPOUT, "layer_dropout": 0.0, "emb_dropout": DROPOUT,
        "attn_sublayer_dropout": DROPOUT, "ff_sublayer_dropout": DROPOUT,
    }  # fmt: skip
    model = library.XTransformer(
        dim=size.d_model, enc_num_tokens=source, dec_num_tokens=target,
        **{f"{prefix}_{key}": value for prefix in ("enc", "dec") for key, value in side.items()},
    )  # fmt: skip

    def loss(batch: SequenceBatch) -> Tensor:
        ids = ids_of(batch)
        states = model.encoder(ids.source, mask=ids.mask, return_embeddings=True)
        logits = model.decoder.net(ids.inputs, context=states, context_mask=ids.mask)
        return cross_entropy(logits, ids.labels)

    return model, loss


def joeynmt(spec: sl.SequenceSpec, size: Size) -> Trainee:
    """The Transformer of JoeyNMT, post-norm, with its own loss."""
    half = {
        "type": "transformer", "num_layers": size.num_layers, "num_heads": size.num_heads,
        "hidden_size": size.d_model, "ff_size": size.d_feedforward, "dropout": DROPOUT,
        "layer_norm": "post", "embeddings": {"embedding_dim": size.d_model, "scale": True},
    }  # fmt: skip
    model = joeynmt_model(half, half, *vocabulary_sizes(spec))
    return model, joeynmt_loss(model, SMOOTHING)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over real tokens, as PyTorch computes it."""
    return functional.cross_entropy(
        logits.flatten(0, 1).float(),
        labels.flatten(),
        ignore_index=PAD,
        label_smoothing=SMOOTHING,
    )


def vocabulary_sizes(spec: sl.SequenceSpec) -> tuple[int, int]:
    """Sizes of the vocabularies of source and target."""
    source, target = spec.source, spec.target
    assert isinstance(source, sl.TextSpec)
    assert isinstance(target, sl.TextSpec)
    return source.vocab_size, target.vocab_size
