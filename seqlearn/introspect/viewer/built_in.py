"""Seqlearn's own pictures: of which activations each can be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from seqlearn.introspect.viewer.pictures import Picture, PictureData, register_picture

_LSTM = {"input", "forget", "output", "candidate", "cell"}
_GRU = {"reset", "update", "candidate"}
_CROSS = ["target", "source"]


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _recurrent(example: Mapping[str, Any]) -> dict[str, str]:
    """The recurrent layers by name, with the sequence that they follow.

    States belong to a recurrent layer unless attention was recorded inside the same module: a
    Transformer block reports its output as states, too.
    """
    parents = [_parent(one["name"]) for one in example["attention"]]
    return {
        one["name"]: one["time"]
        for one in example["states"]
        if one["time"] is not None
        and not any(p == one["name"] or p.startswith(one["name"] + ".") for p in parents)
    }


def _last_layers(example: Mapping[str, Any]) -> dict[str, str]:
    """The last recurrent layer of the source and of the target, as far as there are any."""
    return {time: name for name, time in _recurrent(example).items()}


def cross_attention_steps(example: Mapping[str, Any]) -> list[PictureData]:
    """Single-head cross-attention, with the states of encoder and decoder."""
    layers = _last_layers(example)
    if not {"source", "target"} <= set(layers):
        return []
    names = [state["name"] for state in example["states"]]
    return [
        {
            "attention": one["name"],
            "source": layers["source"],
            "target": layers["target"],
            "output": parent if (parent := _parent(one["name"])) in names else None,
        }
        for one in example["attention"]
        if len(one["heads"]) == 1 and one["axes"] == _CROSS
    ]


def multi_head_per_token(example: Mapping[str, Any]) -> list[PictureData]:
    """All heads of one layer for one token; opens at the last layer of the decoder."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for one in example["attention"]:
        if len(one["heads"]) > 1 or one["axes"] != _CROSS:
            groups.setdefault(_parent(one["name"]) or one["name"], []).append(one)
    if not groups:
        return []
    choices = [
        {"name": name, "attention": [one["name"] for one in group]}
        for name, group in groups.items()
    ]
    decoder = [name for name, group in groups.items() if group[0]["axes"][0] == "target"]
    return [{"choices": choices, "opens": decoder[-1] if decoder else choices[0]["name"]}]


def context_vector(example: Mapping[str, Any]) -> list[PictureData]:
    """Encoder and decoder with one vector between them."""
    layers = _last_layers(example)
    vectors = [s["name"] for s in example["states"] if s["time"] is None and s["steps"] == 1]
    if not vectors or not {"source", "target"} <= set(layers):
        return []
    return [{"vector": vectors[0], "source": layers["source"], "target": layers["target"]}]


def gates(example: Mapping[str, Any]) -> list[PictureData]:
    """The inside of an LSTM or a GRU at one step."""
    choices = [one["name"] for one in example["gates"] if set(one["gates"]) in (_LSTM, _GRU)]
    return [{"choices": choices}] if choices else []


def unrolled_rnn(example: Mapping[str, Any]) -> list[PictureData]:
    """A recurrent layer unrolled in time."""
    choices = list(_recurrent(example))
    return [{"choices": choices}] if choices else []


def all_heads(example: Mapping[str, Any]) -> list[PictureData]:
    """Every head of every attention module; opens at the last cross-attention."""
    attention = example["attention"]
    if not attention:
        return []
    cross = [one["name"] for one in attention if one["axes"] == _CROSS]
    return [{"opens": (cross or [attention[0]["name"]])[-1]}]


for _find in (
    cross_attention_steps,
    multi_head_per_token,
    context_vector,
    gates,
    unrolled_rnn,
    all_heads,
):
    _folder = files("seqlearn.introspect.viewer") / "assets" / "pictures"
    register_picture(Picture(_find.__name__, _folder / f"{_find.__name__}.js", _find))
