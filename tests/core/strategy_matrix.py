"""Train with one strategy and each option of `docs/strategies.md`; run by a slow test.

    torchrun --nproc-per-node 2 tests/core/strategy_matrix.py FOLDER STRATEGY [CHECKPOINT …]

Each checkpoint, of another strategy, is tested and continued.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, StochasticWeightAveraging
from lightning.pytorch.strategies import ModelParallelStrategy
from sharded_processes import RANK, Pairs, fsdp, make_trainer, message, whole

import seqlearn as sl

STRATEGIES: dict[str, Callable[..., Any]] = {
    "one": lambda: "auto",
    "ddp": lambda: "ddp",
    "fsdp2": fsdp,
    "tensor": lambda **options: ModelParallelStrategy(1, 2, **options),
}


class Fused(sl.Transformer):
    """A subclass with an optimizer that updates all parameters in one kernel."""

    def make_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, lr=self.recipe.lr, eps=1e-9, fused=True)


class Plain(sl.Transformer):
    """The same without a fused kernel."""

    def make_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, lr=self.recipe.lr, eps=1e-9)


def build(data: Pairs, kind: type[sl.Transformer] = sl.Transformer) -> sl.Transformer:
    """A small model with the same weights on all ranks, without dropout."""
    torch.manual_seed(0)
    recipe = sl.Recipe(lr=1e-2, warmup_steps=3)
    return kind(data.spec, d_model=8, num_heads=2, num_layers=1, dropout=0.0, recipe=recipe)


class Matrix:
    """Runs with one strategy."""

    def __init__(self, folder: Path, strategy: str) -> None:
        self.folder, self.data, self.strategy = folder, Pairs(), STRATEGIES[strategy]
        self.settings = {
            "devices": 1 if strategy == "one" else 2,
            "max_steps": 4,
            "val_check_interval": 2,
            "check_val_every_n_epoch": None,
        }

    def trainer(self, strategy: Any = None, **options: Any) -> Any:
        chosen = self.strategy() if strategy is None else strategy
        return make_trainer(self.folder, chosen, **(self.settings | options))

    def fitted(self, prepare: Any = None, kind: Any = sl.Transformer, **options: Any) -> Any:
        """The weights after a few steps, a validation included, and the metrics."""
        model = build(self.data, kind)
        if prepare is not None:
            prepare(model)
        trainer = self.trainer(**options)
        trainer.fit(model, self.data)
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        return {"weights": whole(model), "figures": figures}

    def attempt(self, *arguments: Any, **options: Any) -> Any:
        """The same, or the error."""
        found: dict[str, Any] = {}
        said = message(lambda: found.update(self.fitted(*arguments, **options)))
        return said or found

    def answers(self) -> dict[str, Any]:
        """What is tested, predicted and saved."""
        model = build(self.data)
        self.trainer().fit(model, self.data)
        (tested,) = self.trainer().test(model, self.data, verbose=False)
        writer = sl.callbacks.PredictionWriter(self.folder / "predictions.txt")
        trainer = self.trainer(callbacks=[writer])
        trainer.predict(model, self.data)
        model.save_pretrained(self.folder / "pretrained")
        whole_model = isinstance(self.strategy(), str)
        said = "" if whole_model else message(lambda: model.push_to_hub("a/b"))
        return {"tested": tested, "predicted": writer.predictions, "pushed": said}

    def checkpoints(self) -> None:
        """Save a checkpoint of each form."""
        for form in ("sharded", "one-file") if self.strategy().__class__ is not str else ("file",):
            options = {} if form != "one-file" else {"save_distributed_checkpoint": False}
            trainer = self.trainer(self.strategy(**options))
            trainer.fit(build(self.data), self.data)
            trainer.save_checkpoint(self.folder / f"{form}.ckpt")

    def continued(self, path: Path) -> dict[str, Any]:
        """The test loss of another strategy's checkpoint, and the steps of a run that goes on."""
        plugins = [sl.AtomicCheckpointIO()] if isinstance(self.strategy(), str) else None
        trainer = self.trainer(max_steps=6, plugins=plugins)
        (tested,) = trainer.test(build(self.data), self.data, ckpt_path=path, verbose=False)
        trainer = self.trainer(max_steps=6, plugins=plugins)
        trainer.fit(model := build(self.data), self.data, ckpt_path=path)
        return {"tested": tested, "steps": trainer.global_step, "weights": whole(model)}


def observers() -> list[Any]:
    """The callbacks that look at the model."""
    callbacks = sl.callbacks
    looking = (
        callbacks.GradientFlow,
        callbacks.AttentionMonitor,
        callbacks.StateMonitor,
        callbacks.SampleLogger,
    )
    return [
        callbacks.GenerationMetrics(num_examples=3),
        *(each(every_n_epochs=None, every_n_steps=2) for each in looking),
    ]


def recompute(model: sl.SequenceModule) -> None:
    """Switch activation checkpointing on."""
    model.recipe = replace(model.recipe, activation_checkpointing=True)


def main(folder: Path, strategy: str, others: list[Path]) -> None:
    """Run every option."""
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    matrix = Matrix(folder, strategy)
    attempt = matrix.attempt
    swa = StochasticWeightAveraging(swa_lrs=1e-3, swa_epoch_start=1)
    found: dict[str, Any] = {
        **{each: attempt(precision=each) for each in ("bf16-mixed", "bf16-true", "16-mixed")},
        "64-true": attempt(precision="64-true"),
        "plain": attempt(),
        "observers": attempt(callbacks=observers()),
        "clip by value": attempt(gradient_clip_algorithm="value"),
        "accumulate": attempt(accumulate_grad_batches=2),
        "recomputed": attempt(recompute),
        "compiled": attempt(lambda model: model.compile(backend="eager")),
        "ema": attempt(callbacks=[EMAWeightAveraging()]),
        "average": attempt(callbacks=[sl.callbacks.CheckpointAverage(last=1, every_n_steps=1)]),
        "swa": attempt(callbacks=[swa], max_epochs=3, max_steps=-1, limit_train_batches=2),
        "fused": attempt(kind=Fused),
        "not fused": attempt(kind=Plain),
        "answers": matrix.answers(),
    }
    matrix.checkpoints()
    found["continued"] = {str(path): matrix.continued(path) for path in others}
    torch.save(found, folder / f"found{RANK}.pt")


if __name__ == "__main__":
    # By its name, which the checkpoints of its classes then hold.
    importlib.import_module("strategy_matrix").main(
        Path(sys.argv[1]), sys.argv[2], [Path(each) for each in sys.argv[3:]]
    )
