"""Speed of modules after `compile()`, relative to the same modules uncompiled.

    python -m benchmarks compile [--models Transformer …] [--rounds 20] [--validation]

A step is the loss of a batch of about 2,048 target tokens (every batch has other lengths), its
gradient, and AdamW; with `--validation` it is the loss alone. The result also has the number of
graphs and of recompilations. The vocabulary has 4,000 tokens, and sizes are the defaults.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._dynamo.utils import counters

import seqlearn as sl
from benchmarks.comparison import Comparison, Contender, Work, arguments, measure, report
from benchmarks.machine import describe
from seqlearn.batch import SequenceBatch, length_mask

VOCAB, TOKENS = 4000, 2048
SIDE = sl.TextSpec(VOCAB, 64)
SPEC = sl.SequenceSpec(SIDE, SIDE)
MODELS = {
    "Transformer": lambda: sl.Transformer(SPEC),
    "Transformer, pre-norm, rotary": lambda: sl.Transformer(
        SPEC, norm="pre", positions="rotary", activation="gelu"
    ),
    "AttentionSeq2Seq": lambda: sl.AttentionSeq2Seq(SPEC),
    "FeedForward": lambda: sl.FeedForward(SPEC),
}


def batch_of(length: int) -> SequenceBatch:
    """A batch whose sources have about `length` tokens, and targets two more."""
    rows = TOKENS // length

    def side(extra: int) -> tuple[Tensor, Tensor]:
        lengths = torch.randint(max(1, length - 2), length + 1, (rows,)) + extra
        ids = torch.randint(4, VOCAB, (rows, length + extra))
        return ids * length_mask(lengths, length + extra), lengths

    return SequenceBatch(*side(0), *side(2))


def step_of(name: str, *, compiled: bool, validation: bool) -> Work:
    """Build a model, and return the function that does a step of it."""
    torch.manual_seed(0)
    model = MODELS[name]().train(not validation)
    if compiled:
        model.compile()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step(batch: SequenceBatch) -> None:
        with torch.inference_mode(validation):
            measured = model.compute_loss(batch)
        if not validation:
            (measured.loss / measured.num_tokens).backward()
            optimizer.step()
            optimizer.zero_grad()

    return step


def compare_compiled(name: str, rounds: int, *, validation: bool) -> dict[str, Any]:
    """One row of results."""
    torch.compiler.reset()
    counters.clear()
    contenders = [Contender("uncompiled", dict), Contender("compiled", dict)]
    works = {
        each.name: step_of(name, compiled=each.name == "compiled", validation=validation)
        for each in contenders
    }
    batches = [batch_of(int(torch.randint(8, 61, ()))) for _ in range(rounds)]
    for batch in batches[:3]:  # the compiler marks sizes that differ as dynamic
        works["compiled"](batch)
    _, row = measure(contenders, works, Comparison("compile", "", contenders, batches), rounds)
    again = sum(counters["recompiles"].values())
    graphs = counters["stats"]["unique_graphs"]
    return row | {"case": name, "graphs": graphs, "recompilations": again}


def main() -> int:
    """Compare each architecture with itself."""
    parser = arguments(__doc__)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--validation", action="store_true")
    options = parser.parse_args()
    machine = describe(["seqlearn"])
    rows = [
        compare_compiled(name, options.rounds, validation=options.validation)
        for name in options.models
    ]
    label = "compile-validation" if options.validation else "compile"
    done = Comparison("compile", label, [], [], {"batch_tokens": TOKENS, "vocabulary": VOCAB})
    return report(done, "uncompiled", rows, options, machine=machine)
