"""CTranslate2: the weights of a `Transformer` under the names of its specification."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from seqlearn.batch import END, START, UNKNOWN
from seqlearn.core import SequenceModule
from seqlearn.export.ctranslate2_model import CTranslate2Model
from seqlearn.export.ctranslate2_support import check_log_probs, check_supported, name_of
from seqlearn.export.folder import (
    changed_rules,
    check_strategy,
    config_of,
    export_folder,
    write_config,
)
from seqlearn.export.packages import require
from seqlearn.export.traceable import cpu_copy
from seqlearn.nn import (
    LearnedPositions,
    PreNormDecoderLayer,
    PreNormEncoderLayer,
    SinusoidalPositions,
    sinusoidal,
)

MAX_POSITIONS = 4096
"""Rows of the table of sinusoidal positions, the most tokens that an export of them reads."""

QUANTIZATIONS = ("float32", "int8", "int8_float32", "int16", "float16", "bfloat16")

Array = NDArray[Any]


def export_ctranslate2(
    module: SequenceModule, path: str | os.PathLike[str], *, quantization: str | None = None
) -> None:
    """Write a model of CTranslate2; see `SequenceModule.export`.

    Args:
        module: A `Transformer`, or a module with its encoder and decoder.
        path: The folder.
        quantization: How weights are stored and multiplied: `"int8"`, `"int16"`, `"float16"` …;
            `None` is single precision.

    Raises:
        ValueError: If CTranslate2 does not have a part of the module, the saved strategy samples,
            there is no such quantization, or the export computes something else.
        ModuleNotFoundError: If ctranslate2 is not installed.
    """
    require("ctranslate2")
    check_supported(module)
    check_strategy(module)
    if quantization not in (None, *QUANTIZATIONS):
        names = ", ".join(map(repr, QUANTIZATIONS))
        raise ValueError(f"expected quantization {names} or None, got {quantization!r}")
    saved = module.generation
    if saved.strategy == "beam" and saved.early_stopping is not True:
        warnings.warn(
            "CTranslate2 ends a source as early_stopping=True does, and this model saves "
            f"early_stopping={saved.early_stopping!r}: texts may differ from those of generate; "
            "set model.generation with early_stopping=True, or use format='onnx'",
            stacklevel=3,
        )
    if saved.strategy == "beam" and (changed := changed_rules(saved)):
        warnings.warn(
            f"the beam search of CTranslate2 applies {', '.join(changed)} before the softmax, and "
            "generate after it: texts may differ from those of generate; leave them out of "
            "model.generation, or use format='onnx'",
            stacklevel=3,
        )
    model = cpu_copy(module)
    config = config_of(module, "ctranslate2") | {"quantization": quantization or "float32"}
    for side, half in (("source", model.encoder), ("target", model.decoder)):
        if isinstance(getattr(half, "positions", None), SinusoidalPositions):
            advice = "shorten it" if side == "source" else "shorten the prompt or max_new_tokens"
            limit = {"tokens": MAX_POSITIONS, "advice": advice, "is_error": True}
            config["limits"][side] = limit
    most, limit = config["generation"]["max_new_tokens"], config["limits"].get("target")
    if limit is not None and most > limit["tokens"]:
        raise ValueError(
            f"max_new_tokens of this model is {most}, and CTranslate2 has {limit['tokens']} "
            "positions of a target here; set model.generation with a smaller max_new_tokens"
        )
    config["tokens"] = {
        name: vocabulary(getattr(module.spec, name))
        for name in ("source", "target")
        if getattr(module.spec, name) is not None
    }
    with export_folder(path) as folder:
        write_config(folder, config)
        _write(model, folder, None)
        check_log_probs(model, CTranslate2Model(folder, compute_type="float32"))
        if quantization not in (None, "float32"):
            # Rounding hides mistakes, so the weights are checked before they are rounded.
            _write(model, folder, quantization)
        CTranslate2Model(folder).check()


def _write(model: SequenceModule, folder: Path, quantization: str | None) -> None:
    """Write the model of CTranslate2 into a folder."""
    spec = make_spec(model)
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(folder))


def vocabulary(side: Any) -> list[str]:
    """The token of each id; the ids themselves where there is no tokenizer or tokens repeat."""
    numbers = [f"<{number}>" for number in range(side.vocab_size)]
    if side.tokenizer is None:
        return numbers
    tokenizer = require("tokenizers").Tokenizer.from_str(side.tokenizer)
    tokens = [tokenizer.id_to_token(number) for number in range(side.vocab_size)]
    return tokens if None not in tokens and len(set(tokens)) == len(tokens) else numbers


def make_spec(model: SequenceModule) -> Any:
    """The specification with the weights of a model on the CPU in single precision."""
    specs = require("ctranslate2.specs")
    decoder: Any = model.decoder
    target: Any = model.spec.target
    has_source = model.spec.source is not None
    options = _options(decoder, specs)
    half = specs.transformer_spec.TransformerDecoderSpec(
        len(decoder.layers), with_encoder_attention=has_source, **options
    )
    _set_half(half, model.decoder)
    embedding: Any = model.target_embedding
    half.embeddings.weight = _array(embedding.weight)
    _set_linear(half.projection, model.head.weight, model.head.bias)
    tokens = vocabulary(target)
    if not has_source:
        spec = specs.TransformerDecoderModelSpec(half)
        spec.register_vocabulary(tokens)
    else:
        encoder: Any = model.encoder
        first = specs.transformer_spec.TransformerEncoderSpec(
            len(encoder.layers), **_options(encoder, specs)
        )
        _set_half(first, encoder)
        embedding = model.source_embedding
        first.embeddings[0].weight = _array(embedding.weight)
        spec = specs.TransformerSpec(first, half)
        spec.register_source_vocabulary(vocabulary(model.spec.source))
        spec.register_target_vocabulary(tokens)
        spec.config.decoder_start_token = tokens[START]
    spec.config.bos_token, spec.config.eos_token = tokens[START], tokens[END]
    spec.config.unk_token = tokens[UNKNOWN]
    spec.config.layer_norm_epsilon = decoder.layers[0].norm_feedforward.eps
    return spec


def _options(half: Any, specs: Any) -> dict[str, Any]:
    """The arguments of a specification that the encoder and the decoder share."""
    layer = half.layers[0]
    activation = name_of(layer.feedforward.activation).upper()
    rotary: dict[str, Any] = {"rotary_dim": 0, "rotary_interleave": True}
    return {
        "num_heads": layer.self_attention.num_heads,
        "pre_norm": isinstance(layer, PreNormEncoderLayer | PreNormDecoderLayer),
        "no_final_norm": half.norm is None,
        "activation": specs.common_spec.Activation[activation],
    } | (rotary if layer.self_attention.rotary else {})


def _set_half(spec: Any, half: Any) -> None:
    positions = half.positions
    spec.scale_embeddings = not isinstance(positions, LearnedPositions)
    d_model = half.layers[0].norm_feedforward.weight.shape[0]
    if isinstance(positions, LearnedPositions):
        spec.position_encodings.encodings = _array(positions.weight)
    elif isinstance(positions, SinusoidalPositions):
        spec.position_encodings.encodings = _array(sinusoidal(0, MAX_POSITIONS, d_model))
    if half.norm is not None:
        _set_norm(spec.layer_norm, half.norm)
    for target, layer in zip(spec.layer, half.layers, strict=True):
        _set_norm(target.self_attention.layer_norm, layer.norm_self_attention)
        _set_attention(target.self_attention.linear, layer.self_attention, [3])
        if hasattr(target, "attention"):
            _set_norm(target.attention.layer_norm, layer.norm_cross_attention)
            _set_attention(target.attention.linear, layer.cross_attention, [1, 2])
        _set_norm(target.ffn.layer_norm, layer.norm_feedforward)
        inner, outer = layer.feedforward.inner, layer.feedforward.outer
        _set_linear(target.ffn.linear_0, inner.weight, inner.bias)
        _set_linear(target.ffn.linear_1, outer.weight, outer.bias)


def _set_attention(linears: Any, attention: Any, parts: list[int]) -> None:
    """Queries, keys and values in one matrix, or queries in one and keys and values in another."""
    sizes = [part * attention.d_model for part in parts]
    weights = attention.projection.weight.split(sizes)
    biases = attention.projection.bias.split(sizes)
    for linear, weight, bias in zip(linears, weights, biases, strict=False):
        _set_linear(linear, weight, bias)
    _set_linear(linears[-1], attention.output.weight, attention.output.bias)


def _set_linear(spec: Any, weight: Tensor, bias: Tensor) -> None:
    spec.weight, spec.bias = _array(weight), _array(bias)


def _set_norm(spec: Any, norm: nn.LayerNorm) -> None:
    spec.gamma, spec.beta = _array(norm.weight), _array(norm.bias)


def _array(weight: Tensor) -> Array:
    array: Array = weight.detach().contiguous().numpy()
    return array.astype(np.float32)
