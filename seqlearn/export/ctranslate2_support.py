"""What CTranslate2 has of a module, and whether an export of it computes the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from seqlearn.batch import END, START
from seqlearn.core import SequenceModule
from seqlearn.export.checking import compare_outputs, random_source
from seqlearn.export.ctranslate2_model import CTranslate2Model
from seqlearn.nn import (
    DecoderLayer,
    EncoderLayer,
    FeedForwardBlock,
    LearnedPositions,
    MultiHeadAttention,
    PreNormDecoderLayer,
    PreNormEncoderLayer,
    ScaledEmbedding,
    SinusoidalPositions,
    TransformerDecoder,
    TransformerEncoder,
)
from seqlearn.spec import TextSpec

POST_NORM = (EncoderLayer, DecoderLayer)
LAYERS: dict[str, tuple[type, ...]] = {
    "encoder": (EncoderLayer, PreNormEncoderLayer),
    "decoder": (DecoderLayer, PreNormDecoderLayer),
}
ACTIVATIONS = {"relu": functional.relu, "gelu": functional.gelu}
ROWS, TOKENS = 4, 8
"""Random texts that an export is checked with, and the most tokens of each."""

Parts = list[tuple[str, Any]]
"""Parts of a module, or values of them, with their names."""


def check_supported(module: SequenceModule) -> None:
    """Check that CTranslate2 has every part of a module.

    Raises:
        ValueError: If it does not; the message names the part.
    """
    for name in ("encode", "decode"):
        if getattr(type(module), name) is not getattr(SequenceModule, name):
            raise _unsupported(module, name, "the method of SequenceModule", "one of its own")
    halves = ["decoder"] if module.spec.source is None else ["encoder", "decoder"]
    _check_type(module, "target", module.spec.target, TextSpec)
    if module.spec.source is not None:
        _check_type(module, "source", module.spec.source, TextSpec)
        _check_type(module, "encoder", module.encoder, TransformerEncoder)
        _check_type(module, "source_embedding", module.source_embedding, nn.Embedding)
    _check_type(module, "decoder", module.decoder, TransformerDecoder)
    _check_type(module, "target_embedding", module.target_embedding, nn.Embedding)
    _check_affine(module, "head", module.head, nn.Linear)
    norms = [norm for half in halves for norm in _check_half(module, half)]
    for name, norm in norms:
        _check_affine(module, name, norm, nn.LayerNorm)
    _check_equal(module, [(f"{name}.eps", norm.eps) for name, norm in norms])


def _check_half(module: SequenceModule, half: str) -> Parts:
    """Check the encoder or the decoder, whose layers have one form in CTranslate2.

    Returns:
        Its norms.
    """
    part: Any = getattr(module, half)
    layers = [(f"{half}.layers.{number}", layer) for number, layer in enumerate(part.layers)]
    if not layers:
        raise _unsupported(module, f"{half}.layers", "at least one layer", "none")
    names = ["self_attention"]
    if half == "decoder" and module.spec.source is not None:
        names.append("cross_attention")
    for name, layer in layers:
        _check_type(module, name, layer, *LAYERS[half])
        _check_layer(module, name, layer, names)
    heads = [
        (f"{name}.{child}.num_heads", layer.get_submodule(child).num_heads)
        for name, layer in layers
        for child in names
    ]
    activations = [
        (f"{name}.feedforward.activation", name_of(layer.feedforward.activation))
        for name, layer in layers
    ]
    for same in (heads, activations, [(name, type(layer).__name__) for name, layer in layers]):
        _check_equal(module, same)
    _check_positions(module, half, layers)
    norms = [
        (f"{name}.norm_{child}", layer.get_submodule(f"norm_{child}"))
        for name, layer in layers
        for child in (*names, "feedforward")
    ]
    if part.norm is None:
        return norms
    if type(part.layers[0]) in POST_NORM:
        raise _unsupported(module, f"{half}.norm", "None after post-norm", type(part.norm).__name__)
    return [*norms, (f"{half}.norm", part.norm)]


def _check_layer(module: SequenceModule, name: str, layer: Any, attentions: list[str]) -> None:
    """Check the parts of a layer but its norms."""
    for child in attentions:
        _check_type(module, f"{name}.{child}", layer.get_submodule(child), MultiHeadAttention)
    block = layer.feedforward
    _check_type(module, f"{name}.feedforward", block, FeedForwardBlock)
    for child in ("inner", "outer"):
        _check_affine(module, f"{name}.feedforward.{child}", block.get_submodule(child), nn.Linear)
    activation = name_of(block.activation)
    if activation not in ACTIVATIONS:
        names = " or ".join(ACTIVATIONS)
        raise _unsupported(module, f"{name}.feedforward.activation", names, activation)


def _check_positions(module: SequenceModule, half: str, layers: Parts) -> None:
    """Check that all layers turn queries and keys, or positions are added to embeddings."""
    name, positions = f"{half}.positions", getattr(module, half).positions
    _check_type(module, name, positions, SinusoidalPositions, LearnedPositions, ScaledEmbedding)
    expected = isinstance(positions, ScaledEmbedding)
    for place, layer in layers:
        if layer.self_attention.rotary != expected:
            words = f"{expected} (with {name} {type(positions).__name__})"
            raise _unsupported(
                module, f"{place}.self_attention.rotary", words, str(layer.self_attention.rotary)
            )


def _check_type(module: SequenceModule, name: str, part: object, *kinds: type) -> None:
    if type(part) not in kinds:
        names = " or ".join(kind.__name__ for kind in kinds)
        raise _unsupported(module, name, names, type(part).__name__)


def _check_affine(module: SequenceModule, name: str, part: Any, kind: type) -> None:
    """Check the type of a part that has a weight and a bias."""
    _check_type(module, name, part, kind)
    if part.weight is None or part.bias is None:
        raise _unsupported(module, name, f"{kind.__name__} with weight and bias", "one without")


def _check_equal(module: SequenceModule, values: Parts) -> None:
    """Check that all layers have the value of the first, since CTranslate2 has one for all."""
    first, expected = values[0]
    for name, value in values:
        if value != expected:
            raise _unsupported(module, name, f"{expected} (as {first})", str(value))


def _unsupported(module: SequenceModule, name: str, expected: str, got: str) -> ValueError:
    return ValueError(
        f"format 'ctranslate2' supports the Transformer for sequence-to-sequence and "
        f"language-modeling: expected {expected} as {name} of {type(module).__name__}, got {got}; "
        "use format='onnx'"
    )


def name_of(activation: object) -> str:
    """The name of an activation of `FeedForwardBlock`, or that of another function or module."""
    for name, function in ACTIVATIONS.items():
        if activation is function:
            return name
    found: str = getattr(activation, "__name__", type(activation).__name__)
    return found if found not in ACTIVATIONS else f"another {found}"


def check_log_probs(module: SequenceModule, exported: CTranslate2Model) -> None:
    """Compare the log-probabilities of random texts with those of a model on the CPU.

    Args:
        module: The model that was exported, in eval mode.
        exported: Its export, without quantization.

    Raises:
        ValueError: If they differ by more than rounding.
    """
    rng = np.random.default_rng(0)
    spec: Any = module.spec
    limits, names = exported.config["limits"], exported.config["tokens"]
    length = min(TOKENS, limits["target"]["tokens"] - 1) if "target" in limits else TOKENS
    targets = [random_source(spec.target, rng, length) for _ in range(ROWS)]
    read = torch.tensor([[START, *ids] for ids in targets])
    predicted = torch.tensor([[*ids, END] for ids in targets])
    target_tokens = [[names["target"][number] for number in ids] for ids in targets]
    source = lengths = None
    if spec.source is None:
        start, end = names["target"][START], names["target"][END]
        texts = [[start, *tokens, end] for tokens in target_tokens]
        scored = exported.translator.score_batch(texts, max_input_length=0)
    else:
        longest = min(TOKENS, limits.get("source", {"tokens": TOKENS})["tokens"])
        sources = [
            random_source(spec.source, rng, max(1, longest - 2 * row)) for row in range(ROWS)
        ]
        source, lengths = spec.source.collate(sources, torch.device("cpu"), torch.float32)
        texts = [[names["source"][number] for number in ids] for ids in sources]
        scored = exported.translator.score_batch(texts, target_tokens, max_input_length=0)
    with torch.no_grad():
        hidden, _ = module.decode(read, module.encode(source, lengths))
        log_probs = module.head(hidden).log_softmax(-1).gather(-1, predicted[..., None])[..., 0]
    compare_outputs(module, log_probs, np.array([each.log_probs for each in scored]))
