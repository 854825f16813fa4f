"""Preparation of a large corpus: time, peak memory, start of the second run, speed of the loader.

    python -m benchmarks preparation --pairs 5_000_000 --tokenizers word bpe char

The corpus is generated: pairs of lines of about twelve words, drawn from a Zipf distribution over
50,000 words in each language. Each measurement runs in a process of its own: the
preparation with an empty cache, the second start and the loader with the one that it filled. CPU
time is that of the whole process, imports included. `--root` keeps corpus and caches.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

import seqlearn as sl
from benchmarks.isolated import run_module
from benchmarks.machine import processor

WORDS = 50_000
LONGEST = 24  # words of a line
BLOCK = 100_000  # lines that are generated at a time
LETTERS = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))


def vocabulary(language: str) -> list[str]:
    """Invented words; frequent ones are shorter."""
    rng = np.random.default_rng(sum(map(ord, language)))
    words: dict[str, None] = {}
    while len(words) < WORDS:
        size = 2 + int(np.log2(2 + len(words)) / 2) + int(rng.integers(3))
        words["".join(rng.choice(LETTERS[: 8 + 2 * size], size))] = None
    return list(words)


def generate(folder: Path, pairs: int) -> tuple[Path, Path]:
    """Write the corpus as two parallel files, unless it is there."""
    paths = folder / f"{pairs}.a", folder / f"{pairs}.b"
    frequencies = 1 / np.arange(1, WORDS + 1)
    cumulative = np.cumsum(frequencies / frequencies.sum())
    for number, path in enumerate(paths):
        if path.exists():
            continue
        words = np.array(vocabulary(path.suffix))
        lengths, draws = np.random.default_rng(1), np.random.default_rng(2 + number)
        with path.with_suffix(".partial").open("w", encoding="utf-8", newline="\n") as file:
            for first in range(0, pairs, BLOCK):
                sizes = 1 + lengths.binomial(LONGEST - 1, 0.48, min(BLOCK, pairs - first))
                drawn = np.searchsorted(cumulative, draws.random(int(sizes.sum())))
                line = words[np.minimum(drawn, WORDS - 1)].tolist()
                ends = np.cumsum(sizes).tolist()
                starts = [0, *ends[:-1]]
                file.writelines(
                    " ".join(line[start:end]) + "\n"
                    for start, end in zip(starts, ends, strict=True)
                )
        path.with_suffix(".partial").replace(path)
    return paths


def corpus(folder: Path, pairs: int, tokenizer: str) -> sl.data.TextPairs:
    """The data module; 0.2% of the pairs are for validation."""
    source, target = sl.data.Text(tokenizer), sl.data.Text(tokenizer)
    return sl.data.TextPairs(generate(folder, pairs), val=0.002, source=source, target=target)


def first_batch(data: sl.data.TextPairs) -> sl.SequenceBatch:
    """Start as a training run does."""
    data.prepare_data()
    data.setup("fit")
    return next(iter(data.train_dataloader()))


def measure_start(data: sl.data.TextPairs) -> dict[str, float]:
    """Seconds until the first batch, and peak memory of the process, in bytes."""
    before = peak_memory()
    start = time.perf_counter()
    data.prepare_data()
    prepared = time.perf_counter() - start
    first_batch(data)
    seconds = time.perf_counter() - start
    cpu = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "prepared": prepared,
        "seconds": seconds,
        "cpu": cpu.ru_utime + cpu.ru_stime,
        "peak": peak_memory(),
        "imports": before,
    }


def measure_loader(data: sl.data.TextPairs, seconds: float = 10.0) -> dict[str, float]:
    """Batches and target tokens for each second of the loader, and of the fastest training."""
    batches = itertools.chain.from_iterable(itertools.repeat(data.train_dataloader()))
    next(batches)
    start, count, tokens = time.perf_counter(), 0, 0
    while time.perf_counter() - start < seconds:
        batch = next(batches)
        assert batch.target_lengths is not None
        count, tokens = count + 1, tokens + int(batch.target_lengths.sum())
    passed = time.perf_counter() - start
    model = sl.RNN(data.spec, d_model=64, num_layers=1)
    clock = StepClock()
    trainer = L.Trainer(
        max_steps=12,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        accelerator="cpu",
    )
    trainer.fit(model, data)
    return {
        "batches": count / passed,
        "tokens": tokens / passed,
        "steps": 1 / float(np.median(np.diff(clock.times)[3:])),
    }


class StepClock(L.Callback):
    """The time of each training step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())


def peak_memory() -> int:
    """Peak resident memory of this process, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def run_process(options: argparse.Namespace, what: str, tokenizer: str) -> dict[str, float]:
    """Measure in a new process."""
    words = ["--measure", what, "--tokenizers", tokenizer]
    words += ["--pairs", str(options.pairs), "--root", str(options.root)]
    cache = str(Path(options.root, f"cache-{tokenizer}"))
    return run_module("preparation", *words, SEQLEARN_CACHE=cache)


def main() -> None:
    """Run all measurements, or one in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=200_000)
    parser.add_argument("--tokenizers", nargs="+", default=["word", "bpe", "char"])
    parser.add_argument("--root", help="folder of corpus and caches; by default a temporary one")
    parser.add_argument("--measure", choices=["start", "loader"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        torch.set_num_threads(1)
        data = corpus(Path(options.root), options.pairs, options.tokenizers[0])
        found = measure_start(data) if options.measure == "start" else measure_loader(data)
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as temporary:
        options.root = options.root or temporary
        Path(options.root).mkdir(parents=True, exist_ok=True)
        paths = generate(Path(options.root), options.pairs)
        size = sum(path.stat().st_size for path in paths) / 1e6
        print(f"{options.pairs:,} pairs, {size:,.0f} MB; {processor()}, {os.cpu_count()} cores")
        for tokenizer in options.tokenizers:
            first = run_process(options, "start", tokenizer)
            second = run_process(options, "start", tokenizer)
            loader = run_process(options, "loader", tokenizer)
            print(
                f"{tokenizer}: prepared in {first['prepared']:,.0f} s ({first['cpu']:,.0f} s of "
                f"CPU time), peak memory {first['peak'] / 1e6:,.0f} MB (imports "
                f"{first['imports'] / 1e6:,.0f}); second run: {second['prepared']:.2f} s until "
                f"prepared, {second['seconds']:.2f} s until the first batch, peak "
                f"{second['peak'] / 1e6:,.0f} MB; loader: {loader['batches']:,.0f} batches/s, "
                f"{loader['tokens']:,.0f} target tokens/s, "
                f"{loader['batches'] / loader['steps']:,.0f} times the training steps of the "
                f"smallest RNN ({loader['steps']:.1f}/s)",
                flush=True,
            )
