"""Memory and time of the entropy of attention, computed with and without the matrix of weights.

    python benchmarks/entropy.py

Prints one row per length (one example, 4 heads of 32, float32): the peak memory of each
computation, in separate processes; the ratio of their times (below 1: faster without the matrix),
measured alternately in one process; and the largest difference of their results in nats. Memory is
read from /proc, so it needs Linux.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from seqlearn.introspect import entropy, fused_entropy
from seqlearn.nn.attention import attention_weights

LENGTHS, HEADS, WIDTH, ROUNDS = (1024, 2048, 4096, 8192), 4, 32, 5


def explicit(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """The textbook way: weights first."""
    return entropy(attention_weights(query, key))


WAYS = {"explicit": explicit, "fused": fused_entropy}


def inputs(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and keys, `1 HEADS length WIDTH`."""
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, HEADS, length, WIDTH)
    return query, key


def held(most: bool) -> int:
    """KiB that the process holds, or the most it has held since the mark was last reset."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:" if most else "VmRSS:")[1].split()[0])


def peak(way: str, length: int) -> float:
    """MiB that one call holds at most, its inputs not counted."""
    query, key = inputs(length)
    WAYS[way](query[:, :, :64], key[:, :, :64])  # what is loaded at the first call is no part of it
    # This resets the mark of the most held.
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before = held(most=False)
    WAYS[way](query, key)
    return (held(most=True) - before) / 1024


def peak_alone(way: str, length: int) -> float:
    """`peak` in a process of its own, in which freed tensors go back to the system at once."""
    command = [sys.executable, __file__, way, str(length)]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(  # noqa: S603
        command, check=True, capture_output=True, encoding="utf-8", env=environment
    )
    return float(done.stdout)


def seconds(way: str, query: torch.Tensor, key: torch.Tensor) -> float:
    """Of one call."""
    start = time.perf_counter()
    WAYS[way](query, key)
    return time.perf_counter() - start


def main() -> None:
    """Print one row per length."""
    print(f"{'length':>6} {'explicit MiB':>12} {'fused MiB':>10} {'time':>6} {'difference':>11}")
    for length in LENGTHS:
        explicit_peak, fused_peak = (peak_alone(way, length) for way in WAYS)
        query, key = inputs(length)
        pairs = [[seconds(way, query, key) for way in WAYS] for _ in range(ROUNDS)]
        ratio = statistics.median(fused / explicit for explicit, fused in pairs)
        apart = (explicit(query, key) - fused_entropy(query, key)).abs().max().item()
        print(f"{length:6} {explicit_peak:12.1f} {fused_peak:10.1f} {ratio:6.2f} {apart:11.1e}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(peak(sys.argv[1], int(sys.argv[2])))
    else:
        main()
