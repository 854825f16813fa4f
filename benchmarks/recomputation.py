"""Memory of a training step with `Recipe(activation_checkpointing=True)` and without.

    python -m benchmarks recomputation [--sizes tiny base] [--tokens 4096] [--length 64]

A step is the loss of a batch of equal lengths, its gradient, and AdamW. The peak is the most memory
that the process holds during the second step, beyond what it held before it: weights and optimizer
states. It has the gradients and the activations. Each step runs in a process of its own, on the CPU
(Linux only), where freed memory goes back to the system at once.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from typing import Any

import torch

import seqlearn as sl
from benchmarks.machine import CPU, ROOT, held_memory, reset_peak
from seqlearn.batch import SequenceBatch

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"d_model": 128, "num_layers": 4, "num_heads": 4},
    "base": {"d_model": 512, "num_layers": 6, "num_heads": 8},
}
"""The defaults of `Transformer`, and the base model of Vaswani et al. 2017, table 3."""

VOCAB = 8000

AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Makes glibc return memory when it is freed, instead of keeping it for the next allocation."""


def peak_of_step(size: str, tokens: int, length: int, *, again: bool) -> int:
    """The peak of the second step in bytes."""
    torch.manual_seed(0)
    side = sl.TextSpec(VOCAB, length)
    recipe = sl.Recipe(activation_checkpointing=again)
    model = sl.Transformer(sl.SequenceSpec(side, side), recipe=recipe, **SIZES[size])
    model.configure_model()
    optimizer = torch.optim.AdamW(model.parameters())
    ids = torch.randint(4, VOCAB, (2, max(1, tokens // length), length + 1))
    lengths = torch.full((ids.shape[1],), length)
    batch = SequenceBatch(ids[0, :, :-1].contiguous(), lengths, ids[1], lengths + 1)
    before = 0
    for _ in range(2):
        before = held_memory(CPU, peak=False)
        reset_peak(CPU)
        model.compute_loss(batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return held_memory(CPU, peak=True) - before


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--tokens", type=int, default=4096, help="of source, and of target")
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--one", choices=["kept", "again"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        (size,) = options.sizes
        again = options.one == "again"
        print(peak_of_step(size, options.tokens, options.length, again=again))
        return 0
    words = ["--tokens", str(options.tokens), "--length", str(options.length)]
    print("| size | activations kept, MB | layers computed again, MB | share |")
    print("|---|---|---|---|")
    for size in options.sizes:
        peaks = []
        for one in ("kept", "again"):
            command = [sys.executable, "-m", "benchmarks", "recomputation", "--sizes", size, *words]
            done = subprocess.run(  # noqa: S603 -- this script
                [*command, "--one", one],
                cwd=ROOT,
                env=os.environ | AT_ONCE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                check=True,
            )
            peaks.append(int(done.stdout) / 2**20)
        kept, again = peaks
        print(f"| {size} | {kept:.0f} | {again:.0f} | {again / kept:.0%} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
