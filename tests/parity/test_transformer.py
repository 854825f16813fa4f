"""`Transformer` with its weights copied into `torch.nn.Transformer` gives the same outputs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import seqlearn as sl
from seqlearn.batch import SequenceBatch, pad
from seqlearn.nn import MultiHeadAttention, sinusoidal


def copy_attention(theirs: nn.MultiheadAttention, mine: MultiHeadAttention) -> None:
    theirs.in_proj_weight.data.copy_(mine.projection.weight)
    theirs.in_proj_bias.data.copy_(mine.projection.bias)
    theirs.out_proj.load_state_dict(mine.output.state_dict())


def as_torch(model: sl.Transformer, norm: str) -> nn.Transformer:
    hparams = model.hparams
    theirs = nn.Transformer(
        hparams.d_model,
        hparams.num_heads,
        hparams.num_layers,
        hparams.num_layers,
        hparams.d_feedforward,
        dropout=0.0,
        batch_first=True,
        norm_first=norm == "pre",
    )
    for side, half in ((theirs.encoder, model.encoder), (theirs.decoder, model.decoder)):
        side.norm = half.norm
        for layer, mine in zip(side.layers, half.layers, strict=True):
            copy_attention(layer.self_attn, mine.self_attention)
            layer.linear1.load_state_dict(mine.feedforward.inner.state_dict())
            layer.linear2.load_state_dict(mine.feedforward.outer.state_dict())
            norms = [mine.norm_self_attention, mine.norm_feedforward]
            if hasattr(mine, "cross_attention"):
                copy_attention(layer.multihead_attn, mine.cross_attention)
                norms.insert(1, mine.norm_cross_attention)
            for number, my_norm in enumerate(norms, 1):
                getattr(layer, f"norm{number}").load_state_dict(my_norm.state_dict())
    return theirs.eval()


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_same_outputs_on_padded_batches(norm: str) -> None:
    spec = sl.SequenceSpec(sl.TextSpec(30, 20), sl.TextSpec(25, 20))
    model = sl.Transformer(
        spec, d_model=16, num_layers=3, num_heads=4, d_feedforward=24, norm=norm
    ).eval()
    for parameter in model.parameters():  # biases and norms too, so that nothing passes by luck
        nn.init.normal_(parameter, std=0.3)
    theirs = as_torch(model, norm)
    source, source_lengths = pad([[5, 6, 7, 8, 9], [10, 11], [12]])
    target, target_lengths = pad([[2, 5, 3], [2, 7, 8, 9, 10, 3], [2, 3]])
    batch = SequenceBatch(source, source_lengths, target, target_lengths)

    def embed(layer: nn.Module, ids: torch.Tensor) -> torch.Tensor:
        return layer(ids) * math.sqrt(16) + sinusoidal(0, ids.shape[1], 16)

    decoded = target[:, :-1]
    padded = torch.arange(source.shape[1]) >= source_lengths[:, None]
    hidden = theirs(
        embed(model.source_embedding, source),
        embed(model.target_embedding, decoded),
        src_key_padding_mask=padded,
        memory_key_padding_mask=padded,
        tgt_mask=nn.Transformer.generate_square_subsequent_mask(decoded.shape[1]),
        tgt_is_causal=True,
    )
    real = torch.arange(decoded.shape[1]) < target_lengths[:, None] - 1
    mine = model(batch)
    torch.testing.assert_close(mine[real], model.head(hidden)[real], atol=1e-5, rtol=1e-5)


def test_sinusoids_equal_the_paper() -> None:
    table = sinusoidal(3, 4, 6).double()
    for row, position in enumerate(range(3, 7)):
        for i in range(3):
            angle = position / 10000 ** (2 * i / 6)
            assert table[row, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[row, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)
