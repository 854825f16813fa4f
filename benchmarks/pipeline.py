"""What surrounds a training step: padding, the loader, the Trainer and `AttentionMonitor`.

    python -m benchmarks pipeline [--what step|padding|monitor] [--size tiny|base]
        [--multi30k FOLDER] [--rounds 20]

`step` compares a step of `Trainer.fit` (batch, hooks, clipping, schedule, logging), and slicing the
batch alone, with the same step in a plain loop over the same batches; steps alternate, in CPU
time. `padding`
counts the padding in the batches of an epoch, and in batches of examples in random order and
sorted by target and then source length. `monitor` alternates epochs with and without
`AttentionMonitor()`, in CPU time.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterable, Iterator
from typing import Any

import lightning as L
import numpy as np
import torch

import seqlearn as sl
from benchmarks.comparison import Comparison, arguments, report, result_of
from benchmarks.machine import describe
from benchmarks.workloads import DTYPES, SIZES, Workload, add_arguments, load
from seqlearn.batch import SequenceBatch
from seqlearn.data.batching import plan_bucketed

CLIP = 1.0
RECIPE = sl.Recipe(lr=1e-4, warmup_steps=10, schedule="inverse_sqrt", label_smoothing=0.1)
TRAINER: dict[str, Any] = {
    "accelerator": "cpu", "gradient_clip_val": CLIP, "logger": False,
    "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
    "limit_val_batches": 0,
}  # fmt: skip


class PlainSteps(L.Callback):
    """After each step of the Trainer, makes the same step of a copy of the module in plain PyTorch.

    Attributes:
        trainer_seconds: CPU time of each step of the Trainer, from the end of the one before.
        plain_seconds: CPU time of each plain step.
        loader_seconds: CPU time in which the loader makes a batch.
    """

    def __init__(
        self, model: sl.SequenceModule, batches: Iterable[SequenceBatch], dtype: torch.dtype
    ) -> None:
        self.dtype = dtype
        self.model = copy.deepcopy(model)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        self.batches = batches
        self.trainer_seconds: list[float] = []
        self.plain_seconds: list[float] = []
        self.loader_seconds: list[float] = []

    def on_train_start(self, *_: Any) -> None:
        """The first step begins."""
        self.loader = repeated(self.batches)
        self.start = time.process_time()

    def on_train_batch_end(self, *arguments: Any) -> None:
        """Make the plain step on the same batch, and start the clock of the next one."""
        ended, batch = time.process_time(), arguments[3]
        next(self.loader)
        loaded = time.process_time()
        with torch.autocast("cpu", self.dtype, enabled=self.dtype is not torch.float32):
            measured = self.model.compute_loss(batch, smoothing=RECIPE.label_smoothing)
            loss = measured.loss / measured.num_tokens
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad()
        done = time.process_time()
        self.trainer_seconds.append(ended - self.start)
        self.loader_seconds.append(loaded - ended)
        self.plain_seconds.append(done - loaded)
        self.start = time.process_time()


def repeated(batches: Iterable[SequenceBatch]) -> Iterator[SequenceBatch]:
    """One epoch after the other."""
    while True:
        yield from batches


def compare_steps(options: argparse.Namespace, work: Workload) -> list[dict[str, Any]]:
    """Rows of the Trainer's step and of the loader."""
    torch.manual_seed(0)
    size = SIZES[options.size]
    model = sl.Transformer(work.data.spec, **size._asdict(), dropout=0.1, recipe=RECIPE)
    dtype = DTYPES[options.dtype]
    steps = PlainSteps(model, work.data.train_dataloader(), dtype)
    precision: Any = "bf16-mixed" if dtype is torch.bfloat16 else "32-true"
    trainer = L.Trainer(
        **TRAINER, max_steps=options.rounds + 2, callbacks=[steps], precision=precision
    )
    trainer.fit(model, work.data)
    plain = steps.plain_seconds[2:]  # the first two warm up

    def row(name: str, seconds: list[float]) -> dict[str, Any]:
        return result_of(name, [a / b for a, b in zip(plain, seconds[2:], strict=True)], dtype)

    overhead = [b / a - 1 for a, b in zip(plain, steps.trainer_seconds[2:], strict=True)]
    trained = row("step of Trainer.fit", steps.trainer_seconds)
    trained["overhead"] = round(float(np.median(overhead)), 4)
    return [row("plain loop", steps.plain_seconds), trained, row("loader", steps.loader_seconds)]


def padding(options: argparse.Namespace, work: Workload) -> list[dict[str, Any]]:
    """Rows of the share of padding, on both sides, of three ways to make batches."""
    data = work.data.dataset("train")
    lengths = data.source_lengths, data.target_lengths
    budget = options.batch_tokens
    order = np.random.default_rng(0).permutation(len(lengths[0]))
    longest = np.maximum(*lengths)
    by_target = np.lexsort(lengths)  # equal targets by source
    plan = plan_bucketed(*lengths, budget)
    batches = {
        "random order": greedy(order, longest, budget),
        "sorted by target and source length": greedy(by_target, longest, budget),
        "seqlearn": [np.asarray(rows) for rows in plan.epoch(0, 0)],
    }
    rows = []
    for name, made in batches.items():
        shares = [share_of_padding(made, side) for side in lengths]
        totals = [sum(len(one) * int(side[one].max()) for one in made) for side in lengths]
        sides = {"source_padding": round(shares[0], 4), "target_padding": round(shares[1], 4)}
        rows.append({"name": name, "batches": len(made)} | sides | {"positions": sum(totals)})
    return rows


def greedy(order: np.ndarray, longest: np.ndarray, budget: int) -> list[np.ndarray]:
    """Batches of consecutive examples, as many as the budget allows."""
    batches, first, most = [], 0, 0
    for position, row in enumerate(order.tolist()):
        most = max(most, int(longest[row]))
        if (position - first + 1) * most > budget:
            batches.append(order[first:position])
            first, most = position, int(longest[row])
    return [*batches, order[first:]]


def share_of_padding(batches: Iterable[np.ndarray], lengths: np.ndarray) -> float:
    """Padded positions divided by all positions."""
    sizes = [(int(lengths[rows].sum()), len(rows) * int(lengths[rows].max())) for rows in batches]
    real, positions = map(sum, zip(*sizes, strict=True))
    return 1 - real / positions


class Clock(L.Callback):
    """Notes the CPU time of each epoch; stands last among the callbacks."""

    def __init__(self) -> None:
        self.epochs: list[float] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        """An epoch begins."""
        self.start = time.process_time()

    def on_train_epoch_end(self, *_: Any) -> None:
        """An epoch has ended, a recording included."""
        self.epochs.append(time.process_time() - self.start)


def monitor(options: argparse.Namespace, work: Workload) -> list[dict[str, Any]]:
    """Rows of epochs with `AttentionMonitor`; each epoch has `--batches` batches."""
    clocks = {"without AttentionMonitor": Clock(), "with AttentionMonitor": Clock()}
    runs = []
    for name, clock in clocks.items():
        torch.manual_seed(0)
        size = SIZES[options.size]
        model = sl.Transformer(work.data.spec, **size._asdict(), dropout=0.1, recipe=RECIPE)
        watching = [sl.callbacks.AttentionMonitor()] if name.startswith("with A") else []
        limits = {"limit_train_batches": options.batches, "limit_val_batches": 4}
        trainer = L.Trainer(**(TRAINER | limits), max_epochs=1, callbacks=[*watching, clock])
        runs.append((trainer, model))
    for epoch in range(1, options.rounds + 2):
        for trainer, model in runs:
            trainer.fit_loop.max_epochs = epoch
            trainer.fit(model, work.data)
    base = clocks["without AttentionMonitor"].epochs[1:]
    return [
        result_of(name, [a / b for a, b in zip(base, clock.epochs[1:], strict=True)])
        for name, clock in clocks.items()
    ]


def main() -> int:
    """Run the chosen comparison."""
    parser = arguments(__doc__, contenders=False)
    add_arguments(parser)
    parser.add_argument("--what", choices=["step", "padding", "monitor"], default="step")
    parser.add_argument("--batches", type=int, default=50, help="of an epoch, for monitor")
    options = parser.parse_args()
    if options.what != "step" and options.dtype != "float32":
        parser.error(f"--dtype is for --what step, and --what is {options.what}")
    machine = describe(["seqlearn"])
    work = load(options.multi30k, options.batch_tokens)
    run = {"step": compare_steps, "padding": padding, "monitor": monitor}[options.what]
    results = run(options, work)
    said = work.description | {"size": options.size, **SIZES[options.size]._asdict()}
    lower = "-bfloat16" if options.dtype == "bfloat16" else ""
    label = f"pipeline-{options.what}-{options.size}{lower}"
    done = Comparison("pipeline", label, [], [], said)
    return report(done, results[0]["name"], results, options, machine=machine)
