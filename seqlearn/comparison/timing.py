"""The time of a training step per token, at several lengths; the models take turns."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import nn

from seqlearn.batch import SequenceBatch
from seqlearn.comparison.evaluation import reason_of
from seqlearn.comparison.job import Report, read_json, write_json
from seqlearn.core import SequenceModule
from seqlearn.spec import GeneratedSpec, SequenceSpec

LENGTHS = (8, 16, 32, 64, 128, 256, 512)
"""Lengths that are timed, up to 256 or twice the longest example."""

TOKENS = 2048
"""Tokens of the longer side in each timed batch, whatever its length."""

ROUNDS = 7
"""Timed steps of each model at each length; the median counts."""

_SLOWEST = 10.0  # seconds of a step, after which longer ones are not timed


@dataclass(frozen=True)
class Timing:
    """What to time.

    Attributes:
        models: Label, class and checkpoint of each model.
        lengths: The lengths.
        threads: Threads of PyTorch.
        device: The type of the device.
        result: The file for the figures.
    """

    models: tuple[tuple[str, type[SequenceModule], str], ...]
    lengths: tuple[int, ...]
    threads: int
    device: str
    result: Path


def timed_lengths(spec: SequenceSpec) -> tuple[int, ...]:
    """The lengths at which models for this data are timed; none if no side has a length."""
    sides = [side for side in (spec.source, spec.target) if side is not None and side.is_sequence]
    longest = max((side.longest for side in sides), default=0)
    return tuple(each for each in LENGTHS if each <= max(256, 2 * longest)) if sides else ()


def measure_times(timing: Timing, report: Report) -> dict[str, Any]:
    """Time forward and backward passes of all models in turn, and write the figures.

    Returns:
        By label, `[length, nanoseconds per token, least, most]` for each length, or
        `[length, reason]`.
    """
    if (done := read_json(timing.result)) is not None:
        return dict(done)
    torch.set_num_threads(timing.threads)
    with denormals_as_zero() as flushed:
        found = _times(timing, report)
    content = {"times": found, "threads": timing.threads, "device": timing.device}
    content |= {"tokens": TOKENS, "rounds": ROUNDS, "denormals_are_zero": flushed}
    write_json(timing.result, content)
    return content


@contextmanager
def denormals_as_zero() -> Iterator[bool]:
    """Take numbers below 1.2e-38 as zero; False if the processor cannot.

    A gradient that vanishes ends in such numbers, with which some lengths would take many times as
    long as longer ones.
    """
    before = not bool(torch.full((), 2e-38) * 0.5)
    try:
        yield torch.set_flush_denormal(True)
    finally:
        torch.set_flush_denormal(before)


def _times(timing: Timing, report: Report) -> dict[str, list[list[Any]]]:
    """By label, the figures of each length."""
    device = torch.device(timing.device)
    modules = {
        label: cls.load_from_checkpoint(path, map_location="cpu").to(device).train()
        for label, cls, path in timing.models
    }
    found: dict[str, list[list[Any]]] = {label: [] for label in modules}
    slow: set[str] = set()
    for number, length in enumerate(timing.lengths):
        report({"step": number, "steps": len(timing.lengths), "stage": f"timing length {length}"})
        timed = {label: module for label, module in modules.items() if label not in slow}
        seconds: dict[str, list[float]] = {}
        for label, module in timed.items():
            try:
                batch = _batch(module, length, device)
                first = _seconds(module, batch)  # not counted: it allocates
            except Exception as error:  # noqa: BLE001 -- such as a longest position
                found[label].append([length, reason_of(error)])
                continue
            seconds[label] = []
            if first > _SLOWEST:
                slow.add(label)
        for turn in range(ROUNDS):
            order = list(seconds)
            for label in order[turn % len(order) :] + order[: turn % len(order)] if order else []:
                batch = _batch(modules[label], length, device)
                seconds[label].append(_seconds(modules[label], batch))
        for label, times in seconds.items():
            tokens = _tokens(modules[label].spec, length)
            per_token = sorted(1e9 * each / tokens for each in times)
            middle = per_token[len(per_token) // 2]
            found[label].append([length, middle, per_token[0], per_token[-1]])
    return found


def _rows(length: int) -> int:
    return max(1, TOKENS // length)


def _tokens(spec: SequenceSpec, length: int) -> int:
    """Tokens of source and target in a timed batch; tags are not tokens of their own."""
    sides = (spec.source is not None and spec.source.is_sequence) + spec.target.needs_decoder
    return _rows(length) * length * sides


def _batch(module: SequenceModule, length: int, device: torch.device) -> SequenceBatch:
    """A batch of random examples whose sequences all have a length."""
    spec, dtype = module.spec, module.head.weight.dtype
    rng, rows = Random(length), _rows(length)  # noqa: S311 -- not secret
    source = source_lengths = None
    if spec.source is not None:
        values = [spec.source.random_value(rng, length) for _ in range(rows)]
        source, source_lengths = spec.source.collate(values, device, dtype)
    shown = length - 1 if isinstance(spec.target, GeneratedSpec) else length
    targets = [spec.target.random_value(rng, shown) for _ in range(rows)]
    target, target_lengths = spec.target.collate_targets(targets, device, dtype)
    return SequenceBatch(source, source_lengths, target, target_lengths)


def _seconds(module: SequenceModule, batch: SequenceBatch) -> float:
    """The time of a forward and a backward pass."""
    parameters: list[nn.Parameter] = list(module.parameters())
    _synchronize(module)
    start = time.perf_counter()
    output = module.compute_loss(batch)
    (output.loss / output.num_tokens.clamp(min=1)).backward()  # type: ignore[no-untyped-call]
    _synchronize(module)
    seconds = time.perf_counter() - start
    for parameter in parameters:
        parameter.grad = None
    return seconds


def _synchronize(module: SequenceModule) -> None:
    if module.device.type == "cuda":
        torch.cuda.synchronize()
