"""Speed of modules after `compile()`, relative to the same modules uncompiled.

    python -m benchmarks compile [--models Transformer …] [--size tiny|base] [--validation]
                                 [--dtype float32|bfloat16] [--multi30k FOLDER] [--device cuda]

A step is the loss of a batch of about 2,048 target tokens, its gradient, and AdamW; with
`--validation` it is the loss alone. The result also has the number of graphs and of recompilations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch._dynamo.utils import counters

import seqlearn as sl
from benchmarks.comparison import Comparison, Contender, arguments, measure, report
from benchmarks.machine import describe
from benchmarks.measuring import Work
from benchmarks.training import training_step
from benchmarks.workloads import DTYPES, SIZES, Size, add_arguments, add_device, load
from seqlearn.batch import SequenceBatch

WARM_UP = 3  # the compiler marks sizes that differ as dynamic
MODELS: dict[str, Callable[[sl.SequenceSpec, Size], sl.SequenceModule]] = {
    "Transformer": lambda spec, size: sl.Transformer(spec, **size._asdict()),
    "Transformer, pre-norm, rotary": lambda spec, size: sl.Transformer(
        spec, **size._asdict(), norm="pre", positions="rotary", activation="gelu"
    ),
    "AttentionSeq2Seq": lambda spec, size: sl.AttentionSeq2Seq(spec, d_model=size.d_model),
    "FeedForward": lambda spec, size: sl.FeedForward(spec, d_model=size.d_model),
}


def step_of(
    build: Callable[[], sl.SequenceModule],
    dtype: torch.dtype,
    *,
    compiled: bool,
    validation: bool,
) -> Work:
    """Build a model, and return the function that does a step of it."""
    torch.manual_seed(0)
    model = build().train(not validation)
    if compiled:
        model.compile()

    def loss(batch: SequenceBatch) -> torch.Tensor:
        measured = model.compute_loss(batch)
        return measured.loss / measured.num_tokens

    if not validation:
        return training_step(lambda: (model, loss), dtype)

    @torch.inference_mode()
    def validate(batch: SequenceBatch) -> torch.Tensor:
        with torch.autocast(batch.target.device.type, dtype, enabled=dtype is not torch.float32):
            return loss(batch)

    return validate


def main() -> int:
    """Compare each architecture with itself."""
    parser = arguments(__doc__, contenders=False)
    add_arguments(parser, batch_tokens=2048)
    add_device(parser)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--validation", action="store_true")
    options = parser.parse_args()
    machine = describe(["seqlearn"], options.device)
    work = load(options.multi30k, options.batch_tokens, device=options.device)
    dtype = DTYPES[options.dtype]
    label = f"compile-{options.size}-{options.dtype}"
    label += "-validation" if options.validation else ""
    said = work.description | {"size": options.size}
    done = Comparison("compile", label, [], work.batches[WARM_UP:], said, device=options.device)
    rows = []
    for name in options.models:
        torch.compiler.reset()
        counters.clear()
        model = partial(MODELS[name], work.data.spec, SIZES[options.size])
        step = partial(step_of, model, dtype, validation=options.validation)
        contenders = [
            Contender("uncompiled", partial(step, compiled=False), dtype=dtype),
            Contender("compiled", partial(step, compiled=True), dtype=dtype),
        ]
        with options.device:
            works = {each.name: each.build() for each in contenders}
        for batch in work.batches[:WARM_UP]:
            works["compiled"](batch)
        _, row = measure(contenders, works, done, options.rounds)
        rows.append(row | {"case": name} | compilations())
    return report(done, "uncompiled", rows, options, machine=machine)


def compilations() -> dict[str, Any]:
    """The number of graphs, and of recompilations, since the counters were cleared."""
    again = sum(counters["recompiles"].values())
    return {"graphs": counters["stats"]["unique_graphs"], "recompilations": again}
