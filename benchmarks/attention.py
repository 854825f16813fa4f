"""Attention: explicit products against the fused kernel, its exact entropy, and recording.

    python -m benchmarks attention [--what crossing|entropy|recording] [--rounds 20]

`crossing` compares explicit products with the fused kernel, by length: forward alone, with
backward, and with dropout 0.1 (4,096 tokens, 4 heads of 32); above 1 explicit products are faster.
It is the measurement behind `EXPLICIT_KEYS` and `EXPLICIT_KEYS_OF_INFERENCE`. `entropy` compares
`fused_entropy`, which never holds the matrix of weights, with the entropy of the explicit weights,
also in peak memory (1 × 4 heads of 32). `recording` compares the forward pass of a Transformer
while nothing records, and while `record` keeps attention, with the same modules without
instrumentation.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import seqlearn as sl
from benchmarks.comparison import (
    Comparison,
    Contender,
    arguments,
    compare,
    measure,
    peak_memory_of,
    report,
)
from benchmarks.machine import describe
from benchmarks.measuring import Work
from benchmarks.workloads import Size, load
from seqlearn.batch import length_mask
from seqlearn.introspect import entropy, fused_entropy
from seqlearn.nn import attend
from seqlearn.nn import attention as attention_file
from seqlearn.nn import transformer_encoder_decoder as layers_file
from seqlearn.nn.attention import attention_weights

TOKENS, HEADS, WIDTH = 4096, 4, 32
CROSSING_LENGTHS = (8, 16, 32, 64, 128, 256, 512, 1024)
ENTROPY_LENGTHS = (1024, 2048, 4096)
PASSES = {"forward": (False, 0.0), "backward": (True, 0.0), "backward, dropout": (True, 0.1)}


def attending(explicit: bool) -> Work:
    """Return attention by one of the two forms, with its gradient if the inputs want one."""

    def work(item: tuple[list[Tensor], Tensor, float]) -> None:
        (query, key, value), mask, dropout = item
        attention_file._explicit_is_faster = lambda *_: explicit  # noqa: SLF001
        output = attend(query, key, value, mask, dropout_p=dropout)
        if query.requires_grad:
            output.sum().backward()

    return work


def crossing(rounds: int, lengths: tuple[int, ...]) -> list[dict[str, Any]]:
    """Rows of explicit products relative to the fused kernel."""
    names = {"fused": False, "explicit": True}
    contenders = [Contender(name, partial(attending, form)) for name, form in names.items()]
    works = {each.name: each.build() for each in contenders}
    rows = []
    for length in lengths:
        batch = max(1, TOKENS // length)
        mask = length_mask(torch.randint(length // 2, length + 1, (batch,)), length)[:, None, None]
        for name, (learning, dropout) in PASSES.items():
            inputs = [
                torch.randn(batch, HEADS, length, WIDTH, requires_grad=learning) for _ in range(3)
            ]
            items = [(inputs, mask, dropout)]
            done = Comparison("attention", "", contenders, items)
            _, row = measure(contenders, works, done, rounds)
            rows.append(row | {"case": f"{name}, length {length}", "length": length})
    return rows


def explicit_entropy(query: Tensor, key: Tensor) -> Tensor:
    """The textbook way: weights first."""
    return entropy(attention_weights(query, key))


WAYS = {"explicit": explicit_entropy, "fused": fused_entropy}


def of_pair(measure_of: Callable[[Tensor, Tensor], Tensor]) -> Callable[[int], Tensor]:
    """A measure as the work on a length."""

    def work(length: int) -> Tensor:
        torch.manual_seed(0)
        query, key = torch.randn(2, 1, HEADS, length, WIDTH)
        return measure_of(query, key)

    work(64)  # what the first call loads is not part of the measurement
    return work


def entropies(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of `fused_entropy` relative to the explicit entropy."""
    contenders = [Contender(name, partial(of_pair, way)) for name, way in WAYS.items()]
    works = {name: of_pair(way) for name, way in WAYS.items()}
    rows = []
    for length in options.lengths or ENTROPY_LENGTHS:
        one = Comparison("attention", "", contenders, [length])
        _, row = measure(contenders, works, one, options.rounds)
        words = ["--what", "entropy", "--lengths", str(length)]
        explicit, fused = (peak_memory_of(one, each.name, words) for each in contenders)
        apart = (works["explicit"](length) - works["fused"](length)).abs().max().item()
        row |= {"case": f"entropy, length {length}", "length": length, "peak_bytes": fused}
        rows.append(row | {"memory_ratio": round(fused / explicit, 4), "difference_nats": apart})
    return rows


def nothing(*_: object) -> None:
    """In place of `emit`, which attention does not call while nothing records."""


def translating(spec: sl.SequenceSpec, way: str) -> Work:
    """The forward pass of a tiny Transformer: raw, with instrumentation, or while recording."""
    torch.manual_seed(0)
    size = Size(128, 4, 4, 256)
    model = sl.Transformer(spec, **size._asdict()).eval()

    @torch.inference_mode()
    def work(batch: sl.SequenceBatch) -> None:
        if way == "without instrumentation":
            with mock.patch.object(layers_file, "emit", nothing):
                model(batch)
        elif way == "recording off":
            model(batch)
        else:
            with sl.record(model, ("attention",)):
                model(batch)

    return work


def recording(options: argparse.Namespace) -> int:
    """Compare instrumented modules with raw ones."""
    data = load(options.multi30k, TOKENS)
    ways = ("without instrumentation", "recording off", "recording attention")
    contenders = [Contender(way, partial(translating, data.data.spec, way)) for way in ways]
    batches, said = data.batches, data.description | {"size": "tiny"}
    done = Comparison("attention", "attention-recording", contenders, batches, said, memory=False)
    return compare(done, options)


def main() -> int:
    """Run the chosen comparison."""
    parser = arguments(__doc__)
    parser.add_argument("--what", choices=["crossing", "entropy", "recording"], default="crossing")
    parser.add_argument("--lengths", nargs="+", type=int, help="of crossing and entropy")
    parser.add_argument("--multi30k", metavar="FOLDER", help="for recording; else Dates")
    options = parser.parse_args()
    if options.what == "recording" and options.lengths:
        parser.error("--lengths is for --what crossing and entropy, and --what is recording")
    if options.what != "recording" and (options.only or options.profile or options.no_memory):
        parser.error("--only, --profile and --no-memory are for --what recording")
    if options.what == "recording":
        return recording(options)
    if options.memory_of:
        contenders = [Contender(name, partial(of_pair, way)) for name, way in WAYS.items()]
        return compare(Comparison("attention", "", contenders, options.lengths), options)
    machine = describe(["seqlearn"])
    label = f"attention-{options.what}"
    sizes = {"heads": HEADS, "width": WIDTH}
    if options.what == "entropy":
        done = Comparison("attention", label, [], [], sizes | {"batch": 1})
        return report(done, "explicit", entropies(options), options, machine=machine)
    done = Comparison("attention", label, [], [], sizes | {"tokens": TOKENS})
    rows = crossing(options.rounds, tuple(options.lengths or CROSSING_LENGTHS))
    return report(done, "fused", rows, options, machine=machine)
