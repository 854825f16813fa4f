"""What a second thread gains: recurrent networks against networks without recurrence.

    python -m benchmarks threads [--threads 2] [--lengths 64 256 1024] [--rounds 9]

A step is the loss and the gradient of a classifier with about a million random weights, on one row
of random tokens of one length. Each round takes the time with one thread and with several,
in turn. The ratio is the speed-up: with two threads it is 2 if all the work is done in parallel,
and 1 if each step waits for the one before. Needs a machine on which nothing else runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

import seqlearn as sl
from benchmarks.machine import describe
from benchmarks.statistic import median_ratio
from seqlearn.batch import SequenceBatch

VOCAB = 1_000
MODELS: dict[str, tuple[Callable[..., sl.SequenceModule], dict[str, Any]]] = {
    "FeedForward": (sl.FeedForward, {"d_model": 24, "overflow": "truncate"}),
    "RNN": (sl.RNN, {"d_model": 512, "bidirectional": False}),
    "GRU": (sl.GRU, {"d_model": 336, "bidirectional": False}),
    "LSTM": (sl.LSTM, {"d_model": 296, "bidirectional": False}),
    "Transformer": (sl.Transformer, {"d_model": 128, "num_layers": 4}),
}


def classifier(name: str, length: int) -> sl.SequenceModule:
    """A module with random weights for texts of one length."""
    torch.manual_seed(0)
    spec = sl.SequenceSpec(sl.TextSpec(VOCAB, length), sl.ClassesSpec(("no", "yes")))
    cls, options = MODELS[name]
    window = {"window": length} if name == "FeedForward" else {}
    model = cls(spec, **options, **window)
    model.configure_model()
    return model.train()


def seconds(model: sl.SequenceModule, length: int, threads: int) -> float:
    """Elapsed time of loss and gradient of one row."""
    torch.set_num_threads(threads)
    label = torch.zeros(1, dtype=torch.long)
    batch = SequenceBatch(torch.randint(4, VOCAB, (1, length)), torch.tensor([length]), label, None)
    start = time.perf_counter()
    model.compute_loss(batch).loss.backward()
    return time.perf_counter() - start


def main() -> int:
    """Print a table of the speed-ups."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lengths", nargs="+", type=int, default=[64, 256, 1024])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_flush_denormal(True)  # see the benchmark `denormals`
    print("| architecture | weights | " + " | ".join(map(str, options.lengths)) + " |")
    print("|---" * (2 + len(options.lengths)) + "|")
    for name in MODELS:
        cells = []
        for length in options.lengths:
            model, ratios = classifier(name, length), []
            for number in range(options.rounds + 1):
                one = seconds(model, length, 1)
                several = seconds(model, length, options.threads)
                if number:  # the first round allocates
                    ratios.append(one / several)
            cells.append(str(median_ratio(ratios)))
        used = [each.numel() for each in model.parameters() if each.grad is not None]
        weights = sum(used) / 1e6  # a classifier has no use for its decoder
        print(f"| `{name}` | {weights:.1f} M | {' | '.join(cells)} |", flush=True)
    print(describe())
    return 0
