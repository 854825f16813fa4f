"""The figure of one module of a recording."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from seqlearn.introspect.measures.gates import is_gate
from seqlearn.introspect.plots.attention import attention_heads, attention_map
from seqlearn.introspect.plots.heatmaps import state_heatmap


def plot_attention(recording: Any, name: str, example: int, head: int | None) -> Figure:
    """Draw the attention weights of a module, one map per head; see `Recording.plot`."""
    weights = recording.weights_of(name, example).float().cpu().numpy()
    queries, keys = recording.labels(name, example)
    axes = recording.axes.get(name, ("query", "key"))
    if head is None and len(weights) > 1:
        return attention_heads(weights, queries, keys, title=name, axes=axes)
    if head is not None and not 0 <= head < len(weights):
        raise IndexError(f"{name}: expected a head from 0 to {len(weights) - 1}, got {head}")
    title = name if head is None else f"{name}, head {head}"
    return attention_map(weights[head or 0], queries, keys, title=title, axes=axes)


def plot_states(recording: Any, name: str, example: int) -> Figure:
    """Draw the states, gates and other vectors of a module over time; see `Recording.plot`."""
    tensors: dict[str, Tensor] = {}
    if name in recording.states:
        tensors["states"] = recording.states[name]
    gates = recording.gates.get(name, {})
    tensors |= gates
    time = recording.time_axis.get(name)
    for kind, by_name in recording.extra.items():
        if name in by_name and by_name[name].ndim == 3:
            tensors[kind] = by_name[name]
            time = time or recording.extra_axes.get(kind, {}).get(name, (None,))[0]
    for steps in tensors.values():
        if not 0 <= example < len(steps):
            raise IndexError(
                f"{name}: expected an example from 0 to {len(steps) - 1}, got {example}"
            )
    known = len(recording.tokens) == len(next(iter(tensors.values())))
    labels = recording.tokens_along(time, example) if known else None
    size = None if labels is None else len(labels)
    cut = {kind: steps[example, :size].float().cpu().numpy() for kind, steps in tensors.items()}
    drawn = [kind for kind, values in gates.items() if is_gate(kind, values[example, :size])]
    return state_heatmap(cut, labels, title=name, time=time or "time", gates=drawn)
