"""The time of a backward pass with denormal numbers, and with `torch.set_flush_denormal(True)`.

    python -m benchmarks denormals [--lengths 32 64 128 256] [--rounds 9]

A gradient that vanishes over many steps ends below 1.2e-38, the smallest normal float32 number.
Processors compute with such denormal numbers far more slowly. Each round takes both times in turn:
loss and gradient of a classifier at random weights, on 2,048 random tokens in rows of one length,
on one thread of the CPU. The second column is the recurrent layer of PyTorch alone.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import nn

import seqlearn as sl
from benchmarks.machine import describe
from benchmarks.statistic import median_ratio
from seqlearn.batch import SequenceBatch

TOKENS = 2048
WIDTH = 152
VOCAB = 100
LABELS = ("no", "yes")
PEERS = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}


def classifier(name: str) -> sl.SequenceModule:
    """A module with random weights that reads 2,048 tokens of a text."""
    torch.manual_seed(0)
    spec = sl.SequenceSpec(sl.TextSpec(VOCAB, TOKENS), sl.ClassesSpec(LABELS))
    model: sl.SequenceModule = getattr(sl, name)(spec, d_model=WIDTH, bidirectional=False)
    return model.train()


def seconds_of_module(model: sl.SequenceModule, length: int) -> float:
    """CPU time of loss and gradient."""
    rows = TOKENS // length
    ids = torch.randint(4, VOCAB, (rows, length))
    labels = torch.zeros(rows, dtype=torch.long)
    batch = SequenceBatch(ids, torch.full((rows,), length), labels, None)
    start = time.process_time()
    model.compute_loss(batch).loss.backward()
    return time.process_time() - start


def seconds_of_peer(peer: nn.RNNBase, length: int) -> float:
    """The same of the module of PyTorch: the gradient of its last state."""
    inputs = torch.randn(TOKENS // length, length, WIDTH, requires_grad=True)
    start = time.process_time()
    outputs, _ = peer(inputs)
    outputs[:, -1].sum().backward()
    return time.process_time() - start


def main() -> int:
    """Print a table of the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lengths", nargs="+", type=int, default=[32, 64, 128, 256])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not torch.set_flush_denormal(True):
        print("this processor cannot flush denormal numbers")
        return 1
    print("| architecture | length | seqlearn | torch.nn |\n|---|---|---|---|")
    for name, peer_class in PEERS.items():
        model, peer = classifier(name), peer_class(WIDTH, WIDTH, batch_first=True)
        for length in options.lengths:
            ratios: dict[str, list[float]] = {"seqlearn": [], "torch.nn": []}
            for number in range(options.rounds + 1):
                taken: dict[tuple[str, bool], float] = {}
                for flush in (True, False):
                    torch.set_flush_denormal(flush)
                    taken["seqlearn", flush] = seconds_of_module(model, length)
                    taken["torch.nn", flush] = seconds_of_peer(peer, length)
                if number:  # the first round allocates
                    for key, values in ratios.items():
                        values.append(taken[key, False] / taken[key, True])
            cells = " | ".join(str(median_ratio(values)) for values in ratios.values())
            print(f"| `{name}` | {length} | {cells} |", flush=True)
    print(describe())
    return 0
