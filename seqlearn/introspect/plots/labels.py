"""What the places of a recording are called: tokens, and which sequence an axis follows."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from seqlearn.instrumentation import Axis

Axes = tuple[Axis, Axis]
"""What the queries and the keys of a module's weights are; one query makes a pooled vector."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of one example, padding left out; `None` where they are not known.

    Attributes:
        source: What the encoder read.
        decoder_input: What the decoder read, the start symbol first.
        decoder_output: The token predicted at each position (with teacher forcing: the label).
    """

    source: list[str] | None = None
    decoder_input: list[str] | None = None
    decoder_output: list[str] | None = None


def _sizes(tokens: list[Tokens]) -> tuple[int | None, int | None]:
    """The longest source and the longest decoder input, where known."""
    source = max((len(t.source) for t in tokens if t.source is not None), default=None)
    return source, max(
        (len(t.decoder_input) for t in tokens if t.decoder_input is not None), default=None
    )


def axes_by_size(name: str, weights: Tensor, tokens: list[Tokens]) -> Axes | None:
    """What the queries and keys of a module are, told by their sizes; `None` if neither side fits.

    Where source and target are equally long, weights that see no later key are the target's own;
    for others, a part "encoder" of the name decides.
    """
    source, target = _sizes(tokens)
    size = tuple(weights.shape[2:])
    if size == (target, target) and not weights.triu(1).any():
        return "target", "target"
    own, cross = size == (source, source), size == (target, source)
    if own and (not cross or "encoder" in name.split(".")):
        return "source", "source"
    return ("target", "source") if cross else None


def time_by_size(name: str, steps: Tensor, tokens: list[Tokens]) -> Axis | None:
    """Which sequence has as many steps; where both have, a part "encoder" of the name decides."""
    source, target = _sizes(tokens)
    is_source, is_target = steps.shape[1] == source, steps.shape[1] == target
    if is_source and (not is_target or "encoder" in name.split(".")):
        return "source"
    return "target" if is_target else None
