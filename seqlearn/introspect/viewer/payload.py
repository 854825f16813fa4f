"""A recording as plain data for a page: tokens, packed weights and vectors, and its pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from seqlearn.batch import SPECIAL_TOKENS
from seqlearn.introspect.plots.attention import escape_label
from seqlearn.introspect.viewer.layer_names import readable_names
from seqlearn.introspect.viewer.pictures import check_opens, find_pictures
from seqlearn.introspect.viewer.quantise import (
    MAX_DENSE,
    MAX_UNITS,
    Packed,
    pack_scores,
    pack_vectors,
    pack_weights,
)
from seqlearn.introspect.viewer.token_texts import guessed_pieces, unit_of

_MAX_TITLE = 80
"""Characters of a title that is made of the example's text."""


@runtime_checkable
class TokensOfExample(Protocol):
    """The tokens of one example, `None` where they are not known."""

    @property
    def source(self) -> list[str] | None:
        """The encoder's input."""

    @property
    def decoder_input(self) -> list[str] | None:
        """The decoder's input."""

    @property
    def decoder_output(self) -> list[str] | None:
        """The token predicted at each position."""

    @property
    def source_pieces(self) -> list[str] | None:
        """The source in pieces, one for each token, `None` where not known."""

    @property
    def output_pieces(self) -> list[str] | None:
        """The predicted text in pieces, one for each token, `None` where not known."""


@runtime_checkable
class Recorded(Protocol):
    """The part of `seqlearn.introspect.Recording` that the viewer uses."""

    @property
    def attention(self) -> Mapping[str, Tensor]:
        """Attention weights by module name, `batch heads query key`."""

    @property
    def states(self) -> Mapping[str, Tensor]:
        """States by module name, `batch time width`."""

    @property
    def gates(self) -> Mapping[str, Mapping[str, Tensor]]:
        """Gates by module name and gate, `batch time width`."""

    @property
    def tokens(self) -> Sequence[TokensOfExample]:
        """The tokens of each example."""

    @property
    def axes(self) -> Mapping[str, tuple[str, str]]:
        """Which sequences queries and keys are, where known."""

    @property
    def time_axis(self) -> Mapping[str, str]:
        """Which sequence states and gates follow, where known."""

    @property
    def extra(self) -> Mapping[str, Mapping[str, Tensor]]:
        """Tensors of registered kinds, by kind and module name."""

    @property
    def extra_axes(self) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
        """Which sequences their axes follow, where known."""


def page_data(
    recording: Recorded, title: str | None, *, opens: str | None = None, speed: float = 1.0
) -> dict[str, Any]:
    """Everything that the page shows.

    Modules that were not recorded once for each example are left out.

    Args:
        recording: The recording.
        title: The title; `None` for the text of the example, if there is only one.
        opens: The picture that is shown first; the first that can be drawn, if `None`.
        speed: Speed of playback at first.

    Returns:
        `title`, `opens`, `speed`, `labels` (what each module is called in the viewer) and
        `examples`, each with its tokens (as visible text), `attention`, `states`, `gates`,
        `vectors` (of heads: queries, keys and values), `extra`, and the `pictures` that can be
        drawn from them.

    Raises:
        ValueError: If the recording holds no example, the picture cannot be drawn of it, or the
            speed is not a positive number.
    """
    if not speed > 0 or not math.isfinite(speed):
        raise ValueError(f"expected speed as a positive number, such as 0.5, got {speed!r}")
    gates = [gate for gates in recording.gates.values() for gate in gates.values()]
    extra = [tensor for tensors in recording.extra.values() for tensor in tensors.values()]
    recorded = [*recording.attention.values(), *recording.states.values(), *gates, *extra]
    count = len(recording.tokens) or max((len(tensor) for tensor in recorded), default=0)
    if not count:
        raise ValueError(
            "expected a recording of at least one example, got an empty one; run the model inside "
            "the block of `record`"
        )
    examples: list[Packed] = [
        {
            "source": None,
            "decoder_input": None,
            "decoder_output": None,
            "attention": [],
            "states": [],
            "gates": [],
            "extra": [],
            "vectors": [],
        }
        for _ in range(count)
    ]
    for example, tokens in zip(examples, recording.tokens, strict=False):
        for side, texts in (
            ("source", tokens.source),
            ("decoder_input", tokens.decoder_input),
            ("decoder_output", tokens.decoder_output),
        ):
            example[side] = None if texts is None else [escape_label(text) for text in texts]
        _add_texts(example, tokens)
        answer = getattr(tokens, "answer", None)
        example["answer"] = None if answer is None else visible_title(answer)
    _add_attention(examples, recording)
    _add_states(examples, recording)
    _add_gates(examples, recording)
    _add_extra(examples, recording)
    drawn: list[str] = []
    for example in examples:
        pictures = find_pictures(example)
        example["pictures"] = pictures
        drawn += [picture["kind"] for picture in pictures]
    check_opens(opens, drawn)
    names = {escape_label(name): name for name in _modules(recording)}
    labels = readable_names(names.values())
    return {
        "title": visible_title(default_title(examples) if title is None else title),
        "opens": opens,
        "speed": float(speed),
        "labels": {shown: visible_title(labels[name]) for shown, name in names.items()},
        "examples": examples,
    }


def _modules(recording: Recorded) -> list[str]:
    """The names of all modules in the recording."""
    extra = [name for tensors in recording.extra.values() for name in tensors]
    return list(dict.fromkeys([*recording.attention, *recording.states, *recording.gates, *extra]))


def default_title(examples: Sequence[Mapping[str, Any]]) -> str:
    """The text of the only example, shortened; the name of the library if there are several."""
    texts = [side_text(examples[0], side) for side in ("source", "target")]
    text = " → ".join(part for part in texts if part)
    if len(examples) > 1 or not text:
        return "seqlearn"
    return text if len(text) <= _MAX_TITLE else f"{text[: _MAX_TITLE - 1].rstrip()}…"


def side_text(example: Mapping[str, Any], side: str) -> str:
    """The text of a side of an example; empty if it is not known, or is a series."""
    tokens = example["source" if side == "source" else "decoder_output"]
    if tokens is None or example["units"].get(side) == "step":
        return ""
    letters = ("" if token in SPECIAL_TOKENS else token.replace("␣", " ") for token in tokens)
    return "".join(example["texts"].get(side) or letters).strip()


def visible_title(title: str) -> str:
    """A title as visible text: spaces stay, invisible characters become code points."""
    return " ".join(escape_label(word) for word in title.split(" "))


def _add_texts(example: Packed, tokens: TokensOfExample) -> None:
    """Add what each side's tokens are called, and their texts, which joined are the text."""
    units, texts = {}, {}
    for side, names, pieces in (
        ("source", tokens.source, tokens.source_pieces),
        ("target", tokens.decoder_output, tokens.output_pieces),
    ):
        if names is None:
            continue
        # Of words alone, punctuation is not to stand apart.
        known = pieces is not None and not all(piece[:1] in ("", " ") for piece in pieces)
        parts = pieces if known and pieces is not None else guessed_pieces(names)
        units[side] = unit_of(names, parts)
        if units[side] != "character":
            texts[side] = [visible_title(part) for part in parts]
    example["units"], example["texts"] = units, texts


def _add_attention(examples: Sequence[Packed], recording: Recorded) -> None:
    for name in recording.attention:
        # Read once: weights of which only the largest are stored are expanded on each access.
        weights = recording.attention[name]
        if len(weights) != len(examples):
            continue
        axes = recording.axes.get(name, (None, None))
        all_scores = recording.extra.get("scores", {}).get(name)
        if all_scores is not None and all_scores.shape != weights.shape:
            all_scores = None  # those of another run
        for number, (example, heads) in enumerate(zip(examples, weights, strict=True)):
            rows, columns = (
                _length(example, axis, heads.shape[1 + i]) for i, axis in enumerate(axes)
            )
            cut = heads[:, :rows, :columns]
            packed = {
                "name": escape_label(name),
                "axes": list(axes),
                "rows": cut.shape[1],
                "columns": cut.shape[2],
                "heads": [pack_weights(head) for head in cut],
            }
            _list(example, "attention").append(packed)
            if all_scores is None or cut.shape[1] * cut.shape[2] > MAX_DENSE:
                continue
            scored = all_scores[number, :, : cut.shape[1], : cut.shape[2]]
            packed["scores"] = [pack_scores(head) for head in scored]


def _add_states(examples: Sequence[Packed], recording: Recorded) -> None:
    for name, states in recording.states.items():
        if len(states) != len(examples) or not states.shape[2]:
            continue
        time = recording.time_axis.get(name)
        for example, steps in zip(examples, states, strict=True):
            cut = steps[: _length(example, time, len(steps))]
            packed = {"name": escape_label(name), "time": time} | pack_vectors(cut)
            _list(example, "states").append(packed)


def _add_gates(examples: Sequence[Packed], recording: Recorded) -> None:
    for name, gates in recording.gates.items():
        time = recording.time_axis.get(name)
        if any(len(gate) != len(examples) or not gate.shape[2] for gate in gates.values()):
            continue
        for number, example in enumerate(examples):
            packed = {
                gate: pack_vectors(steps[number, : _length(example, time, steps.shape[1])])
                for gate, steps in gates.items()
            }
            _list(example, "gates").append(
                {"name": escape_label(name), "time": time, "gates": packed}
            )


def _add_extra(examples: Sequence[Packed], recording: Recorded) -> None:
    """Vectors over time, also of heads, of registered kinds; others are left out."""
    for kind, tensors in recording.extra.items():
        axes = recording.extra_axes.get(kind, {})
        for name, vectors in tensors.items():
            stated = axes.get(name, ())
            if kind == "scores" or vectors.ndim not in (3, 4) or len(stated) > 1:
                continue
            if len(vectors) != len(examples) or not vectors.shape[-1]:
                continue
            time = stated[0] if stated and stated[0] != "pooled" else None
            for example, steps in zip(examples, vectors, strict=True):
                cut = steps[..., : _length(example, time, steps.shape[-2]), :]
                about: Packed = {"kind": kind, "name": escape_label(name), "time": time}
                if vectors.ndim == 3:
                    # Of evenly spaced units of a sinusoidal encoding, all may be sines.
                    units = None if kind == "positions" else MAX_UNITS
                    _list(example, "extra").append(about | pack_vectors(cut, units))
                else:
                    about["heads"] = [pack_vectors(head) for head in cut]
                    _list(example, "vectors").append(about)


def _length(example: Packed, axis: str | None, size: int) -> int:
    """The length of an axis without padding."""
    tokens = {"source": example["source"], "target": example["decoder_input"]}.get(axis or "")
    return min(size, len(tokens)) if isinstance(tokens, list) else size


def _list(example: Packed, part: str) -> list[object]:
    found = example[part]
    assert isinstance(found, list)
    return found
