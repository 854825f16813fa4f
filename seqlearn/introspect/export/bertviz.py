"""The format of bertviz (Vig 2019, "A Multiscale Visualization of Attention")."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from seqlearn.introspect.viewer import Recorded

_SIDES = {
    ("source", "source"): "encoder_attention",
    ("target", "target"): "decoder_attention",
    ("target", "source"): "cross_attention",
}


def head_view_arguments(one: Recorded) -> dict[str, Any]:
    """The arguments of bertviz's `head_view`.

    Args:
        one: The recording of one example.

    Returns:
        See `Recording.to_bertviz`.

    Raises:
        ValueError: If no attention with known tokens was recorded.
    """
    layers: dict[str, list[Tensor]] = {}
    tokens = {"source": one.tokens[0].source, "target": one.tokens[0].decoder_input}
    for name in one.attention:
        axes = one.axes.get(name, ("", ""))
        if axes in _SIDES and all(tokens[axis] is not None for axis in axes):
            layers.setdefault(_SIDES[axes], []).append(one.attention[name])
    if not layers:
        raise ValueError(
            "no attention between known tokens was recorded; record a call of a SequenceModule, or "
            "set the tokens of the examples with label()"
        )
    found: dict[str, Any] = {side: tuple(weights) for side, weights in layers.items()}
    sides = {"encoder_attention": tokens["source"], "decoder_attention": tokens["target"]}
    if len(found) == 1 and "cross_attention" not in found:
        ((side, weights),) = found.items()
        return {"attention": weights, "tokens": sides[side]}
    return found | {side.replace("attention", "tokens"): names for side, names in sides.items()}
