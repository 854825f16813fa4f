"""Recordings as files: one safetensors file with the tensors, and JSON in its header."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from torch import Tensor

from seqlearn.introspect.plots.labels import Tokens
from seqlearn.introspect.recording.io import reading_tensors, write_tensors
from seqlearn.introspect.recording.top_k_weights import TopKWeights

_FORMAT = "seqlearn.recording/4"

_NDIM = 4  # batch heads query k
_SPARE_LENGTH, _LEAST_LENGTH = 16, 64


def save_recording(recording: Any, path: str | os.PathLike[str]) -> None:
    """Write a recording; see `Recording.save`."""
    tensors: dict[str, Tensor] = {f"states/{n}": tensor for n, tensor in recording.states.items()}
    tensors |= {
        f"gates/{gate}/{name}": tensor
        for name, gates in recording.gates.items()
        for gate, tensor in gates.items()
    }
    tensors |= {
        f"extra/{kind}/{name}": tensor
        for kind, by_name in recording.extra.items()
        for name, tensor in by_name.items()
    }
    keys: dict[str, int] | None = None
    if isinstance(recording.attention, TopKWeights):
        kept = recording.attention.kept.items()
        keys = {name: number for name, (_, _, number) in kept}
        tensors |= {f"attention/{name}": weights for name, (weights, _, _) in kept}
        tensors |= {f"indices/{name}": indices for name, (_, indices, _) in kept}
    else:
        tensors |= {f"attention/{name}": weights for name, weights in recording.attention.items()}
    parts = {
        "attention": list(recording.attention),
        "keys": keys,
        "states": list(recording.states),
        "gates": {name: list(gates) for name, gates in recording.gates.items()},
        "extra": {kind: list(by_name) for kind, by_name in recording.extra.items()},
        "tokens": [_plain_tokens(tokens) for tokens in recording.tokens],
        "axes": recording.axes,
        "time_axis": recording.time_axis,
        "extra_axes": recording.extra_axes,
        "stated": sorted(recording.stated),
    }
    write_tensors(path, tensors, _FORMAT, parts)


def _plain_tokens(tokens: Tokens) -> dict[str, Any]:
    """The fields of an example's tokens; the prediction only where there is one.

    So the file of a model with a decoder can be read by versions that know no prediction.
    """
    plain = asdict(tokens)
    if plain["answer"] is None:
        del plain["answer"]
    return plain


def load_recording(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the fields of a recording; see `Recording.load`."""
    expected = "a recording written by Recording.save"
    with reading_tensors(path, _FORMAT, expected) as (read, plain):
        names, keys = plain["attention"], plain["keys"]
        attention: Any = {name: read(f"attention/{name}") for name in names} if keys is None else {}
        if keys is not None:
            kept = {n: (read(f"attention/{n}"), read(f"indices/{n}"), keys[n]) for n in names}
            _check_keys(kept, plain["tokens"])
            attention = TopKWeights(kept)
        return {
            "attention": attention,
            "states": {name: read(f"states/{name}") for name in plain["states"]},
            "gates": {
                name: {gate: read(f"gates/{gate}/{name}") for gate in gates}
                for name, gates in plain["gates"].items()
            },
            "extra": {
                kind: {name: read(f"extra/{kind}/{name}") for name in by_name}
                for kind, by_name in plain["extra"].items()
            },
            "tokens": [Tokens(**one) for one in plain["tokens"]],
            "axes": {name: (queries, keys) for name, (queries, keys) in plain["axes"].items()},
            "time_axis": dict(plain["time_axis"]),
            "extra_axes": {
                kind: {name: tuple(axes) for name, axes in by_name.items()}
                for kind, by_name in plain["extra_axes"].items()
            },
            "stated": frozenset(plain["stated"]),
        }


def _check_keys(kept: dict[str, tuple[Tensor, Tensor, Any]], tokens: list[dict[str, Any]]) -> None:
    """Check the number of keys of the largest weights, to which access expands them.

    The number stands in the file alone, so it is compared with the lengths that the file shows: of
    tokens, queries, and places of weights. A source can be longer than these, but not by much.

    Raises:
        ValueError: If the number cannot be that of the recording.
    """
    lengths = [len(side) for one in tokens for side in one.values() if isinstance(side, list)]
    lengths += [weights.shape[-2] for weights, _, _ in kept.values() if weights.ndim > 1]
    for name, (weights, indices, keys) in kept.items():
        if weights.shape != indices.shape or weights.ndim != _NDIM or indices.is_floating_point():
            raise ValueError(f"the weights of {name} and their places have other shapes")
        places = (int(indices.min()), int(indices.max())) if indices.numel() else (0, 0)
        most = _SPARE_LENGTH * max(_LEAST_LENGTH, places[1] + 1, *lengths)
        whole = isinstance(keys, int) and not isinstance(keys, bool)
        if not whole or not max(weights.shape[-1], places[1] + 1) <= keys <= most or places[0] < 0:
            raise ValueError(f"{name} has {keys!r} keys, which its weights do not fit")
