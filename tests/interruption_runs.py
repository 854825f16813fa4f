"""The runs of `interruptions.py`: what a case is, and the training of one rank of it.

The ranks are forks (`forks.py`), or they start under Lightning's own launcher, which starts
processes itself.
"""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy

import seqlearn as sl

ROWS = [
    {"source": text, "target": text[::-1]}
    for text in ["abc" * (1 + number % 3) + "de"[: number % 2] for number in range(24)]
]

STREAM = "abcde" * 9 + "edcba" * 8 + "ace" * 3 + "ab" * 4


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        signal: What is sent.
        point: Where the run is then: `"sanity"`, `"group"` (a micro-batch begins), `"validation"`,
            `"boundary"` (the last batch of an epoch begins) or `"saving"` (a checkpoint is written,
            but not yet in its place).
        to: Ranks that receive it.
        devices: Processes.
        accumulate: Micro-batches of a step.
        model: `"transformer"`, or `"lm"`, a language model that carries its state.
        averaging: Whether the weights are averaged (EMA).
        launcher: `"torchrun"` (its environment) or `"lightning"`.
        strategy: `"ddp"`, `"fsdp2"` (sharded checkpoints), or `"fsdp2-file"` (in one file).
    """

    signal: str = "SIGTERM"
    point: str = "group"
    to: tuple[int, ...] = (0,)
    devices: int = 1
    accumulate: int = 1
    model: str = "transformer"
    averaging: bool = False
    launcher: str = "torchrun"
    strategy: str = "ddp"

    @property
    def name(self) -> str:
        ranks = "".join(map(str, self.to))
        parts = [self.signal, self.point, f"rank{ranks}of{self.devices}", f"k{self.accumulate}"]
        parts += [self.model, *["ema"] * self.averaging]
        parts += [self.strategy] * self.sharded
        return "-".join([*parts, *["own"] * (self.launcher == "lightning")])

    @property
    def sharded(self) -> bool:
        """Whether the weights are sharded over the processes."""
        return self.strategy.startswith("fsdp2")

    @property
    def tolerance(self) -> float:
        """The largest difference that is allowed between the weights of two runs."""
        return 1e-6 if self.sharded else 0.0

    @property
    def reference(self) -> str:
        """What decides on the uninterrupted run."""
        return (
            f"whole-{self.devices}-{self.accumulate}-{self.model}-{self.averaging}-{self.strategy}"
        )

    @property
    def statuses(self) -> list[int]:
        """The expected exit statuses of the ranks; of rank 0 alone under Lightning's launcher."""
        if self.signal != "SIGKILL":
            return [143] * (1 if self.launcher == "lightning" else self.devices)
        if self.launcher == "lightning":
            return [-9 if 0 in self.to else 1]
        return [-9 if rank in self.to else 1 for rank in range(self.devices)]


def parts(folder: Path, case: Case, *extra: L.Callback) -> tuple[L.Trainer, Any, Any]:
    """The trainer, the module and the data of a case."""
    chars = sl.data.Text("char")
    recipe = sl.Recipe(lr=1e-2, warmup_steps=3, schedule="cosine")
    data: Any
    model: Any
    torch.manual_seed(0)
    if case.model == "lm":
        text, val = folder.parent / "stream.txt", folder.parent / "val.txt"
        data = sl.data.PlainText(text, val, text=chars, window=4, batch_tokens=8)
        model = sl.LSTM(data.spec, d_model=8, dropout=0.3, recipe=recipe)
    else:
        data = sl.data.TextPairs(
            ROWS, ROWS[:5], None, chars, chars, columns=("source", "target"), batch_tokens=32
        )
        model = sl.Transformer(
            data.spec, d_model=8, num_layers=1, num_heads=2, dropout=0.3, recipe=recipe
        )
    averaging = [EMAWeightAveraging(decay=0.9)] if case.averaging else []
    trainer = L.Trainer(
        max_epochs=3,
        accelerator="cpu",
        devices=case.devices,
        strategy=strategy_of(case),
        accumulate_grad_batches=case.accumulate,
        gradient_clip_val=1.0,
        callbacks=[
            *averaging,
            sl.callbacks.Interrupt(),
            ModelCheckpoint(folder, save_last=True, every_n_train_steps=3, save_top_k=-1),
            *extra,
        ],
        plugins=[sl.AtomicCheckpointIO()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
        default_root_dir=folder,
    )
    return trainer, model, data


def strategy_of(case: Case) -> Any:
    """The strategy of a case."""
    if case.sharded:
        whole = case.strategy == "fsdp2-file"
        return ModelParallelStrategy(
            data_parallel_size=2, tensor_parallel_size=1, save_distributed_checkpoint=not whole
        )
    return "ddp" if case.devices > 1 else "auto"


class SendSignal(L.Callback):
    """Sends the signal of a case to this process, once."""

    def __init__(self, case: Case, marker: Path) -> None:
        self.case, self.marker, self.sent = case, marker, False

    def send(self, trainer: L.Trainer, point: str, *, now: bool) -> None:
        """Send it if the run has come to the point of the case."""
        if self.sent or point != self.case.point or not now:
            return
        self.sent = True
        if trainer.global_rank in self.case.to:
            self.marker.write_text(str(time.time()), encoding="utf-8")
            os.kill(os.getpid(), getattr(signal, self.case.signal))

    def on_sanity_check_start(self, trainer: Any, *_: Any) -> None:
        self.send(trainer, "sanity", now=True)

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        last = batch_idx == trainer.num_training_batches - 1
        self.send(trainer, "group", now=trainer.current_epoch == 1 and batch_idx == 4)
        self.send(trainer, "boundary", now=trainer.current_epoch == 1 and last)

    def on_validation_start(self, trainer: Any, *_: Any) -> None:
        at = not trainer.sanity_checking and trainer.current_epoch == 1
        self.send(trainer, "validation", now=at)

    def on_save_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        if self.case.point == "saving" and trainer.current_epoch == 1:
            checkpoint["sends"] = SendsWhilePickled(lambda: self.send(trainer, "saving", now=True))


class SendsWhilePickled:
    """Calls a function when it is written to a checkpoint."""

    def __init__(self, function: Callable[[], None]) -> None:
        self.function = function

    def __reduce__(self) -> Any:
        self.function()
        return OrderedDict, ()


def train(folder: Path, case: Case, start: str | None, *, interrupt: bool) -> None:
    """Train in this process, and save the weights at the end."""
    warnings.filterwarnings("ignore")
    sender = [SendSignal(case, folder / "sent")] if interrupt else []
    trainer, model, data = parts(folder, case, *sender)
    (folder / f"pid{trainer.global_rank}").write_text(str(os.getpid()), encoding="utf-8")
    trainer.fit(model, data, ckpt_path=start)
    weights = {  # gathered from all ranks where they are sharded
        name: each.full_tensor() if hasattr(each, "full_tensor") else each
        for name, each in model.state_dict().items()
    }
    if trainer.is_global_zero:
        torch.save(weights, folder / "weights.pt")
