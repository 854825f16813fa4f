"""A recording as plain data for a page: tokens, packed weights and vectors, and which pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from seqlearn.introspect.plots.attention import escape_label
from seqlearn.introspect.viewer.pictures import pictures
from seqlearn.introspect.viewer.quantise import Packed, pack_vectors, pack_weights


@runtime_checkable
class TokensOfExample(Protocol):
    """The tokens of one example, `None` where they are not known."""

    @property
    def source(self) -> list[str] | None:
        """What the encoder read."""

    @property
    def decoder_input(self) -> list[str] | None:
        """What the decoder read."""

    @property
    def decoder_output(self) -> list[str] | None:
        """What the decoder answered to each of them."""


@runtime_checkable
class Recorded(Protocol):
    """What the viewer reads of a recording; `seqlearn.introspect.Recording` says what it means."""

    @property
    def attention(self) -> Mapping[str, Tensor]:
        """Weights by module name, `batch heads query key`."""

    @property
    def states(self) -> Mapping[str, Tensor]:
        """States by module name, `batch time width`."""

    @property
    def gates(self) -> Mapping[str, Mapping[str, Tensor]]:
        """By module name and gate `batch time hidden`."""

    @property
    def tokens(self) -> Sequence[TokensOfExample]:
        """One for each example."""

    @property
    def axes(self) -> Mapping[str, tuple[str, str]]:
        """What queries and keys are, where known."""

    @property
    def time_axis(self) -> Mapping[str, str]:
        """Which sequence states and gates follow, where known."""


def payload(recording: Recorded, title: str) -> Packed:
    """Everything that the page shows.

    Modules that were not heard once for each example are left out.

    Args:
        recording: What was heard.
        title: What stands above.

    Returns:
        `title` and `examples`, each with its tokens (as they can be shown), `attention`, `states`,
        `gates`, and the `pictures` that can be drawn from them.

    Raises:
        ValueError: If the recording holds no example.
    """
    gates = [gate for gates in recording.gates.values() for gate in gates.values()]
    heard = [*recording.attention.values(), *recording.states.values(), *gates]
    count = len(recording.tokens) or max((len(tensor) for tensor in heard), default=0)
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
    _add_attention(examples, recording)
    _add_states(examples, recording)
    _add_gates(examples, recording)
    for example in examples:
        example["pictures"] = pictures(example)
    return {"title": shown_title(title), "examples": examples}


def shown_title(title: str) -> str:
    """A title as it can be shown: its spaces stay, what has no shape is a code point."""
    return " ".join(escape_label(word) for word in title.split(" "))


def _add_attention(examples: Sequence[Packed], recording: Recorded) -> None:
    for name in recording.attention:
        weights = recording.attention[name]  # Made anew at each look where only a part was kept.
        if len(weights) != len(examples):
            continue
        axes = recording.axes.get(name, (None, None))
        for example, heads in zip(examples, weights, strict=True):
            rows, columns = (
                _length(example, axis, heads.shape[1 + i]) for i, axis in enumerate(axes)
            )
            cut = heads[:, :rows, :columns]
            _list(example, "attention").append(
                {
                    "name": escape_label(name),
                    "axes": list(axes),
                    "rows": cut.shape[1],
                    "columns": cut.shape[2],
                    "heads": [pack_weights(head) for head in cut],
                }
            )


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


def _length(example: Packed, axis: str | None, size: int) -> int:
    """How much of an axis is the example's own."""
    tokens = {"source": example["source"], "target": example["decoder_input"]}.get(axis or "")
    return min(size, len(tokens)) if isinstance(tokens, list) else size


def _list(example: Packed, part: str) -> list[object]:
    found = example[part]
    assert isinstance(found, list)
    return found
