"""Training throughput of two processes relative to one, interleaved, on one machine.

    python -m benchmarks processes [--rounds 5] [--steps 40]

Each process has one thread and its own batches of 2,048 tokens (weak scaling). A round trains a
Transformer with one process and then with two (`strategy="ddp"`, gloo), and takes target tokens per
second of all processes together, without start-up and the first steps. Ratios are those of one
round, so that a machine that is slow for a while slows both. It also prints the time of one
all-reduce of the gradients alone.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from typing import Any

import lightning as L
import torch

import seqlearn as sl

WARM_UP = 5


class Timer(L.Callback):
    """Counts target tokens and seconds after the first steps."""

    def __init__(self) -> None:
        self.tokens, self.started, self.seconds = 0, 0.0, 0.0

    def on_train_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        """Start after the warm-up, then count."""
        batch = arguments[2]
        if trainer.global_step == WARM_UP:
            self.started = time.perf_counter()
        elif trainer.global_step > WARM_UP:
            self.tokens += int((batch.target_lengths - 1).sum())
            self.seconds = time.perf_counter() - self.started


def train(steps: int) -> None:
    """Train as one rank; print what it measured as JSON."""
    torch.set_num_threads(1)
    ranks = int(os.environ["WORLD_SIZE"])
    data = sl.data.Dates("en", "de", batch_tokens=2048)
    model = sl.Transformer(data.spec, d_model=128, num_layers=2, num_heads=4)
    timer = Timer()
    trainer = L.Trainer(
        max_steps=WARM_UP + steps,
        accelerator="cpu",
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        callbacks=[timer],
    )
    trainer.fit(model, data)
    parameters = sum(each.numel() for each in model.parameters())
    reduce = 0.0
    if ranks > 1:
        gradients = torch.zeros(parameters)
        torch.distributed.barrier()
        begin = time.perf_counter()
        for _ in range(10):
            torch.distributed.all_reduce(gradients)
        reduce = (time.perf_counter() - begin) / 10
        torch.distributed.destroy_process_group()
    speed = timer.tokens / timer.seconds
    print(json.dumps({"speed": speed, "reduce": reduce, "parameters": parameters}), flush=True)


def measure(ranks: int, steps: int) -> dict[str, float]:
    """Train with so many processes; the sum of their speeds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(ranks)}
    variables |= {"LOCAL_WORLD_SIZE": str(ranks), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "1"}
    command = [sys.executable, "-m", "benchmarks", "processes", "--rank", "--steps", str(steps)]
    started = [
        subprocess.Popen(  # noqa: S603 -- this module
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            env=os.environ
            | variables
            | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
        )
        for rank in range(ranks)
    ]
    found = [json.loads(each.communicate()[0].splitlines()[-1]) for each in started]
    return found[0] | {"speed": sum(one["speed"] for one in found)}


def main() -> None:
    """Print a table of rounds and the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank:
        train(options.steps)
        return
    print("| round | 1 process, tokens/s | 2 processes, tokens/s | ratio | all-reduce, ms |")
    print("|---|---|---|---|---|")
    ratios = []
    for number in range(1, options.rounds + 1):
        one, two = measure(1, options.steps), measure(2, options.steps)
        ratios.append(two["speed"] / one["speed"])
        print(
            f"| {number} | {one['speed']:,.0f} | {two['speed']:,.0f} | {ratios[-1]:.2f} | "
            f"{1000 * two['reduce']:.1f} |",
            flush=True,
        )
    print(f"\nMedian ratio {statistics.median(ratios):.2f} ({one['parameters']:,} parameters)")
