"""What modules are called in the viewer: "Decoder layer 2, cross-attention"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_WORDS = {
    "attentional_hidden": "attentional state",
    "backward_layer": "backwards",
    "context": "context vector",
    "cross_attention": "cross-attention",
    "feedforward": "feed-forward",
    "forward_layer": "forwards",
    "self_attention": "self-attention",
}
_NUMBERED = {"layers": "layer", "layer": "layer", "blocks": "block", "block": "block"}
"""Lists of modules, whose numbers are shown from 1."""

_SILENT = {"recurrence", "attentional_hidden"}
"""Parts that say nothing beside the part that follows."""


def readable_names(names: Iterable[str]) -> dict[str, str]:
    """A readable name for each module; its own name where two modules would share one.

    Args:
        names: Names from `model.named_modules()`.

    Examples:
        >>> readable_names(["decoder.layers.1.cross_attention"])
        {'decoder.layers.1.cross_attention': 'Decoder layer 2, cross-attention'}
    """
    readable = {name: readable_name(name) for name in names}
    count = Counter(readable.values())
    return {name: label if count[label] == 1 else name for name, label in readable.items()}


def readable_name(name: str) -> str:
    """The name of one module in words; layers are counted from 1.

    Examples:
        >>> readable_name("encoder.layers.0.forward_layer")
        'Encoder layer 1, forwards'
        >>> readable_name("decoder.attentional_hidden.attention")
        'Decoder attention'
    """
    if not name:
        return "The model"
    parts, clauses = name.split("."), [""]
    for place, part in enumerate(parts):
        following = parts[place + 1] if place + 1 < len(parts) else None
        if part in _SILENT and following is not None:
            continue
        if part.isdecimal() and place and parts[place - 1] in _NUMBERED:
            clauses[-1] += f" {int(part) + 1}"
            clauses.append("")
            continue
        numbered = following is not None and following.isdecimal()
        words = _NUMBERED[part] if part in _NUMBERED and numbered else _WORDS.get(part)
        clauses[-1] += " " + (words or part.replace("_", " "))
    text = ", ".join(clause.strip() for clause in clauses if clause.strip())
    return text[:1].upper() + text[1:]
