"""`Recording`: what was heard, with its tokens; to select from, to plot, to save and to load."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from jaxtyping import Bool
from matplotlib.figure import Figure
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from seqlearn.introspect.plots import attention_heads, attention_map

Axis = Literal["source", "target"]
Axes = tuple[Axis, Axis]
"""What the queries and the keys of a module's weights are."""

_FORMAT = "seqlearn.recording/1"


@dataclass(frozen=True)
class Tokens:
    """The tokens of one example, padding left out; `None` where they are not known.

    Attributes:
        source: What the encoder read.
        fed: What the decoder read, the start symbol first.
        answered: What the decoder answered to each of them (over a known target: should answer).
    """

    source: list[str] | None = None
    fed: list[str] | None = None
    answered: list[str] | None = None


@dataclass(repr=False)
class Recording:
    """What was heard while a block of `record` ran.

    Attributes:
        attention: Weights by module name, `batch heads query key`, on the CPU. Rows sum to one
            over visible keys; places that are padding or may not be seen are zero.
        tokens: The tokens of each example, in the order of `batch`.
        axes: By module name what its queries and keys are, where known.
    """

    attention: dict[str, Tensor] = field(default_factory=dict)
    tokens: list[Tokens] = field(default_factory=list)
    axes: dict[str, Axes] = field(default_factory=dict)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name!r}: {tuple(w.shape)}" for name, w in self.attention.items())
        return f"Recording({len(self.tokens)} examples; attention: {{{shapes}}})"

    @property
    def source(self) -> list[list[str] | None]:
        """The source tokens of each example."""
        return [tokens.source for tokens in self.tokens]

    @property
    def target(self) -> list[list[str] | None]:
        """The tokens answered for each example."""
        return [tokens.answered for tokens in self.tokens]

    def label(self, tokens: list[Tokens]) -> None:
        """Give the examples their tokens, and find out what each module looked from and at.

        A plain forward call tells nothing of its tokens; whoever made the call knows them.
        Axes are told by their sizes. Where source and target are equally long, weights that see
        no later key are the target's own; for others, a name with a part "encoder" decides.

        Args:
            tokens: One for each example.

        Raises:
            ValueError: If there are more or fewer than the examples of every module.
        """
        if self.attention and all(len(w) != len(tokens) for w in self.attention.values()):
            rows = sorted({len(w) for w in self.attention.values()})
            raise ValueError(f"expected tokens for {rows} examples, got {len(tokens)}")
        self.tokens = list(tokens)
        self.axes = {}
        for name, weights in self.attention.items():
            axes = _axes(name, weights, self.tokens)
            if axes is not None:
                self.axes[name] = axes

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
        by_axis = {"source": tokens.source, "target": tokens.fed}
        queries, keys = by_axis[axes[0]], by_axis[axes[1]]
        return (tokens.answered if axes == ("target", "source") else queries), keys

    def queries(self, name: str) -> Bool[Tensor, "batch query"]:
        """True where a query is real: within the example's length, and with something to see."""
        weights = self._weights(name)
        real = (weights != 0).any(-1).any(1)
        for example in range(len(weights)):
            labels, _ = self.labels(name, example)
            if labels is not None:
                real[example, len(labels) :] = False
        return real

    def select(self, example: int) -> Recording:
        """The recording of one example, a batch of one, without padding where its length is known.

        Modules that were not heard once per example (`len` differs from the others) are left out.

        Raises:
            IndexError: If there is no such example.
        """
        if not 0 <= example < len(self.tokens):
            raise IndexError(f"expected an example from 0 to {len(self.tokens) - 1}, got {example}")
        names = [name for name, w in self.attention.items() if len(w) == len(self.tokens)]
        return Recording(
            {name: self._cut(name, example)[None] for name in names},
            [self.tokens[example]],
            {name: axes for name, axes in self.axes.items() if name in names},
        )

    def plot(self, name: str, example: int = 0, head: int | None = None) -> Figure:
        """Draw the attention of one module for one example.

        Args:
            name: The module, a key of `attention`.
            example: Which example.
            head: Which head; all, side by side, if `None`.

        Returns:
            A matplotlib figure that no window or global list knows of; save it with `savefig`.

        Raises:
            ValueError: If no such module was heard; the message lists those that were.
            IndexError: If there is no such example or head.
        """
        weights = self._cut(name, example).float().numpy()
        queries, keys = self.labels(name, example)
        axes = self.axes.get(name, ("query", "key"))
        if head is None and len(weights) > 1:
            return attention_heads(weights, queries, keys, title=name, axes=axes)
        if head is not None and not 0 <= head < len(weights):
            raise IndexError(f"{name}: expected a head from 0 to {len(weights) - 1}, got {head}")
        title = name if head is None else f"{name}, head {head}"
        return attention_map(weights[head or 0], queries, keys, title=title, axes=axes)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one safetensors file: tensors, and tokens as JSON in its header.

        Raises:
            OSError: If the file cannot be written; nothing half-written is left.
        """
        path = Path(path)
        part = path.with_name(path.name + ".part")
        part.touch()
        try:
            save_file(
                {f"attention/{name}": w.contiguous() for name, w in self.attention.items()},
                part,
                metadata={
                    "format": _FORMAT,
                    "names": json.dumps(list(self.attention)),
                    "tokens": json.dumps([asdict(tokens) for tokens in self.tokens]),
                    "axes": json.dumps(self.axes),
                },
            )
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recording:
        """Read what `save` wrote; runs no code from the file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged or is no recording.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != _FORMAT:
                    raise ValueError(f"its format is {metadata.get('format')!r}, not {_FORMAT!r}")
                names = json.loads(metadata["names"])
                return cls(
                    {name: file.get_tensor(f"attention/{name}") for name in names},
                    [Tokens(**plain) for plain in json.loads(metadata["tokens"])],
                    {name: (q, k) for name, (q, k) in json.loads(metadata["axes"]).items()},
                )
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path}: expected a recording written by Recording.save, got a damaged or other "
                f"file ({error}); record and save it again"
            ) from error

    def _weights(self, name: str, example: int = 0) -> Tensor:
        if name not in self.attention:
            raise ValueError(f"no attention of {name!r} was heard; heard: {list(self.attention)}")
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


def _axes(name: str, weights: Tensor, tokens: list[Tokens]) -> Axes | None:
    """What queries and keys are, told by their sizes; `None` if neither side fits."""
    source = max((len(t.source) for t in tokens if t.source is not None), default=None)
    target = max((len(t.fed) for t in tokens if t.fed is not None), default=None)
    size = tuple(weights.shape[2:])
    if size == (target, target) and not weights.triu(1).any():
        return "target", "target"
    own, cross = size == (source, source), size == (target, source)
    if own and (not cross or "encoder" in name.split(".")):
        return "source", "source"
    return ("target", "source") if cross else None
