"""The listener behind `record`: it stores what modules report, in the order of the caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

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
from seqlearn.introspect.recording.kinds import BUILT_IN, KINDS
from seqlearn.introspect.recording.recording import Recording
from seqlearn.introspect.recording.token_names import source_names, source_pieces, target_names
from seqlearn.introspect.recording.top_k_weights import TopKWeights


@dataclass(frozen=True)
class RecordOptions:
    """What to store and how; see `record`."""

    what: frozenset[str]
    modules: tuple[str, ...] | None
    device: torch.device | None
    dtype: torch.dtype | None
    top_k: int | None
    max_bytes: int


@dataclass
class _Chunk:
    """One generation or teacher-forced forward pass: the outputs at these positions."""

    outputs: list[int]
    total: int
    sources: list[list[str]] | None
    width: int | None
    pieces: list[list[str] | None] | None
    encoded: Activations = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    decoded: Activations = field(default_factory=dict)
    tokens: list[Tokens] = field(default_factory=list)
    nbytes: int = 0


class Recorder:
    """An `ActivationListener` that stores what the modules of a model report.

    Args:
        model: The model.
        options: What to store.

    Attributes:
        filtered_out: Names of modules that reported something and fit none of the patterns.
    """

    def __init__(self, model: nn.Module, options: RecordOptions) -> None:
        self._options = options
        self._names = {id(module): name for name, module in model.named_modules()}
        self._spec = getattr(model, "spec", None)
        self._stored: Activations = {}
        self._tokens: list[Tokens] = []
        self._stated: dict[tuple[str, str], Axes | None] = {}
        self._axes: dict[tuple[str, str], Axes | None] = {}
        self._unlabelled: dict[Key, int] = {}
        self._chunks: list[_Chunk] = []
        self._running: _Chunk | None = None
        self._loops: list[Activations] = []
        self._bytes = 0
        self.filtered_out: set[str] = set()

    # ActivationListener

    def on_activation(
        self,
        kind: str,
        owner: nn.Module | str,
        make: Callable[[], Activation],
        axes: Axes | None,
    ) -> None:
        """Compute and store a tensor of one of the model's modules."""
        name = owner if isinstance(owner, str) else self._names.get(id(owner))
        if name is None or kind not in self._options.what:
            return
        patterns = self._options.modules
        if patterns is not None and not any(fnmatchcase(name, pattern) for pattern in patterns):
            self.filtered_out.add(name)
            return
        with torch.no_grad():
            value = make()
            tensors = {"": value} if isinstance(value, Tensor) else value
            if axes is not None:
                self._state_axes(kind, name, axes)
            for gate, tensor in tensors.items():
                self._store(Key(kind, name, gate), self._slice(kind, name, tensor))

    def loop_start(self) -> None:
        """Collect separately what is emitted within a loop over time."""
        self._loops.append({})

    def loop_end(self) -> None:
        """Combine what was emitted within the loop along time."""
        if self._loops:
            for key, slices in self._loops.pop().items():
                self._store(key, concat_time(key, slices))

    def generation_start(
        self,
        outputs: Sequence[int],
        total: int,
        source: Tensor | None,
        source_lengths: Tensor | None,
    ) -> None:
        """Start a chunk of outputs; chunks of another call, which failed, are dropped."""
        recorded = {position for chunk in self._chunks for position in chunk.outputs}
        if recorded.intersection(outputs) or any(chunk.total != total for chunk in self._chunks):
            self._drop_chunks()
        width = None
        if source is not None:  # an empty source is encoded as one padded position
            one = source_lengths is None and source.is_floating_point()
            width = 1 if one else max(1, source.shape[1])
        sources = source_names(self._spec, source, source_lengths)
        pieces = source_pieces(self._spec, source, source_lengths)
        self._running = _Chunk(list(outputs), total, sources, width, pieces)
        self._loops = []

    def decoding_step(self, parents: Tensor | None) -> None:
        """Store which row of the previous step each row continues."""
        if self._running is not None:
            self._running.steps.append(Step(None if parents is None else parents.tolist()))

    def generation_end(self, result: GenerationResult | None) -> None:
        """Combine the steps of each best hypothesis."""
        chunk, self._running = self._running, None
        if chunk is None:
            return
        if result is None:  # the call failed; no result belongs to its chunks
            self._bytes -= chunk.nbytes
            self._loops = []
            self._drop_chunks()
            return
        tokens = result.tokens
        paths = [backtrack(chunk.steps, *found[0]) if found else [] for found in result.beam_paths]
        chunk.decoded = assemble(chunk.steps, paths)
        num_inputs = [step.num_inputs for step in chunk.steps]
        for row, path in enumerate(paths):
            source = None if chunk.sources is None else chunk.sources[row]
            pieces = None if chunk.pieces is None else chunk.pieces[row]
            if not chunk.steps:
                answer = None if result.answers is None else result.answers[row]
                chunk.tokens.append(Tokens(source, source_pieces=pieces, answer=answer))
                continue
            count = sum(num_inputs[: len(path)]) if any(num_inputs) else len(tokens[row])
            fed, outputs, texts = target_names(self._spec, list(tokens[row]), count)
            chunk.tokens.append(Tokens(source, fed, outputs, pieces, texts))
        empty = [row for row, source in enumerate(chunk.sources or []) if not source]
        for key, slices in chunk.encoded.items():
            if any(len(one.values) != len(chunk.outputs) for one in slices):
                raise ValueError(
                    f"expected {key.kind} of {key.name!r} for {len(chunk.outputs)} sources, got "
                    f"{[len(one.values) for one in slices]} rows; encode each source once, in "
                    "order"
                )
            for one in slices:
                # For an empty source the encoder received only padding.
                one.values[empty] = KINDS[key.kind].padding
            stated = self._stated.get((key.kind, key.name))
            self._set_axes(key.kind, key.name, encoder_axes(key, slices, chunk.width, stated))
        for key in chunk.decoded:
            stated = self._stated.get((key.kind, key.name))
            axes = decoder_axes(key, chunk.steps, num_inputs, chunk.width, stated)
            self._set_axes(key.kind, key.name, axes)
        self._chunks.append(chunk)
        if sum(len(chunk.outputs) for chunk in self._chunks) == chunk.total:
            self._close_generation()

    # Storing

    def _slice(self, kind: str, name: str, tensor: Tensor) -> Slice:
        """Copy a tensor, which its owner may change afterwards."""
        axes = KINDS[kind].axes
        if tensor.ndim not in (len(axes) - 1, len(axes)):
            raise ValueError(
                f"expected {kind} of {name!r} as {' '.join(axes)} (or without {axes[1]}), got the "
                f"shape {tuple(tensor.shape)}"
            )
        has_time = tensor.ndim > 2
        while tensor.ndim < 4:
            tensor = tensor[:, None]
        options, indices = self._options, None
        values, width = tensor.detach(), tensor.shape[3]
        if kind == "attention" and options.top_k is not None:
            values, indices = values.topk(min(options.top_k, width), -1)
            indices = indices.to(options.device, torch.int32)
        stored = values.to(options.device, options.dtype, copy=True)
        return Slice(stored, indices, width, has_time)

    def _store(self, key: Key, one: Slice) -> None:
        if self._loops:
            self._loops[-1].setdefault(key, []).append(one)
            return
        if self._bytes + one.nbytes > self._options.max_bytes:
            raise MemoryError(
                f"the recording grew beyond max_bytes={self._options.max_bytes:,} at {key.kind} of "
                f"{key.name!r}; record fewer examples, fewer modules (modules=), the largest "
                "weights only (top_k=), in half precision (dtype=), or raise max_bytes"
            )
        self._bytes += one.nbytes
        if self._running is None:
            self._unlabelled[key] = self._unlabelled.get(key, 0) + len(one.values)
            stored = self._stored
        else:
            running = self._running
            running.nbytes += one.nbytes
            stored = running.steps[-1].activations if running.steps else running.encoded
        stored.setdefault(key, []).append(one)

    # Combining

    def finalize(self, recording: Recording) -> None:
        """Combine everything and store it in a recording."""
        self._running, self._loops = None, []
        self._drop_chunks()  # those of a whole call are combined already
        self._close_forward()
        whole = {key: concat_batch(key, self._stored.pop(key)) for key in list(self._stored)}
        recording.attention = self._attention(
            {key.name: one for key, one in whole.items() if key.kind == "attention"}
        )
        names: dict[tuple[str, str], list[str]] = {}
        for key, one in whole.items():
            kind = KINDS[key.kind]
            values = one.values if len(kind.axes) == 4 else one.values[:, 0]
            if kind.name == "states":
                recording.states[key.name] = values
            elif kind.name == "gates":
                recording.gates.setdefault(key.name, {})[key.gate] = values
            elif kind.name != "attention":
                name = f"{key.name}.{key.gate}" if key.gate else key.name
                recording.extra.setdefault(kind.name, {})[name] = kind.expose(values)
                names.setdefault((kind.name, key.name), []).append(name)
        recording.tokens = self._tokens
        self._store_axes(recording, names)

    def _attention(self, weights: Mapping[str, Slice]) -> Mapping[str, Tensor]:
        if self._options.top_k is None:
            return {name: one.values for name, one in weights.items()}
        return TopKWeights(
            {
                name: (one.values, one.indices, one.width)
                for name, one in weights.items()
                if one.indices is not None
            }
        )

    def _store_axes(
        self, recording: Recording, names: Mapping[tuple[str, str], Sequence[str]]
    ) -> None:
        for (kind, name), axes in self._axes.items():
            if axes is None:
                continue
            if kind not in BUILT_IN:
                for each in names.get((kind, name), []):
                    recording.extra_axes.setdefault(kind, {})[each] = axes
            elif kind == "attention":
                recording.axes[name] = (axes[0], axes[1])
            elif axes[0] != "pooled":
                recording.time_axis[name] = axes[0]
        recording.stated = frozenset(
            name
            for (kind, name), axes in self._stated.items()
            if axes is not None and kind in BUILT_IN
        )

    def _drop_chunks(self) -> None:
        """Forget the chunks of a call that has not come to its end."""
        self._bytes -= sum(chunk.nbytes for chunk in self._chunks)
        self._chunks = []

    def _close_forward(self) -> None:
        """Add the examples of plain forward passes, whose tokens are not known."""
        self._tokens += [Tokens()] * max(self._unlabelled.values(), default=0)
        self._unlabelled = {}

    def _close_generation(self) -> None:
        """Put the chunks of one call into the order of the caller."""
        chunks, self._chunks = self._chunks, []
        if not chunks:
            return
        self._close_forward()
        outputs = [position for chunk in chunks for position in chunk.outputs]
        order = sorted(range(len(outputs)), key=outputs.__getitem__)
        for key in {key: None for c in chunks for key in (*c.encoded, *c.decoded)}:
            stored = [[*c.encoded.get(key, []), *c.decoded.get(key, [])] for c in chunks]
            some = next(one for slices in stored for one in slices)
            for call_index in range(max(map(len, stored))):
                whole = [
                    # A chunk in which the module reported nothing has empty rows.
                    slices[call_index]
                    if call_index < len(slices)
                    else empty_like(some, len(c.outputs))
                    for c, slices in zip(chunks, stored, strict=True)
                ]
                self._stored.setdefault(key, []).append(index_rows(concat_batch(key, whole), order))
        tokens = [example for chunk in chunks for example in chunk.tokens]
        self._tokens += [tokens[row] for row in order]

    def _state_axes(self, kind: str, name: str, axes: Axes) -> None:
        """Store the axes that a module states; outside of a generation nothing else is known."""
        key = (kind, name)
        axes = tuple(axes)
        self._stated[key] = axes if self._stated.get(key, axes) == axes else None
        if self._running is None:
            self._set_axes(kind, name, axes)

    def _set_axes(self, kind: str, name: str, axes: Axes | None) -> None:
        """Store the axes of a module; contradicting axes are unknown."""
        if axes is not None:
            key = (kind, name)
            self._axes[key] = axes if self._axes.get(key, axes) == axes else None
