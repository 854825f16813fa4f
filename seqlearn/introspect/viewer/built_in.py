"""Seqlearn's own pictures: of which activations each can be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from seqlearn.introspect.viewer.pictures import Picture, PictureData, register_picture

_LSTM = {"input", "forget", "output", "candidate", "cell"}
_GRU = {"reset", "update", "candidate"}
_CROSS = ["target", "source"]
_NOTHING = 1e-6  # the largest absolute value of vectors that are zero


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


def _directions(example: Mapping[str, Any], name: str) -> list[str] | None:
    """The layers of both directions whose states a layer joins; `None` if it has one direction."""
    both = [f"{name}.forward_layer", f"{name}.backward_layer"]
    recorded = {one["name"] for one in example["states"]}
    return both if recorded.issuperset(both) else None


def rnn_cell(example: Mapping[str, Any]) -> list[PictureData]:
    """The inside of a tanh cell, where the terms of its sum were recorded."""
    terms = {one["name"] for one in example["extra"] if one["kind"] == "contributions"}
    choices = [
        one["name"]
        for one in example["states"]
        if terms.issuperset(f"{one['name']}.{term}" for term in ("input", "state", "bias"))
    ]
    return [{"choices": choices}] if choices else []


def lstm_chain(example: Mapping[str, Any]) -> list[PictureData]:
    """Three steps of an LSTM side by side."""
    choices = [one["name"] for one in example["gates"] if set(one["gates"]) == _LSTM]
    return [{"choices": choices}] if choices else []


def all_states(example: Mapping[str, Any]) -> list[PictureData]:
    """Encoder and decoder with attention to all states of the encoder."""
    return [
        {
            "attention": one["attention"],
            "source": one["source"],
            "target": one["target"],
            "directions": _directions(example, one["source"]),
        }
        for one in cross_attention_steps(example)
    ]


def any_attention(example: Mapping[str, Any]) -> list[PictureData]:
    """Attention in general: query, keys, weights and values; opens at the last cross-attention."""
    return all_heads(example)


def query_key_value(example: Mapping[str, Any]) -> list[PictureData]:
    """Query, key and value of one head, where they were recorded."""
    recorded = [
        {one["name"] for one in example["vectors"] if one["kind"] == kind}
        for kind in ("queries", "keys", "values")
    ]
    choices = [
        one["name"]
        for one in example["attention"]
        if len(one["heads"]) > 1 and all(one["name"] in names for names in recorded)
    ]
    return [{"choices": choices, "opens": choices[-1]}] if choices else []


def positions(example: Mapping[str, Any]) -> list[PictureData]:
    """The map of position encodings; rotary positions add nothing to the embeddings."""
    choices = [
        one["name"]
        for one in example["extra"]
        if one["kind"] == "positions" and one["scale"] > _NOTHING
    ]
    return [{"choices": choices}] if choices else []


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
    source = layers["source"]
    directions = _directions(example, source)
    both: PictureData = {"source": source, "target": layers["target"], "directions": directions}
    both["attends"] = any(one["axes"] == _CROSS for one in example["attention"])
    return [{"vector": vectors[0]} | both]


def gates(example: Mapping[str, Any]) -> list[PictureData]:
    """The inside of an LSTM or a GRU at one step."""
    found = {one["name"]: set(one["gates"]) for one in example["gates"]}
    choices = [name for name, gates in found.items() if gates in (_LSTM, _GRU)]
    if not choices:
        return []
    has_cell = any(found[name] == _LSTM for name in choices)
    title = "Cell state and gates" if has_cell else "State and gates"
    return [{"choices": choices, "title": title}]


def unrolled_rnn(example: Mapping[str, Any]) -> list[PictureData]:
    """A recurrent layer unrolled in time."""
    choices = list(_recurrent(example))
    joined = [name for name in choices if _directions(example, name)]
    if not choices:
        return []
    return [{"choices": choices, "joined": joined, "opens": (joined or choices)[0]}]


def all_heads(example: Mapping[str, Any]) -> list[PictureData]:
    """Every head of every attention module; opens at the last cross-attention."""
    attention = example["attention"]
    if not attention:
        return []
    cross = [one["name"] for one in attention if one["axes"] == _CROSS]
    return [{"opens": (cross or [attention[0]["name"]])[-1]}]


for _find in (
    cross_attention_steps,
    all_states,
    multi_head_per_token,
    query_key_value,
    context_vector,
    gates,
    lstm_chain,
    rnn_cell,
    unrolled_rnn,
    any_attention,
    all_heads,
    positions,
):
    _folder = files("seqlearn.introspect.viewer") / "assets" / "pictures"
    register_picture(Picture(_find.__name__, _folder / f"{_find.__name__}.js", _find))
