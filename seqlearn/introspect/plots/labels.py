"""Tokens of an example, and which sequence an axis follows."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from seqlearn.instrumentation import Axis

Axes = tuple[Axis, Axis]
"""The sequences of the queries and keys of an attention module."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of one example, without padding; `None` where they are not known.

    Attributes:
        source: The encoder's input.
        decoder_input: The decoder's input, which begins with the start symbol.
        decoder_output: The token predicted at each position (with teacher forcing: the label).
        source_pieces: The text of the source in pieces, one for each token with the space before
            it, if any: joined they are the text. `None` where not known.
        output_pieces: The same of `decoder_output`.
        answer: What a model without a decoder predicts: the labels with their probabilities, the
            label of each word, or the numbers of a vector.

    Examples:
        >>> Tokens(source=["how", "are", "you"]).along("source")
        ['how', 'are', 'you']
    """

    source: list[str] | None = None
    decoder_input: list[str] | None = None
    decoder_output: list[str] | None = None
    source_pieces: list[str] | None = field(default=None, compare=False)
    output_pieces: list[str] | None = field(default=None, compare=False)
    answer: str | None = field(default=None, compare=False)

    def along(self, axis: Axis) -> list[str] | None:
        """The tokens along an axis, where known."""
        if axis == "pooled":
            return ["pooled"]
        return self.source if axis == "source" else self.decoder_input


def _sizes(tokens: list[Tokens]) -> tuple[int | None, int | None]:
    """The longest source and the longest decoder input, where known."""
    source = max((len(t.source) for t in tokens if t.source is not None), default=None)
    return source, max(
        (len(t.decoder_input) for t in tokens if t.decoder_input is not None), default=None
    )


def axes_by_size(name: str, weights: Tensor, tokens: list[Tokens]) -> Axes | None:
    """The axes of attention weights, inferred from their sizes; `None` if they fit no sequence.

    Where source and target are equally long, weights without later keys are the target's
    self-attention; otherwise a part "encoder" of the name decides.
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
    """The sequence of this length; if both have it, a part "encoder" of the name decides."""
    source, target = _sizes(tokens)
    is_source, is_target = steps.shape[1] == source, steps.shape[1] == target
    if is_source and (not is_target or "encoder" in name.split(".")):
        return "source"
    return "target" if is_target else None
