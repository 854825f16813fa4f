"""The length from which fused attention is faster than explicit products: `EXPLICIT_KEYS`.

    python benchmarks/attention_crossing.py

Times both forms alternately on the same tensors (4,096 tokens a batch, 4 heads of 32), forward
alone and forward with backward, and prints the ratio explicit / fused (below 1: explicit is
faster).
"""

from __future__ import annotations

import statistics
import time

import torch

from seqlearn.batch import length_mask
from seqlearn.nn import attend
from seqlearn.nn import attention as attention_file

TOKENS, HEADS, WIDTH, ROUNDS = 4096, 4, 32, 15


def seconds(explicit: bool, inputs: list[torch.Tensor], mask: torch.Tensor, drop: float) -> float:
    """One forward pass, and one backward if the inputs want gradients."""
    attention_file._explicit_is_faster = lambda *_: explicit  # noqa: SLF001
    start = time.perf_counter()
    output = attend(*inputs, mask, dropout_p=drop)
    if inputs[0].requires_grad:
        output.sum().backward()
    return time.perf_counter() - start


def main() -> None:
    """Print one row per length."""
    print(f"{'length':>6} {'forward':>8} {'with backward':>14} {'and dropout 0.1':>16}")
    for length in (8, 16, 32, 64, 128, 256, 512, 1024):
        batch = TOKENS // length
        mask = length_mask(torch.randint(length // 2, length + 1, (batch,)), length)[:, None, None]
        ratios = []
        for learning, drop in ((False, 0.0), (True, 0.0), (True, 0.1)):
            inputs = [
                torch.randn(batch, HEADS, length, WIDTH, requires_grad=learning) for _ in range(3)
            ]
            pairs = [
                (seconds(True, inputs, mask, drop), seconds(False, inputs, mask, drop))
                for _ in range(ROUNDS)
            ]
            ratios.append(statistics.median(explicit / fused for explicit, fused in pairs))
        print(f"{length:6} {ratios[0]:8.2f} {ratios[1]:14.2f} {ratios[2]:16.2f}")


if __name__ == "__main__":
    main()
