"""`Recording`: what was heard, with its tokens; to select from, to plot, to save and to load."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
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
from seqlearn.introspect.plots.attention import attention_heads, attention_map
from seqlearn.introspect.plots.heatmaps import state_heatmap
from seqlearn.introspect.plots.labels import Axes, Tokens, axes_by_size, time_by_size
from seqlearn.introspect.recording.io import reading_tensors, write_tensors
from seqlearn.introspect.recording.selecting import of_head, of_modules
from seqlearn.introspect.recording.top_k_weights import TopKWeights
from seqlearn.introspect.viewer import to_html, to_html_fragment

_FORMAT = "seqlearn.recording/4"
_SHOWN = 16  # examples that a notebook shows by itself; more would make it large


@dataclass(repr=False)
class Recording:
    """What was heard while a block of `record` ran.

    Past an example's last token states and gates mean nothing; `select` and `mask` know where.

    Attributes:
        attention: Weights by module name, `batch heads query key`. Rows sum to one over visible
            keys (unless only the greatest were kept); indices that are padding or may not be seen
            are zero.
        states: Hidden states by module name, `batch time width`.
        gates: By module name and gate `batch time width`: of an LSTM `input`, `forget`, `output`,
            `candidate` and `cell` (its c_t), of a GRU `reset`, `update` and `candidate`.
        tokens: The tokens of each example, in the order of `batch`.
        axes: By module name what the queries and keys of its attention are, where known.
        time_axis: By module name which sequence its states and gates follow, where known.
        stated: Names of the modules that state their axes; those of others are inferred.
    """

    attention: Mapping[str, Tensor] = field(default_factory=dict)
    states: dict[str, Tensor] = field(default_factory=dict)
    gates: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    tokens: list[Tokens] = field(default_factory=list)
    axes: dict[str, Axes] = field(default_factory=dict)
    time_axis: dict[str, Axis] = field(default_factory=dict)
    stated: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        shown = [f"{len(self.tokens)} examples"]
        for kind in ("attention", "states"):
            shapes = [f"{name!r}: {tuple(t.shape)}" for name, t in getattr(self, kind).items()]
            shown += [f"{kind}: {{{', '.join(shapes)}}}"] if shapes else []
        if self.gates:
            names = [f"{name!r}: {', '.join(gates)}" for name, gates in self.gates.items()]
            shown.append(f"gates: {{{'; '.join(names)}}}")
        return f"Recording({'; '.join(shown)})"

    @property
    def source(self) -> list[list[str] | None]:
        """The source tokens of each example."""
        return [tokens.source for tokens in self.tokens]

    @property
    def target(self) -> list[list[str] | None]:
        """The tokens answered for each example."""
        return [tokens.decoder_output for tokens in self.tokens]

    def knows(self, axis: Axis) -> bool:
        """Whether the tokens along an axis are known for every example."""
        return None not in self._sides(axis)

    def mask(self, axis: Axis) -> Bool[Tensor, "batch time"]:
        """True where an example has a token; as wide as the longest, a source at least one.

        Raises:
            ValueError: If the tokens of an example are not known; `label` tells them.
        """
        sides = self._sides(axis)
        lengths = [len(side) for side in sides if side is not None]
        if not self.knows(axis):
            raise ValueError(
                f"the {axis} of example {sides.index(None)} is not known; give the examples their "
                "tokens with label()"
            )
        return length_mask(torch.tensor(lengths), max([int(axis == "source"), *lengths]))

    def label(self, tokens: list[Tokens]) -> None:
        """Give the examples their tokens, and infer the axes of modules that do not state them.

        A forward call of somebody else's model tells nothing of its tokens; whoever made the call
        knows them. Axes that a module states (`stated`) are kept, others are inferred from their
        sizes. Where source and target are equally long, weights that see no later key are the
        target's own; for others, a name with a part "encoder" decides.

        Args:
            tokens: One for each example.

        Raises:
            ValueError: If there are more or fewer than the examples of every module.
        """
        heard = [*self.attention.values(), *self.states.values()]
        heard += [gate for gates in self.gates.values() for gate in gates.values()]
        if heard and all(len(tensor) != len(tokens) for tensor in heard):
            sizes = sorted({len(tensor) for tensor in heard})
            raise ValueError(f"expected tokens for {sizes} examples, got {len(tokens)}")
        self.tokens = list(tokens)
        self.axes = {name: axes for name, axes in self.axes.items() if name in self.stated}
        self.time_axis = {
            name: time for name, time in self.time_axis.items() if name in self.stated
        }
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
        """The tokens along the two axes of a module's map, padding left out.

        Looking from the target at the source, a query is named by the token it answered; looking
        at the target itself, by the token that was fed.

        Returns:
            Of the queries and of the keys; `None` where not known.
        """
        weights, axes = self._weights(name, example), self.axes.get(name)
        if axes is None or len(weights) != len(self.tokens):
            return None, None
        tokens = self.tokens[example]
        by_axis = {"source": tokens.source, "target": tokens.decoder_input, "pooled": ["pooled"]}
        queries, keys = by_axis[axes[0]], by_axis[axes[1]]
        return (tokens.decoder_output if axes == ("target", "source") else queries), keys

    def queries(self, name: str) -> Bool[Tensor, "batch query"]:
        """True where a query is real: within the example's length, and with something to see."""
        weights = self._weights(name)
        real = (weights != 0).any(-1).any(1)
        for example in range(len(weights)):
            labels, _ = self.labels(name, example)
            if labels is not None:
                real[example, len(labels) :] = False
        return real

    def select(
        self,
        example: int | None = None,
        *,
        modules: str | Sequence[str] | None = None,
        head: int | None = None,
    ) -> Recording:
        """A part of the recording.

        Args:
            example: One example, as a batch of one, without padding where its length is known;
                modules that were not heard once for each example are left out. All, if `None`.
            modules: Names of modules, or patterns such as `"decoder.*"`. All, if `None`.
            head: One head of all attention; modules that have no such head lose theirs. All, if
                `None`.

        Raises:
            IndexError: If there is no such example or head.
            ValueError: If a name fits no module; the message lists those that were heard.
        """
        names = [modules] if isinstance(modules, str) else modules
        part = self if names is None else of_modules(self, names)
        if head is not None:
            part = of_head(part, head)
        return part if example is None else part._example(example)  # noqa: SLF001 -- its own

    def _example(self, example: int) -> Recording:
        if not 0 <= example < len(self.tokens):
            raise IndexError(f"expected an example from 0 to {len(self.tokens) - 1}, got {example}")
        count = len(self.tokens)
        names = [name for name, weights in self.attention.items() if len(weights) == count]
        states = {n: self._steps(n, t, example) for n, t in self.states.items() if len(t) == count}
        gates = {
            name: {gate: self._steps(name, tensor, example) for gate, tensor in gates.items()}
            for name, gates in self.gates.items()
            if all(len(tensor) == count for tensor in gates.values())
        }
        return Recording(
            {name: self._cut(name, example)[None] for name in names},
            states,
            gates,
            [self.tokens[example]],
            {name: axes for name, axes in self.axes.items() if name in names},
            {
                name: time
                for name, time in self.time_axis.items()
                if name in states or name in gates
            },
            self.stated,
        )

    def plot(self, name: str, example: int = 0, head: int | None = None) -> Figure:
        """Draw what was heard of one module, for one example.

        Its attention as a map for each head; of a module without attention its states and gates as
        strips over time.

        Args:
            name: The module, a key of `attention`, `states` or `gates`.
            example: Which example.
            head: Which head; all, side by side, if `None`.

        Returns:
            A matplotlib figure that no window or global list knows of; save it with `savefig`. A
            notebook shows it where a cell ends with it.

        Raises:
            ValueError: If no such module was heard; the message lists those that were.
            IndexError: If there is no such example or head.
        """
        if name not in self.attention and name in self.states.keys() | self.gates.keys():
            return self._plot_strips(name, example)
        weights = self._cut(name, example).float().numpy()
        queries, keys = self.labels(name, example)
        axes = self.axes.get(name, ("query", "key"))
        if head is None and len(weights) > 1:
            return attention_heads(weights, queries, keys, title=name, axes=axes)
        if head is not None and not 0 <= head < len(weights):
            raise IndexError(f"{name}: expected a head from 0 to {len(weights) - 1}, got {head}")
        title = name if head is None else f"{name}, head {head}"
        return attention_map(weights[head or 0], queries, keys, title=title, axes=axes)

    def _plot_strips(self, name: str, example: int) -> Figure:
        strips = {"states": self.states[name]} if name in self.states else {}
        strips |= self.gates.get(name, {})
        for steps in strips.values():
            if not 0 <= example < len(steps):
                raise IndexError(
                    f"{name}: expected an example from 0 to {len(steps) - 1}, got {example}"
                )
        time, known = self.time_axis.get(name), len(self.tokens) == len(next(iter(strips.values())))
        labels = self._side(time, example) if known else None
        size = None if labels is None else len(labels)
        cut = {kind: steps[example, :size].float().cpu().numpy() for kind, steps in strips.items()}
        return state_heatmap(cut, labels, title=name, time=time or "time")

    def to_html(self, path: str | os.PathLike[str], *, title: str = "seqlearn") -> Path:
        """Write the viewer: one HTML file that shows the recording and plays it back, offline.

        Args:
            path: The file to write, and what is returned.
            title: What stands above.

        Raises:
            ValueError: If the recording holds no example.
            OSError: If the file cannot be written; nothing half-written is left.
        """
        return to_html(self, path, title=title)

    def to_gif(self, path: str | os.PathLike[str], example: int = 0) -> Path:
        """Write an animated GIF for a README: what was looked at, step by step.

        Args:
            path: The file to write, and what is returned.
            example: Which example.

        Raises:
            ValueError: If nothing was heard that can be drawn.
            IndexError: If there is no such example.
            OSError: If the file cannot be written; nothing half-written is left.
        """
        return to_gif(self, path, example=example)

    def _repr_html_(self) -> str | None:
        """The viewer, where a notebook shows what a cell ends with; of a few examples only."""
        return to_html_fragment(self) if 0 < len(self.tokens) <= _SHOWN else None

    def to_bertviz(self, example: int = 0) -> dict[str, Any]:
        """The arguments that bertviz's `head_view` takes, for one example.

            from bertviz import head_view
            head_view(**recording.to_bertviz())

        Layers stand in the order in which they were heard. Queries of the target are named by the
        token that was read, as bertviz has one row of tokens for each side.

        Args:
            example: Which example.

        Returns:
            `encoder_attention`, `decoder_attention`, `cross_attention` (each a tuple of
            `1 heads query key`), `encoder_tokens` and `decoder_tokens`, as far as they were heard;
            of a model that has one side only, `attention` and `tokens`.

        Raises:
            ValueError: If no attention with known tokens was heard.
            IndexError: If there is no such example.
        """
        return head_view_arguments(self.select(example))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one safetensors file: tensors, and tokens as JSON in its header.

        Raises:
            OSError: If the file cannot be written; nothing half-written is left.
        """
        tensors = {f"states/{name}": tensor for name, tensor in self.states.items()}
        tensors |= {
            f"gates/{gate}/{name}": tensor
            for name, gates in self.gates.items()
            for gate, tensor in gates.items()
        }
        keys: dict[str, int] | None = None
        if isinstance(self.attention, TopKWeights):
            kept = self.attention.kept.items()
            keys = {name: number for name, (_, _, number) in kept}
            tensors |= {f"attention/{name}": weights for name, (weights, _, _) in kept}
            tensors |= {f"indices/{name}": indices for name, (_, indices, _) in kept}
        else:
            tensors |= {f"attention/{name}": weights for name, weights in self.attention.items()}
        parts = {
            "attention": list(self.attention),
            "keys": keys,
            "states": list(self.states),
            "gates": {name: list(gates) for name, gates in self.gates.items()},
            "tokens": [asdict(tokens) for tokens in self.tokens],
            "axes": self.axes,
            "time_axis": self.time_axis,
            "stated": sorted(self.stated),
        }
        write_tensors(path, tensors, _FORMAT, parts)

    @class_only_method
    def load(cls, path: str | os.PathLike[str]) -> Recording:
        """Read what `save` wrote; runs no code from the file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged or is no recording.
        """
        wanted = "a recording written by Recording.save"
        with reading_tensors(path, _FORMAT, wanted) as (read, plain):
            names, keys = plain["attention"], plain["keys"]
            return cls(
                {name: read(f"attention/{name}") for name in names}
                if keys is None
                else TopKWeights(
                    {n: (read(f"attention/{n}"), read(f"indices/{n}"), keys[n]) for n in names}
                ),
                {name: read(f"states/{name}") for name in plain["states"]},
                {
                    name: {gate: read(f"gates/{gate}/{name}") for gate in gates}
                    for name, gates in plain["gates"].items()
                },
                [Tokens(**one) for one in plain["tokens"]],
                {name: (queries, keys) for name, (queries, keys) in plain["axes"].items()},
                dict(plain["time_axis"]),
                frozenset(plain.get("stated", ())),
            )

    def _steps(self, name: str, steps: Tensor, example: int) -> Tensor:
        """The states or one gate of one example, `1 time width`, without padding where known."""
        side = self._side(self.time_axis.get(name), example)
        return steps[example : example + 1, : steps.shape[1] if side is None else len(side)]

    def _sides(self, axis: Axis) -> list[list[str] | None]:
        """The tokens along an axis of every example, where known."""
        return [
            tokens.source if axis == "source" else tokens.decoder_input for tokens in self.tokens
        ]

    def _side(self, time: Axis | None, example: int) -> list[str] | None:
        """The tokens along the time of states and gates, where known."""
        tokens = self.tokens[example]
        return (
            tokens.source
            if time == "source"
            else tokens.decoder_input
            if time == "target"
            else None
        )

    def _weights(self, name: str, example: int = 0) -> Tensor:
        if name not in self.attention:
            heard = list(dict.fromkeys([*self.attention, *self.states, *self.gates]))
            raise ValueError(f"no attention of {name!r} was heard; heard: {heard}")
        weights = self.attention[name]
        if not 0 <= example < max(1, len(weights)):
            raise IndexError(
                f"{name}: expected an example from 0 to {len(weights) - 1}, got {example}"
            )
        return weights

    def _cut(self, name: str, example: int) -> Tensor:
        """The weights of one example, `heads query key`, without padding where that is known."""
        queries, keys = self.labels(name, example)
        weights = self._weights(name, example)[example]
        return weights[
            :,
            : weights.shape[1] if queries is None else len(queries),
            : weights.shape[2] if keys is None else len(keys),
        ]
