"""Training speed of modules after `compile()`, relative to the same modules uncompiled.

    python benchmarks/compiled.py [--only Transformer …] [--rounds 12] [--validation]

A step is the loss of a batch of about 2,048 target tokens (every batch has other lengths), its
gradient, and AdamW; with `--validation` it is the loss alone. Compiled and uncompiled steps
alternate on the same batches. For each architecture the median of the ratios of their times is
printed with its 95% interval (bootstrap over rounds), the time of the first compiled step, and the
number of graphs and of recompilations.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

import torch
from torch import Tensor
from torch._dynamo.utils import counters

import seqlearn as sl
from seqlearn.batch import SequenceBatch, length_mask

VOCAB = 4000
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


def batch_of(length: int, tokens: int) -> SequenceBatch:
    """A batch whose sources have about `length` tokens, and targets two more."""
    rows = tokens // length

    def side(extra: int) -> tuple[Tensor, Tensor]:
        lengths = torch.randint(max(1, length - 2), length + 1, (rows,)) + extra
        ids = torch.randint(4, VOCAB, (rows, length + extra))
        return ids * length_mask(lengths, length + extra), lengths

    return SequenceBatch(*side(0), *side(2))


def interval(ratios: list[float]) -> tuple[float, float]:
    """The 95% interval of the median, by bootstrap."""
    draw = random.Random(0)  # noqa: S311
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(2000))
    return medians[50], medians[1949]


def measure(name: str, rounds: int, *, validation: bool) -> str:
    """One row of the table."""
    torch.compiler.reset()
    counters.clear()
    torch.manual_seed(0)
    models = [MODELS[name](), MODELS[name]()]
    models[1].compile()
    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-4) for model in models]

    def seconds(number: int, batch: SequenceBatch) -> float:
        start = time.perf_counter()
        measured = models[number].compute_loss(batch)
        if not validation:
            (measured.loss / measured.num_tokens).backward()
            optimizers[number].step()
            optimizers[number].zero_grad()
        return time.perf_counter() - start

    ratios, first = [], 0.0
    with torch.inference_mode(validation):
        for model in models:
            model.train(not validation)
        for number in range(rounds + 3):
            batch = batch_of(int(torch.randint(8, 61, ())), 2048)
            order = (0, 1) if number % 2 else (1, 0)
            times = {which: seconds(which, batch) for which in order}
            if number == 0:
                first = times[1]
            if number >= 3:  # the first ones warm up
                ratios.append(times[0] / times[1])
    low, high = interval(ratios)
    graphs = counters["stats"]["unique_graphs"]
    again = sum(counters["recompiles"].values())
    return (
        f"| {name} | {statistics.median(ratios):.2f} | {low:.2f} to {high:.2f} | {first:.0f} s "
        f"| {graphs} | {again} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--validation", action="store_true")
    options = parser.parse_args()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, CPU capability "
        f"{torch.backends.cpu.get_cpu_capability()}, {options.rounds} rounds"
    )
    print("\n| module | uncompiled / compiled time | 95% interval | first step | graphs | again |")
    print("|---|---|---|---|---|---|")
    for name in options.only:
        print(measure(name, options.rounds, validation=options.validation), flush=True)


if __name__ == "__main__":
    main()
