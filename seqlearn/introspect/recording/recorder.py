"""The listener behind `record`: what is heard, kept, and put into the caller's order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from seqlearn.batch import END
from seqlearn.instrumentation import Activation, Axes, GenerationResult
from seqlearn.introspect.plots.labels import Tokens
from seqlearn.introspect.recording.assembly import (
    Activations,
    Key,
    Slice,
    Step,
    assemble,
    backtrack,
    concat_batch,
    concat_time,
    empty_like,
    index_rows,
)
from seqlearn.introspect.recording.axes import decoder_axes, encoder_axes
from seqlearn.introspect.recording.recording import Recording
from seqlearn.introspect.recording.top_k_weights import TopKWeights


@dataclass(frozen=True)
class RecordOptions:
    """What is kept of what is heard, and how; see `record`."""

    what: frozenset[str]
    modules: tuple[str, ...] | None
    device: torch.device | None
    dtype: torch.dtype | None
    top_k: int | None
    max_bytes: int


@dataclass
class _Chunk:
    """One begin … end: the outputs at these positions, made together."""

    outputs: list[int]
    total: int
    sources: list[list[str]] | None
    width: int | None
    encoded: Activations = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    decoded: Activations = field(default_factory=dict)
    tokens: list[Tokens] = field(default_factory=list)


class Recorder:
    """Hears what the parts of a model offer, and keeps it.

    Args:
        model: The model.
        options: What to keep.
    """

    def __init__(self, model: nn.Module, options: RecordOptions) -> None:
        self._options = options
        self._names = {id(module): name for name, module in model.named_modules()}
        self._spec = getattr(model, "spec", None)
        self._heard: Activations = {}
        self._tokens: list[Tokens] = []
        self._stated: dict[tuple[str, str], Axes | None] = {}
        self._axes: dict[tuple[str, str], Axes | None] = {}
        self._unlabelled: dict[Key, int] = {}
        self._chunks: list[_Chunk] = []
        self._running: _Chunk | None = None
        self._loops: list[Activations] = []
        self._bytes = 0
        self.filtered_out: set[str] = set()

    # What a listener hears

    def on_activation(
        self,
        kind: str,
        owner: nn.Module | str,
        make: Callable[[], Activation],
        axes: Axes | None,
    ) -> None:
        """Compute and keep what is offered, if it is the model's."""
        name = owner if isinstance(owner, str) else self._names.get(id(owner))
        if name is None or kind not in self._options.what:
            return
        patterns = self._options.modules
        if patterns is not None and not any(fnmatchcase(name, pattern) for pattern in patterns):
            self.filtered_out.add(name)
            return
        with torch.no_grad():
            offered = make()
            tensors = {"": offered} if isinstance(offered, Tensor) else offered
            if axes is not None:
                self._state(kind, name, axes)
            for gate, tensor in tensors.items():
                self._keep(Key(kind, name, gate), self._piece(kind, name, tensor))

    def loop_start(self) -> None:
        """Collect separately what is emitted within a loop over time."""
        self._loops.append({})

    def loop_end(self) -> None:
        """What is heard within a loop is put together along time when it ends."""
        if self._loops:
            for key, pieces in self._loops.pop().items():
                self._keep(key, concat_time(pieces))

    def generation_start(
        self,
        outputs: Sequence[int],
        total: int,
        source: Tensor | None,
        source_lengths: Tensor | None,
    ) -> None:
        """A chunk of outputs begins."""
        width = None
        if source is not None:  # a source of no indices is read as one place of padding
            width = 1 if source.is_floating_point() else max(1, source.shape[1])
        sources = self._sources(source, source_lengths)
        self._running, self._loops = _Chunk(list(outputs), total, sources, width), []

    def decoding_step(self, parents: Tensor | None) -> None:
        """Keep where the rows came from."""
        if self._running is not None:
            self._running.steps.append(Step(None if parents is None else parents.tolist()))

    def generation_end(self, result: GenerationResult | None) -> None:
        """Follow each best hypothesis back, and put its history together."""
        chunk, self._running = self._running, None
        if chunk is None or result is None:
            return
        tokens = result.tokens
        paths = [backtrack(chunk.steps, *found[0]) if found else [] for found in result.beam_paths]
        chunk.decoded = assemble(chunk.steps, paths)
        fed = [step.num_inputs for step in chunk.steps]
        for row, path in enumerate(paths):
            source = None if chunk.sources is None else chunk.sources[row]
            if not chunk.steps:
                chunk.tokens.append(Tokens(source))
                continue
            queries = sum(fed[: len(path)]) if any(fed) else len(tokens[row])
            chunk.tokens.append(Tokens(source, *self._target(list(tokens[row]), queries)))
        empty = [row for row, source in enumerate(chunk.sources or []) if not source]
        for key, pieces in chunk.encoded.items():
            if any(len(piece.values) != len(chunk.outputs) for piece in pieces):
                raise ValueError(
                    f"expected {key.kind} of {key.name!r} for {len(chunk.outputs)} sources, got "
                    f"{[len(piece.values) for piece in pieces]} rows; encode each source once, in "
                    "order"
                )
            for piece in pieces:
                piece.values[empty] = 0  # of an empty source the encoder saw padding alone
            stated = self._stated.get((key.kind, key.name))
            self._set_axes(key.kind, key.name, encoder_axes(key, pieces, chunk.width, stated))
        for key in chunk.decoded:
            stated = self._stated.get((key.kind, key.name))
            axes = decoder_axes(key, chunk.steps, fed, chunk.width, stated)
            self._set_axes(key.kind, key.name, axes)
        self._chunks.append(chunk)
        if sum(len(chunk.outputs) for chunk in self._chunks) == chunk.total:
            self._close_generation()

    # Storing

    def _piece(self, kind: str, name: str, tensor: Tensor) -> Slice:
        """What is kept of a tensor: a copy, since its owner may go on to change it."""
        attention = kind == "attention"
        if tensor.ndim not in ((3, 4) if attention else (2, 3)):
            axes = (
                "batch heads query key (or without heads)"
                if attention
                else "batch time width (or without time)"
            )
            raise ValueError(
                f"expected {kind} of {name!r} as {axes}, got the shape {tuple(tensor.shape)}"
            )
        has_time = tensor.ndim > 2
        while tensor.ndim < 4:
            tensor = tensor[:, None]
        options, indices = self._options, None
        values, width = tensor.detach(), tensor.shape[3]
        if attention and options.top_k is not None:
            values, indices = values.topk(min(options.top_k, width), -1)
            indices = indices.to(options.device, torch.int32)
        kept = values.to(options.device, options.dtype, copy=True)
        return Slice(kept, indices, width, has_time)

    def _keep(self, key: Key, piece: Slice) -> None:
        if self._loops:
            self._loops[-1].setdefault(key, []).append(piece)
            return
        self._bytes += piece.nbytes
        if self._bytes > self._options.max_bytes:
            raise MemoryError(
                f"the recording grew beyond max_bytes={self._options.max_bytes:,} at {key.kind} of "
                f"{key.name!r}; record fewer examples, fewer modules (modules=), the greatest "
                "weights only (top_k=), in half precision (dtype=), or raise max_bytes"
            )
        if self._running is None:
            self._close_generation()
            self._unlabelled[key] = self._unlabelled.get(key, 0) + len(piece.values)
            heard = self._heard
        else:
            heard = self._running.steps[-1].heard if self._running.steps else self._running.encoded
        heard.setdefault(key, []).append(piece)

    # Putting it together

    def finalize(self, recording: Recording) -> None:
        """Hand over all that was heard."""
        self._running, self._loops = None, []
        self._close_generation()
        self._close_forward()
        whole = {key: concat_batch(key, self._heard.pop(key)) for key in list(self._heard)}
        weights = {key.name: piece for key, piece in whole.items() if key.kind == "attention"}
        recording.attention = (
            {name: piece.values for name, piece in weights.items()}
            if self._options.top_k is None
            else TopKWeights(
                {
                    n: (p.values, p.indices, p.width)
                    for n, p in weights.items()
                    if p.indices is not None
                }
            )
        )
        for key, piece in whole.items():
            if key.kind == "states":
                recording.states[key.name] = piece.values[:, 0]
            elif key.kind == "gates":
                recording.gates.setdefault(key.name, {})[key.gate] = piece.values[:, 0]
        recording.tokens = self._tokens
        for (kind, name), axes in self._axes.items():
            if axes is None:
                continue
            if kind == "attention":
                recording.axes[name] = (axes[0], axes[1])
            elif axes[0] != "pooled":
                recording.time_axis[name] = axes[0]
        recording.stated = frozenset(
            name for key, axes in self._stated.items() for name in key[1:] if axes is not None
        )

    def _close_forward(self) -> None:
        """Examples of plain forward calls have no tokens that are known."""
        self._tokens += [Tokens()] * max(self._unlabelled.values(), default=0)
        self._unlabelled = {}

    def _close_generation(self) -> None:
        """Put the chunks of one call into the caller's order."""
        chunks, self._chunks = self._chunks, []
        if not chunks:
            return
        self._close_forward()
        outputs = [position for chunk in chunks for position in chunk.outputs]
        order = sorted(range(len(outputs)), key=outputs.__getitem__)
        for key in {key: None for c in chunks for key in (*c.encoded, *c.decoded)}:
            heard = [[*c.encoded.get(key, []), *c.decoded.get(key, [])] for c in chunks]
            some = next(piece for pieces in heard for piece in pieces)
            for call_index in range(max(map(len, heard))):
                whole = [
                    # A chunk in which the module was not heard has rows of nothing.
                    pieces[call_index]
                    if call_index < len(pieces)
                    else empty_like(some, len(c.outputs))
                    for c, pieces in zip(chunks, heard, strict=True)
                ]
                self._heard.setdefault(key, []).append(index_rows(concat_batch(key, whole), order))
        tokens = [example for chunk in chunks for example in chunk.tokens]
        self._tokens += [tokens[row] for row in order]

    def _state(self, kind: str, name: str, axes: Axes) -> None:
        """Remember what a module states of its axes; outside a generation that is all there is."""
        place = (kind, name)
        axes = tuple(axes)
        self._stated[place] = axes if self._stated.get(place, axes) == axes else None
        if self._running is None:
            self._set_axes(kind, name, axes)

    def _set_axes(self, kind: str, name: str, axes: Axes | None) -> None:
        """Remember what a module's axes are; a contradiction leaves them unknown."""
        if axes is not None:
            place = (kind, name)
            self._axes[place] = axes if self._axes.get(place, axes) == axes else None

    def _sources(self, source: Tensor | None, lengths: Tensor | None) -> list[list[str]] | None:
        """Names of the source tokens; a vector is one token."""
        if source is None:
            return None
        if source.is_floating_point():
            return [["vector"]] * len(source)
        ids: list[list[int]] = source.tolist()
        if lengths is not None:
            ids = [row[:length] for row, length in zip(ids, lengths.tolist(), strict=True)]
        return [token_names(getattr(self._spec, "source", None), row) for row in ids]

    def _target(self, ids: list[int], queries: int) -> tuple[list[str], list[str]]:
        """Names of the tokens fed and answered; the end symbol is answered, and never fed."""
        side = getattr(self._spec, "target", None)
        whole = ids if ids[-1:] == [END] or len(ids) > queries else [*ids, END]
        return (
            token_names(side, whole[:-1][:queries]),
            token_names(side, whole[1:][:queries]),
        )


def token_names(side: Any, ids: Iterable[int]) -> list[str]:
    """Name ids by one side of a spec (anything with `tokens(ids)`), else by their numbers."""
    tokens = getattr(side, "tokens", None)
    return list(tokens(ids)) if callable(tokens) else [str(i) for i in ids]
