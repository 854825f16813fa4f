"""Which modules CTranslate2 supports, and the check that an export computes the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from exported_models import TASKS, TEXTS, make
from torch import nn

import seqlearn as sl
from seqlearn.nn import DecoderLayer, FeedForwardBlock, LearnedPositions, MultiHeadAttention

pytest.importorskip("ctranslate2", reason="needs ctranslate2: pip install '.[export]'")


@pytest.mark.parametrize(
    ("name", "task", "said"),
    [
        ("LSTM", "texts", "expected TransformerEncoder as encoder of LSTM, got RecurrentEncoder"),
        ("Transformer", "classes", "expected TextSpec as target of Transformer, got ClassesSpec"),
        ("Transformer", "from vectors", "expected TextSpec as source of Transformer, got Vector"),
    ],
)
def test_what_it_has_not_is_refused_by_name(
    name: str, task: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        make(name, TASKS[task]).export(tmp_path / "out", "ctranslate2")
    assert not (tmp_path / "out").exists()


def test_a_part_of_the_users_own_is_refused_by_name(tmp_path: Path) -> None:
    model: Any = make("Transformer", TEXTS)
    model.decoder.layers[1].feedforward = nn.Linear(8, 8)
    said = r"expected FeedForwardBlock as decoder\.layers\.1\.feedforward of Trans.*, got Linear"
    with pytest.raises(ValueError, match=said):
        model.export(tmp_path / "out", "ctranslate2")


def test_each_side_has_the_limit_of_its_own_positions(tmp_path: Path) -> None:
    model: Any = make("Transformer", TEXTS)
    model.encoder.positions = LearnedPositions(8, 8)
    model.export(tmp_path / "out", "ctranslate2")
    limits = sl.export.load_exported(tmp_path / "out").config["limits"]
    assert (limits["source"]["tokens"], limits["target"]["tokens"]) == (8, 4096)
    with pytest.raises(ValueError, match="at most 8 tokens of a source, got 9"):
        sl.export.load_exported(tmp_path / "out").generate([[4] * 9])


def test_a_saved_limit_above_its_positions_is_refused(tmp_path: Path) -> None:
    model: Any = make("Transformer", TEXTS)
    model.generation = sl.GenerationConfig(max_new_tokens=5000)
    with pytest.raises(ValueError, match=r"max_new_tokens of this model is 5000, .* has 4096"):
        model.export(tmp_path / "out", "ctranslate2")


class OwnEncode(sl.Transformer):
    """Reverses sources."""

    def encode(self, source: Any, source_lengths: Any) -> Any:
        return super().encode(source.flip(1), source_lengths)


class OwnDecode(sl.Transformer):
    """Has cold outputs."""

    def decode(self, tokens: Any, memory: Any, state: Any = None) -> Any:
        hidden, state = super().decode(tokens, memory, state)
        return 2 * hidden, state


@pytest.mark.parametrize(("kind", "name"), [(OwnEncode, "encode"), (OwnDecode, "decode")])
def test_an_overridden_method_is_refused_by_name(
    kind: type[sl.Transformer], name: str, tmp_path: Path
) -> None:
    model = kind(TEXTS, d_model=8, num_layers=1, num_heads=2)
    said = f"expected the method of SequenceModule as {name} of {kind.__name__}, got one of its own"
    with pytest.raises(ValueError, match=said):
        model.export(tmp_path / "out", "ctranslate2")


@pytest.mark.parametrize("task", ["texts", "language model"])
@pytest.mark.parametrize("quantization", [None, "int8"])
@pytest.mark.parametrize("name", ["Transformer", "learned"])
def test_an_export_that_computes_something_else_is_refused(
    task: str, quantization: str | None, name: str, tmp_path: Path
) -> None:
    model: Any = make(name, TASKS[task])
    model.decoder.layers[0].register_forward_hook(
        lambda _, _given, found: (found[0].abs(), found[1])
    )
    with pytest.raises(ValueError, match="the exported Transformer differs from the model by"):
        model.export(tmp_path / "out", "ctranslate2", quantization=quantization)
    assert not (tmp_path / "out").exists()


def set_activations(model: Any, function: Any) -> None:
    for layer in (*model.encoder.layers, *model.decoder.layers):
        layer.feedforward.activation = function


def other_layer(model: Any, **changes: Any) -> None:
    options = {"num_heads": 2, "rotary": False, "activation": "relu"} | changes
    model.decoder.layers[1] = DecoderLayer(
        MultiHeadAttention(8, options["num_heads"], rotary=options["rotary"]),
        MultiHeadAttention(8, 2),
        FeedForwardBlock(8, 32, 0.0, options["activation"]),
        8,
        0.0,
    )


def other_block(model: Any) -> None:
    model.encoder.layers[0] = make("rotary", TEXTS).encoder.layers[0]


MIXED: list[tuple[Any, str, str, str]] = [
    (
        lambda model: set_activations(model, torch.tanh),
        "encoder.layers.0.feedforward.activation",
        "relu or gelu",
        "tanh",
    ),
    (
        lambda model: set_activations(model, nn.GELU("tanh")),
        "encoder.layers.0.feedforward.activation",
        "relu or gelu",
        "GELU",
    ),
    (
        lambda model: other_layer(model, activation="gelu"),
        "decoder.layers.1.feedforward.activation",
        "relu (as decoder.layers.0.feedforward.activation)",
        "gelu",
    ),
    (
        lambda model: other_layer(model, num_heads=4),
        "decoder.layers.1.self_attention.num_heads",
        "2 (as decoder.layers.0.self_attention.num_heads)",
        "4",
    ),
    (
        lambda model: other_layer(model, rotary=True),
        "decoder.layers.1.self_attention.rotary",
        "False (with decoder.positions SinusoidalPositions)",
        "True",
    ),
    (
        lambda model: setattr(model.decoder.layers[1], "cross_attention", MultiHeadAttention(8, 1)),
        "decoder.layers.1.cross_attention.num_heads",
        "2 (as decoder.layers.0.self_attention.num_heads)",
        "1",
    ),
    (
        other_block,
        "encoder.layers.1",
        "PreNormEncoderLayer (as encoder.layers.0)",
        "EncoderLayer",
    ),
    (
        lambda model: setattr(model.decoder.layers[1].norm_feedforward, "eps", 1e-3),
        "decoder.layers.1.norm_feedforward.eps",
        "1e-05 (as encoder.layers.0.norm_self_attention.eps)",
        "0.001",
    ),
    (
        lambda model: setattr(model.encoder, "norm", nn.LayerNorm(8)),
        "encoder.norm",
        "None after post-norm",
        "LayerNorm",
    ),
    (
        lambda model: setattr(model.encoder.layers[0], "norm_feedforward", nn.RMSNorm(8)),
        "encoder.layers.0.norm_feedforward",
        "LayerNorm",
        "RMSNorm",
    ),
    (
        lambda model: setattr(model, "head", nn.Linear(8, 12, bias=False)),
        "head",
        "Linear with weight and bias",
        "one without",
    ),
    (
        lambda model: setattr(model.encoder, "layers", nn.ModuleList()),
        "encoder.layers",
        "at least one layer",
        "none",
    ),
]
"""Changes of a model that CTranslate2 cannot express, the part, what it has, and what it gets."""


@pytest.mark.parametrize(("change", "name", "expected", "got"), MIXED)
def test_a_change_that_it_cannot_express_is_refused_by_name(
    change: Any, name: str, expected: str, got: str, tmp_path: Path
) -> None:
    model = make("Transformer", TEXTS)
    change(model)
    said = f"expected {expected} as {name} of Transformer, got {got}; use format='onnx'"
    with pytest.raises(ValueError, match=re.escape(said)):
        model.export(tmp_path / "out", "ctranslate2")
