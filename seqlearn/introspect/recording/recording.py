"""`Recording`: recorded activations with their tokens, to select, plot, save and load."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from matplotlib.figure import Figure
from torch import Tensor

from seqlearn.batch import length_mask
from seqlearn.class_methods import class_only_method
from seqlearn.instrumentation import Axis
from seqlearn.introspect.export.bertviz import head_view_arguments
from seqlearn.introspect.export.gif import to_gif
from seqlearn.introspect.plots.labels import Axes, Tokens, axes_by_size, time_by_size
from seqlearn.introspect.recording.files import load_recording, save_recording
from seqlearn.introspect.recording.plotting import plot_attention, plot_states
from seqlearn.introspect.recording.selecting import select_example, select_head, select_modules
from seqlearn.introspect.viewer import View, to_html, to_html_fragment

_MAX_SHOWN = 16  # examples that a notebook shows by itself; more would make the notebook large


@dataclass(repr=False)
class Recording:
    """The activations that were recorded while a block of `record` ran.

    Positions after the last token of an example are padding: their states and gates are
    meaningless. `select` removes them and `mask` marks them.

    Attributes:
        attention: Attention weights by module name, `batch heads query key`. Rows sum to one over
            visible keys (unless only the largest weights were kept); padded and invisible keys
            have weight zero.
        states: Hidden states by module name, `batch time width`.
        gates: By module name and gate, `batch time width`: for an LSTM `input`, `forget`, `output`,
            `candidate` and `cell` (its c_t), for a GRU `reset`, `update` and `candidate`.
        tokens: The tokens of each example, in the order of `batch`.
        axes: By module name, which sequences the queries and keys of its attention are, where
            known.
        time_axis: By module name, which sequence its states and gates follow, where known.
        stated: Names of the modules that state their axes; those of other modules are inferred.
        extra: By kind and module name, the tensors of the other kinds of `introspect.DETAILED` and
            of those that were registered with `register_kind`.
        extra_axes: By kind and module name, which sequences the axes of these tensors follow,
            where known.

    Examples:
        >>> import torch
        >>> from seqlearn.introspect import Recording
        >>> Recording({"cross": torch.ones(1, 2, 3, 4) / 4})
        Recording(0 examples; attention: {'cross': (1, 2, 3, 4)})
    """

    attention: Mapping[str, Tensor] = field(default_factory=dict)
    states: dict[str, Tensor] = field(default_factory=dict)
    gates: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    tokens: list[Tokens] = field(default_factory=list)
    axes: dict[str, Axes] = field(default_factory=dict)
    time_axis: dict[str, Axis] = field(default_factory=dict)
    stated: frozenset[str] = frozenset()
    extra: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    extra_axes: dict[str, dict[str, tuple[Axis, ...]]] = field(default_factory=dict)

    def __repr__(self) -> str:
        shown = [f"{len(self.tokens)} examples"]
        kinds = {"attention": self.attention, "states": self.states} | self.extra
        for kind, tensors in kinds.items():
            shapes = [f"{name!r}: {tuple(tensor.shape)}" for name, tensor in tensors.items()]
            shown += [f"{kind}: {{{', '.join(shapes)}}}"] if shapes else []
        if self.gates:
            names = [f"{name!r}: {', '.join(gates)}" for name, gates in self.gates.items()]
            shown.append(f"gates: {{{'; '.join(names)}}}")
        return f"Recording({'; '.join(shown)})"

    def __getitem__(self, kind: str) -> Mapping[str, Any]:
        """Everything of one kind, by module name: `recording["attention"]["encoder.layers.0"]`.

        Raises:
            KeyError: If nothing of this kind was recorded and it is not a kind of seqlearn's.
        """
        kinds: dict[str, Mapping[str, Any]] = {
            "attention": self.attention,
            "states": self.states,
            "gates": self.gates,
        }
        kinds |= self.extra
        if kind not in kinds:
            raise KeyError(f"nothing of kind {kind!r} was recorded; kinds: {list(kinds)}")
        return kinds[kind]

    @property
    def modules(self) -> list[str]:
        """The names of all recorded modules."""
        extra = [name for tensors in self.extra.values() for name in tensors]
        return list(dict.fromkeys([*self.attention, *self.states, *self.gates, *extra]))

    @property
    def source(self) -> list[list[str] | None]:
        """The source tokens of each example."""
        return [tokens.source for tokens in self.tokens]

    @property
    def target(self) -> list[list[str] | None]:
        """The predicted tokens of each example; with teacher forcing, the labels."""
        return [tokens.decoder_output for tokens in self.tokens]

    def knows(self, axis: Axis) -> bool:
        """Whether the tokens along an axis are known for every example."""
        return None not in [tokens.along(axis) for tokens in self.tokens]

    def mask(self, axis: Axis) -> Bool[Tensor, "batch time"]:
        """True where an example has a token; as wide as the longest, at least one for a source.

        Raises:
            ValueError: If the tokens of an example are not known; `label` sets them.
        """
        sides = [tokens.along(axis) for tokens in self.tokens]
        lengths = [len(side) for side in sides if side is not None]
        if not self.knows(axis):
            raise ValueError(
                f"the {axis} tokens of example {sides.index(None)} are not known; set them with "
                "label()"
            )
        width = max([int(axis == "source"), *lengths])
        return length_mask(torch.tensor(lengths, device=self._device), width)

    @property
    def _device(self) -> torch.device | None:
        """The device of what was recorded; attention last, for it may be expanded on access."""
        tensors = chain(
            self.states.values(),
            *(gates.values() for gates in self.gates.values()),
            *(tensors.values() for tensors in self.extra.values()),
            self.attention.values(),
        )
        return next((tensor.device for tensor in tensors), None)

    def label(self, tokens: list[Tokens]) -> None:
        """Set the tokens of the examples, and infer the axes of modules that do not state them.

        The tokens of a forward pass of another library's model are not known to `record`, only to
        its caller. Axes that a module states (`stated`) are kept, others are inferred from their
        sizes. Where source and target are equally long, weights without later keys are the target's
        self-attention; otherwise a name with a part "encoder" decides.

        Args:
            tokens: The tokens of each example.

        Raises:
            ValueError: If their number differs from the number of examples of every module.
        """
        recorded = [*self.attention.values(), *self.states.values()]
        recorded += [gate for gates in self.gates.values() for gate in gates.values()]
        recorded += [tensor for tensors in self.extra.values() for tensor in tensors.values()]
        if recorded and all(len(tensor) != len(tokens) for tensor in recorded):
            sizes = sorted({len(tensor) for tensor in recorded})
            raise ValueError(f"expected tokens for {sizes} examples, got {len(tokens)}")
        self.tokens = list(tokens)
        self.axes = {name: axes for name, axes in self.axes.items() if name in self.stated}
        self.time_axis = {n: time for n, time in self.time_axis.items() if n in self.stated}
        for name, weights in self.attention.items():
            if name in self.stated:
                continue
            if (axes := axes_by_size(name, weights, self.tokens)) is not None:
                self.axes[name] = axes
        firsts = {name: next(iter(gates.values())) for name, gates in self.gates.items()}
        for name, steps in (firsts | self.states).items():
            if name in self.stated:
                continue
            if (time := time_by_size(name, steps, self.tokens)) is not None:
                self.time_axis[name] = time

    def labels(self, name: str, example: int = 0) -> tuple[list[str] | None, list[str] | None]:
        """The tokens along the two axes of a module's attention map, without padding.

        In cross-attention a query is named by the token that the decoder predicted there; in
        self-attention of the target by the token that it received.

        Returns:
            The tokens of the queries and of the keys; `None` where not known.
        """
        weights, axes = self._weights(name, example), self.axes.get(name)
        if axes is None or len(weights) != len(self.tokens):
            return None, None
        tokens = self.tokens[example]
        queries = tokens.decoder_output if axes == ("target", "source") else tokens.along(axes[0])
        return queries, tokens.along(axes[1])

    def queries(self, name: str) -> Bool[Tensor, "batch query"]:
        """True where a query is real: within the example's length, and with a visible key."""
        weights = self._weights(name)
        real = (weights != 0).any(-1).any(1)
        for example in range(len(weights)):
            labels, _ = self.labels(name, example)
            if labels is not None:
                real[example, len(labels) :] = False
        return real

    def tokens_along(self, axis: Axis | None, example: int) -> list[str] | None:
        """The tokens of an example along the time axis of states and gates, where known."""
        return None if axis in (None, "pooled") else self.tokens[example].along(axis)

    def weights_of(self, name: str, example: int) -> Tensor:
        """The weights of one example, `heads query key`, without padding where that is known."""
        queries, keys = self.labels(name, example)
        weights = self._weights(name, example)[example]
        return weights[
            :,
            : weights.shape[1] if queries is None else len(queries),
            : weights.shape[2] if keys is None else len(keys),
        ]

    def _weights(self, name: str, example: int = 0) -> Tensor:
        if name not in self.attention:
            raise ValueError(f"no attention of {name!r} was recorded; recorded: {self.modules}")
        weights = self.attention[name]
        if not 0 <= example < max(1, len(weights)):
            raise IndexError(
                f"{name}: expected an example from 0 to {len(weights) - 1}, got {example}"
            )
        return weights

    def select(
        self,
        example: int | None = None,
        *,
        modules: str | Sequence[str] | None = None,
        head: int | None = None,
    ) -> Recording:
        """Select a part of the recording.

        Args:
            example: One example, as a batch of one, without padding where its length is known;
                modules that were not recorded once for each example are left out. All, if `None`.
            modules: Names of modules, or patterns such as `"decoder.*"`. All, if `None`.
            head: One head of all attention, with its scores, queries, keys and values; modules
                without such a head lose theirs. All, if `None`.

        Raises:
            IndexError: If there is no such example or head.
            ValueError: If a name matches no module; the message lists the recorded ones.
        """
        names = [modules] if isinstance(modules, str) else modules
        part = self if names is None else select_modules(self, names)
        part = part if head is None else select_head(part, head)
        return part if example is None else select_example(part, example)

    def plot(self, name: str, example: int = 0, head: int | None = None) -> Figure:
        """Draw the activations of one module, for one example.

        Attention is drawn as one map per head; for a module without attention, states, gates and
        other vectors are drawn as heatmaps over time.

        Args:
            name: The module, a key of `attention`, `states`, `gates` or of a kind in `extra`.
            example: Which example.
            head: Which head; all, side by side, if `None`.

        Returns:
            A matplotlib figure that is not registered with pyplot; save it with `savefig`. A
            notebook shows it if it is the last value of a cell.

        Raises:
            ValueError: If no such module was recorded; the message lists the recorded ones.
            IndexError: If there is no such example or head.
        """
        vectors = [n for tensors in self.extra.values() for n, t in tensors.items() if t.ndim == 3]
        if name not in self.attention and name in {*self.states, *self.gates, *vectors}:
            return plot_states(self, name, example)
        return plot_attention(self, name, example, head)

    def to_html(
        self,
        path: str | os.PathLike[str],
        *,
        title: str | None = None,
        opens: str | None = None,
        speed: float = 1.0,
    ) -> Path:
        """Write the viewer: one HTML file that shows the recording and plays it back, offline.

        Args:
            path: The file to write, which is returned; a missing folder is created.
            title: The title of the page; by default the text of the example, if there is one only.
            opens: The name of the picture that is shown first, such as `"gates"`; the first that
                can be drawn, if `None`. An unknown name is refused with the list of names.
            speed: Speed of playback at first, relative to one step in 0.7 seconds.

        Raises:
            ValueError: If the recording holds no example, the picture `opens` cannot be drawn of
                it, or `speed` is not a positive number.
            OSError: If the file cannot be written; an existing file is unchanged.
        """
        return to_html(self, path, title=title, opens=opens, speed=speed)

    def to_html_fragment(
        self, *, title: str | None = None, opens: str | None = None, speed: float = 1.0
    ) -> str:
        """The viewer as a piece of HTML, to be part of another page, also several times.

        Arguments and errors are those of `to_html`.

        Returns:
            A `div` and a `script`.
        """
        return to_html_fragment(self, title=title, opens=opens, speed=speed)

    def view(
        self, *, title: str | None = None, opens: str | None = None, speed: float = 1.0
    ) -> View:
        """The viewer as the last line of a notebook's cell, with a first picture of your choice.

        Arguments and errors are those of `to_html`. A recording as the last line shows it too.

            recording.view(opens="gates")
        """
        return View(to_html_fragment(self, title=title, opens=opens, speed=speed))

    def to_gif(self, path: str | os.PathLike[str], example: int = 0) -> Path:
        """Write an animated GIF, for a README: attention, or states, step by step.

        Args:
            path: The file to write, which is returned; a missing folder is created.
            example: Which example.

        Raises:
            ValueError: If the recording holds nothing that can be drawn.
            IndexError: If there is no such example.
            OSError: If the file cannot be written; no incomplete file is left.
        """
        return to_gif(self, path, example=example)

    def _repr_html_(self) -> str | None:
        """The viewer, in a notebook; only if the recording has few examples."""
        return to_html_fragment(self) if 0 < len(self.tokens) <= _MAX_SHOWN else None

    def to_bertviz(self, example: int = 0) -> dict[str, Any]:
        """The arguments of bertviz's `head_view`, for one example.

            from bertviz import head_view
            head_view(**recording.to_bertviz())

        Layers are in the order in which they were recorded. Queries of the target are named by the
        decoder's input, for bertviz has one row of tokens per side.

        Args:
            example: Which example.

        Returns:
            `encoder_attention`, `decoder_attention`, `cross_attention` (each a tuple of
            `1 heads query key`), `encoder_tokens` and `decoder_tokens`, as far as they were
            recorded; for a model with one side only, `attention` and `tokens`.

        Raises:
            ValueError: If no attention with known tokens was recorded.
            IndexError: If there is no such example.
        """
        return head_view_arguments(self.select(example))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one safetensors file: tensors, and tokens as JSON in its header.

        Args:
            path: The file to write or replace; a missing folder is created.

        Raises:
            OSError: If the file cannot be written; no incomplete file is left.
        """
        save_recording(self, path)

    @class_only_method
    def load(cls, path: str | os.PathLike[str]) -> Recording:
        """Read what `save` wrote; this runs no code from the file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged or is not a recording.
        """
        return cls(**load_recording(path))
