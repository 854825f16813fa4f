"""`record`: hear what the mechanisms of a model offer, and keep it with its tokens."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from seqlearn.introspect.recording import Axes, Recording, Tokens
from seqlearn.probe import listening
from seqlearn.spec import END

KINDS = ("attention",)
"""What can be recorded."""

_Heard = dict[str, list[Tensor]]
"""By module name its weights, `batch heads query key`, once for each time that it was heard."""


@contextmanager
def record(model: nn.Module, what: Sequence[str] = KINDS) -> Iterator[Recording]:
    """Record what a model attends to while the block runs.

        with sl.record(model) as recording:
            model.generate(["Sunday, November 22, 2026"])
        recording.attention["decoder.layers.3.cross"]      # batch heads query key

    Weights are computed beside the fast kernels, whose outputs are kept: recording changes no
    output and no random state, and leaves nothing on the model. In training mode weights are those
    before dropout. The recording is filled when the block ends without an exception.

    - Keys are names from `model.named_modules()` (the model itself is `""`), or the name that was
      given to `sl.probe`. What modules outside `model` offer is not recorded.
    - Forward calls follow one another along `batch`, padded with zeros in `query` and `key`.
    - `generate` gives one row for each output, in the caller's order: the history of its best
      hypothesis, one query for each token fed. Labels come from `model.spec` where there is one.
    - It hears this thread only: what the model does in other threads meanwhile is not recorded,
      and not disturbed.

    Args:
        model: Any module whose parts offer to `seqlearn.probe`.
        what: Kinds to record; today `"attention"`.

    Yields:
        The recording.

    Raises:
        ValueError: If `what` names something else, or what was offered cannot be put together.
    """
    if isinstance(what, str) or not what or set(what) - set(KINDS):
        raise ValueError(f"expected what to be a tuple of names among {KINDS}, got {what!r}")
    recording, recorder = Recording(), _Recorder(model, what)
    # A compiled part would not notice that somebody listens, so it runs uncompiled meanwhile.
    with torch.compiler.set_stance("force_eager"), listening(recorder):
        yield recording
    recorder.fill(recording)
    if not recording.attention:
        warnings.warn(
            f"record heard nothing from {type(model).__name__}: it ran no module that offers its "
            'attention; join with `weights = sl.probe("name", weights)` after the softmax, and run '
            "the model inside the block",
            stacklevel=3,
        )


@dataclass
class _Step:
    """One decoding step: which rows of the step before its rows continue, and what was heard."""

    parents: list[int] | None
    heard: _Heard = field(default_factory=dict)


@dataclass
class _Chunk:
    """One begin … end: the outputs at these positions, generated together."""

    outputs: list[int]
    total: int
    sources: list[list[str]] | None
    width: int | None
    encoded: _Heard = field(default_factory=dict)
    steps: list[_Step] = field(default_factory=list)
    decoded: _Heard = field(default_factory=dict)
    tokens: list[Tokens] = field(default_factory=list)


class _Recorder:
    """The listener behind `record`."""

    def __init__(self, model: nn.Module, what: Sequence[str]) -> None:
        self._what = frozenset(what)
        self._model = model
        self._names = {id(module): name for name, module in model.named_modules()}
        self._spec = getattr(model, "spec", None)
        self._heard: _Heard = {}
        self._tokens: list[Tokens] = []
        self._axes: dict[str, Axes | None] = {}
        self._unlabelled: dict[str, int] = {}
        self._chunks: list[_Chunk] = []
        self._running: _Chunk | None = None

    # What a listener hears

    def hear(self, kind: str, owner: nn.Module | str, make: Callable[[], Tensor]) -> None:
        """Compute and keep the weights, if they are the model's."""
        name = owner if isinstance(owner, str) else self._names.get(id(owner))
        if name is None or kind not in self._what:
            return
        with torch.no_grad():
            # A copy, since its owner may go on to change it.
            weights = make().detach().to("cpu", copy=True)
        if weights.ndim == 3:
            weights = weights[:, None]
        if weights.ndim != 4:
            raise ValueError(
                f"expected attention of {name!r} as batch heads query key (or without heads), got "
                f"the shape {tuple(weights.shape)}"
            )
        if self._running is None:
            self._close_generation()
            self._unlabelled[name] = self._unlabelled.get(name, 0) + len(weights)
            heard = self._heard
        else:
            heard = self._running.steps[-1].heard if self._running.steps else self._running.encoded
        heard.setdefault(name, []).append(weights)

    def begin(
        self,
        outputs: Sequence[int],
        total: int,
        source: Tensor | None,
        source_lengths: Tensor | None,
    ) -> None:
        """A chunk of outputs begins."""
        width = None if source is None else 1 if source.is_floating_point() else source.shape[1]
        sources = self._sources(source, source_lengths)
        self._running = _Chunk(list(outputs), total, sources, width)

    def step(self, parents: Tensor | None) -> None:
        """Keep where the rows came from."""
        if self._running is not None:
            self._running.steps.append(_Step(None if parents is None else parents.tolist()))

    def end(
        self,
        histories: Sequence[Sequence[tuple[int, int]]],
        tokens: Sequence[Sequence[int]],
    ) -> None:
        """Follow each best hypothesis back, and put its history together."""
        if self._running is None:
            return
        chunk, self._running = self._running, None
        paths = [
            _trace(chunk.steps, *hypotheses[0]) if hypotheses else [] for hypotheses in histories
        ]
        chunk.decoded = _histories(chunk.steps, paths)
        widths = _query_widths(chunk.steps)
        for row, path in enumerate(paths):
            source = None if chunk.sources is None else chunk.sources[row]
            queries = sum(widths[: len(path)]) if any(widths) else len(tokens[row])
            fed, answered = self._target(list(tokens[row]), queries)
            chunk.tokens.append(Tokens(source, fed, answered))
        for name, parts in chunk.encoded.items():
            if any(len(part) != len(chunk.outputs) for part in parts):
                raise ValueError(
                    f"expected attention of {name!r} for {len(chunk.outputs)} sources, got "
                    f"{[len(part) for part in parts]} rows; encode each source once, in order"
                )
            if all(part.shape[2] == part.shape[3] == chunk.width for part in parts):
                self._note(name, ("source", "source"))
        for name in chunk.decoded:
            self._note(name, _decoder_axes(name, chunk, widths))
        self._chunks.append(chunk)
        if sum(len(chunk.outputs) for chunk in self._chunks) == chunk.total:
            self._close_generation()

    # Putting it together

    def fill(self, recording: Recording) -> None:
        """Hand over all that was heard."""
        self._running = None
        self._close_generation()
        self._close_forward()
        recording.attention = {name: _join(name, parts) for name, parts in self._heard.items()}
        recording.tokens = self._tokens
        recording.axes = {name: axes for name, axes in self._axes.items() if axes is not None}

    def _close_forward(self) -> None:
        """Examples of plain forward calls have no tokens that are known."""
        self._tokens += [Tokens()] * max(self._unlabelled.values(), default=0)
        self._unlabelled = {}

    def _close_generation(self) -> None:
        """Put the chunks of one call of `generate` into the caller's order."""
        chunks, self._chunks = self._chunks, []
        if not chunks:
            return
        self._close_forward()
        outputs = [position for chunk in chunks for position in chunk.outputs]
        order = sorted(range(len(outputs)), key=outputs.__getitem__)
        for name in {name: None for c in chunks for name in (*c.encoded, *c.decoded)}:
            heard = [[*c.encoded.get(name, []), *c.decoded.get(name, [])] for c in chunks]
            heads = next(part.shape[1] for parts in heard for part in parts)
            for time in range(max(map(len, heard))):
                whole = [
                    # A chunk in which the module was not heard has rows of nothing.
                    parts[time] if time < len(parts) else torch.zeros(len(c.outputs), heads, 0, 0)
                    for c, parts in zip(chunks, heard, strict=True)
                ]
                self._heard.setdefault(name, []).append(_join(name, whole)[order])
        tokens = [example for chunk in chunks for example in chunk.tokens]
        self._tokens += [tokens[row] for row in order]

    def _note(self, name: str, axes: Axes | None) -> None:
        """Remember what a module's queries and keys are; a contradiction leaves it unknown."""
        if axes is not None:
            self._axes[name] = axes if self._axes.get(name, axes) == axes else None

    def _sources(self, source: Tensor | None, lengths: Tensor | None) -> list[list[str]] | None:
        """Names of the source tokens; a vector is one token."""
        if source is None:
            return None
        if source.is_floating_point():
            return [["vector"]] * len(source)
        rows = source.tolist()
        if lengths is not None:
            rows = [row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)]
        return [token_names(getattr(self._spec, "source", None), row) for row in rows]

    def _target(self, ids: list[int], queries: int) -> tuple[list[str], list[str]]:
        """Names of the tokens fed and answered; the end symbol is answered but not in `ids`."""
        side = getattr(self._spec, "target", None)
        answered = [*ids, END][1 : queries + 1]
        return token_names(side, ids[:queries]), token_names(side, answered)


def token_names(side: Any, ids: Sequence[int]) -> list[str]:
    """Name ids by one side of a spec (anything with `tokens(ids)`), else by their numbers."""
    tokens = getattr(side, "tokens", None)
    return list(tokens(ids)) if callable(tokens) else [str(i) for i in ids]


def _trace(steps: Sequence[_Step], last: int, row: int) -> list[int]:
    """The row of a hypothesis in each step from the first to its last."""
    path = []
    for step in reversed(steps[: last + 1]):
        path.append(row)
        row = row if step.parents is None else step.parents[row]
    return path[::-1]


def _query_widths(steps: Sequence[_Step]) -> list[int]:
    """Tokens that each step fed."""
    return [max((w.shape[2] for h in step.heard.values() for w in h), default=0) for step in steps]


def _histories(steps: Sequence[_Step], paths: Sequence[Sequence[int]]) -> _Heard:
    """The weights of each path through the steps, one row a path."""
    histories: _Heard = {}
    for name in {name: None for step in steps for name in step.heard}:
        times = max(len(step.heard.get(name, [])) for step in steps)
        for time in range(times):
            parts = [
                (number, step.heard[name][time])
                for number, step in enumerate(steps)
                if time < len(step.heard.get(name, []))
            ]
            query, key = sum(w.shape[2] for _, w in parts), max(w.shape[3] for _, w in parts)
            first = parts[0][1]
            whole = first.new_zeros(len(paths), first.shape[1], query, key)
            start = 0
            for number, weights in parts:
                alive = [row for row, path in enumerate(paths) if number < len(path)]
                rows = torch.tensor([paths[row][number] for row in alive], dtype=torch.long)
                stop = start + weights.shape[2]
                whole[alive, :, start:stop, : weights.shape[3]] = weights[rows]
                start = stop
            longest = max((len(path) for path in paths), default=0)
            kept = sum(w.shape[2] for number, w in parts if number < longest)
            histories.setdefault(name, []).append(whole[:, :, :kept])
    return histories


def _decoder_axes(name: str, chunk: _Chunk, widths: Sequence[int]) -> Axes | None:
    """Keys that grow with what was fed are the target, keys as wide as the source the source."""
    keys = [step.heard[name][0].shape[3] if name in step.heard else None for step in chunk.steps]
    grows = keys == [sum(widths[: n + 1]) for n in range(len(widths))]
    stays = set(keys) == {chunk.width}
    if grows == stays:  # Neither, or one step over a source of one token: it cannot be told.
        return None
    return ("target", "target") if grows else ("target", "source")


def _join(name: str, parts: Sequence[Tensor]) -> Tensor:
    """Put weights below one another along `batch`, padded with zeros in query and key."""
    heads = sorted({part.shape[1] for part in parts})
    if len(heads) > 1:
        raise ValueError(
            f"{name!r} offered attention with {heads} heads in turn; expected one number of heads "
            "under one name"
        )
    query, key = max(p.shape[2] for p in parts), max(p.shape[3] for p in parts)
    padded = [nn.functional.pad(p, (0, key - p.shape[3], 0, query - p.shape[2])) for p in parts]
    return torch.cat(padded)
