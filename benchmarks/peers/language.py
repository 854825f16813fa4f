"""Language models of GPT-2's form: seqlearn, PyTorch, Hugging Face.

All have learned positions, pre-norm layers, the exact GELU, one matrix for embedding and output,
and no dropout. Each function returns a module and a function from a batch to its mean loss.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

import seqlearn as sl
from benchmarks.peers import peer
from benchmarks.peers.transformers import Trainee
from benchmarks.workloads import Size
from seqlearn.batch import SequenceBatch


def seqlearn(vocabulary: int, window: int, size: Size) -> Trainee:
    """`seqlearn.Transformer` without a source."""
    spec = sl.SequenceSpec(None, sl.TextSpec(vocabulary, window))
    model = sl.Transformer(
        spec, **size._asdict(), dropout=0.0, norm="pre", positions="learned", activation="gelu",
        tie_embeddings=True,
    )  # fmt: skip

    def loss(batch: SequenceBatch) -> Tensor:
        measured = model.compute_loss(batch)
        return measured.loss / measured.num_tokens

    return model, loss


def hugging_face(vocabulary: int, window: int, size: Size) -> Trainee:
    """`GPT2LMHeadModel` with fused attention."""
    library = peer("transformers")
    config = library.GPT2Config(
        vocab_size=vocabulary, n_positions=window, n_embd=size.d_model, n_layer=size.num_layers,
        n_head=size.num_heads, n_inner=size.d_feedforward, activation_function="gelu",
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False,
        attn_implementation="sdpa",
    )  # fmt: skip
    model = library.GPT2LMHeadModel(config).train()
    return model, lambda batch: cross_entropy(model(batch.target[:, :-1]).logits, batch)


class TorchLanguageModel(nn.Module):
    """`torch.nn.TransformerEncoder` with a causal mask, embeddings and an output layer."""

    def __init__(self, vocabulary: int, window: int, size: Size) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, size.d_model)
        self.positions = nn.Parameter(0.02 * torch.randn(window, size.d_model))
        layer = nn.TransformerEncoderLayer(
            size.d_model, size.num_heads, size.d_feedforward, dropout=0.0, activation="gelu",
            batch_first=True, norm_first=True,
        )  # fmt: skip
        self.layers = nn.TransformerEncoder(
            layer, size.num_layers, nn.LayerNorm(size.d_model), enable_nested_tensor=False
        )

    def forward(self, ids: Tensor) -> Tensor:
        """Logits, `batch time vocab`."""
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1], ids.device)
        states = self.tokens(ids) + self.positions[: ids.shape[1]]
        return functional.linear(self.layers(states, mask, is_causal=True), self.tokens.weight)


def torch_transformer(vocabulary: int, window: int, size: Size) -> Trainee:
    """`TorchLanguageModel`."""
    model = TorchLanguageModel(vocabulary, window, size)
    return model, lambda batch: cross_entropy(model(batch.target[:, :-1]), batch)


def cross_entropy(logits: Tensor, batch: SequenceBatch) -> Tensor:
    """The mean over all tokens, as PyTorch computes it."""
    return functional.cross_entropy(logits.flatten(0, 1).float(), batch.target[:, 1:].flatten())
