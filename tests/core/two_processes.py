"""Train several small models and save what came of it; run by `test_processes.py`.

python two_processes.py FOLDER, alone or, with the variables that torchrun sets, as two ranks. Where
it is alone, each step takes what the two ranks take in theirs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

import seqlearn as sl
from seqlearn.data.batching import BatchPlan

RANKS = int(os.environ.get("WORLD_SIZE", "1"))


@dataclass(frozen=True)
class InTurn:
    """The plan of two ranks for one process: the batches of a step one after the other."""

    plan: BatchPlan
    world_size: int = 1

    def __len__(self) -> int:
        return len(self.plan)

    def epoch(self, seed: int, epoch: int) -> Sequence[Any]:
        """The batches of an epoch."""
        return self.plan.epoch(seed, epoch)

    def sequential(self) -> Sequence[Any]:
        """The batches in a fixed order."""
        return self.plan.sequential()


class Pairs(sl.data.SequenceDataModule):
    """Texts or series of unequal lengths, and what is made of them."""

    def __init__(
        self, target: Any, examples: int = 60, num_workers: int = 0, source: Any = None
    ) -> None:
        source = source or sl.data.Text()
        super().__init__(source, target, batch_tokens=24, num_workers=num_workers)
        self.number = examples

    def plan_batches(self, split: str, *, world_size: int, **options: Any) -> BatchPlan:
        if split != "train" or world_size == 2:
            return super().plan_batches(split, world_size=world_size, **options)
        return InTurn(super().plan_batches(split, world_size=2, **options))

    def examples(self, split: str) -> list[tuple[str, Any]]:
        count = {"train": self.number, "val": 5, "test": 37}[split]
        texts = ["abcdefgh"[i % 5 : i % 5 + 1 + i % 4] for i in range(count)]
        if isinstance(self.source, sl.data.Series):
            series = [[[ord(letter) - 100.0, len(text)] for letter in text] for text in texts]
            return [(each, "ab"[len(each) % 2]) for each in series]
        if isinstance(self.target, sl.data.CharacterTags):
            return [(text, ["ab"[ord(letter) % 2] for letter in text]) for text in texts]
        if isinstance(self.target, sl.data.Classes):
            return [(text, "ab"[len(text) % 2]) for text in texts]
        if isinstance(self.target, sl.data.Vector):
            return [(text, [len(text), ord(text[0]) - 100.0]) for text in texts]
        return [(text, text[::-1]) for text in texts]


class WithPenalty(sl.Transformer):
    """A model with one more term in its loss, of a parameter of its own."""

    def __init__(self, spec: sl.SequenceSpec, **base: Any) -> None:
        super().__init__(spec, d_model=8, num_layers=1, num_heads=2, dropout=0.0, **base)
        self.extra = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.gradients: list[Tensor] = []

    def training_step(self, batch: sl.SequenceBatch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss + 0.1 * self.extra[0] + 0.1 * batch.loss_weight * self.extra[1]

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.gradients.append(self.extra.grad.clone())


def fit(folder: Path, model: L.LightningModule, data: Any, **options: Any) -> L.Trainer:
    """Fit for two epochs, in double precision."""
    settings = {
        "max_epochs": 2,
        "precision": "64-true",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": folder,
    }
    trainer = L.Trainer(
        accelerator="cpu",
        devices=RANKS,
        strategy="ddp" if RANKS > 1 else "auto",
        **(settings | options),
    )
    trainer.fit(model, data)
    return trainer


def trained(folder: Path, kind: type[sl.SequenceModule], data: Any, **options: Any) -> Any:
    """What came of a training."""
    torch.manual_seed(0)
    sizes = {} if kind is WithPenalty else {"d_model": 8, "num_layers": 1, "dropout": 0.0}
    recipe = sl.Recipe(lr=1e-2, warmup_steps=3, label_smoothing=0.1)
    model = kind(data.spec, recipe=recipe, **sizes)
    trainer = fit(folder, model, data, **options)
    figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return {
        "weights": model.state_dict(),
        "figures": figures,
        "steps": trainer.global_step,
        "extra": getattr(model, "gradients", []),
    }


class Loading(sl.Transformer):
    """A model that brings its data itself, and writes down the rows of its batches."""

    seen: list[int]

    def train_dataloader(self) -> DataLoader:
        self.seen = []
        return Pairs(sl.data.Text()).train_dataloader()

    def training_step(self, batch: sl.SequenceBatch, batch_idx: int) -> Tensor:
        self.seen += batch.indices.tolist()
        return super().training_step(batch, batch_idx)


def handed(folder: Path, data: Pairs, loader: DataLoader) -> dict[str, Any]:
    """What comes of a loader that is handed to the Trainer, or made by the model."""
    sizes = {"d_model": 8, "num_layers": 1, "num_heads": 2}
    try:
        fit(folder, sl.Transformer(data.spec, **sizes), loader, max_epochs=1)
        said = ""
    except ValueError as error:
        said = str(error)
    model = Loading(data.spec, **sizes)
    fit(folder, model, None, max_epochs=1)
    return {"said": said, "seen": model.seen}


class Squares(L.LightningModule):
    """A module of another library."""

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return batch.square()


def predicted(folder: Path) -> dict[str, Any]:
    """What comes of predictions: the files, what each rank has, and the error of each rank."""
    torch.manual_seed(0)
    data = Pairs(sl.data.Text())
    small = {"accelerator": "cpu", "devices": RANKS, "logger": False}
    small |= {"enable_progress_bar": False, "enable_model_summary": False, "precision": "64-true"}
    small |= {"strategy": "ddp" if RANKS > 1 else "auto", "enable_checkpointing": False}
    model = sl.GRU(data.spec, d_model=8, num_layers=1)
    squares = DataLoader(range(11), batch_size=2)
    kept: dict[str, Any] = {}
    for name, module, source in (("text", model, data), ("jsonl", Squares(), squares)):
        writer = sl.callbacks.PredictionWriter(folder / f"predictions.{name}", format=name)
        L.Trainer(callbacks=[writer], **small).predict(module, source)
        kept[name] = writer.predictions
    names = {"text": "predictions.text", "jsonl": "predictions.jsonl"}
    kept["files"] = {k: (folder / name).read_text(encoding="utf-8") for k, name in names.items()}
    (folder / "file").touch()
    writer = sl.callbacks.PredictionWriter(folder / "file" / "predictions.txt")
    try:
        L.Trainer(callbacks=[writer], **small).predict(Squares(), squares)
    except OSError as error:
        kept["said"] = str(error)
    return kept


def main(folder: Path) -> None:
    """Train everything; each rank writes what it has."""
    torch.set_num_threads(1)
    text, each = sl.data.Text(), 2 // RANKS  # micro-batches for one of two ranks
    early = Pairs(text).train_dataloader()  # before any Trainer brings the ranks together
    stream = folder.parent / "stream.txt"
    lines = sl.data.PlainText(stream, window=4, batch_tokens=16 * each)
    schedule = L.pytorch.callbacks.GradientAccumulationScheduler({0: each, 1: 2 * each})
    found = {
        "text": trained(folder, WithPenalty, Pairs(text), accumulate_grad_batches=each),
        "short groups": trained(
            folder,
            WithPenalty,
            Pairs(text),
            accumulate_grad_batches=3 * each,
            gradient_clip_val=0.5,
            callbacks=[sl.callbacks.GenerationMetrics(num_examples=4)],
        ),
        "limited": trained(
            folder,
            sl.GRU,
            Pairs(text, num_workers=RANKS - 1),
            accumulate_grad_batches=3 * each,
            limit_train_batches=4 * each,
        ),
        "scheduled": trained(folder, sl.GRU, Pairs(text), callbacks=[schedule]),
        "classes": trained(folder, sl.GRU, Pairs(sl.data.Classes()), accumulate_grad_batches=each),
        "vectors": trained(folder, sl.GRU, Pairs(sl.data.Vector(2)), accumulate_grad_batches=each),
        "tags": trained(
            folder, sl.GRU, Pairs(sl.data.CharacterTags()), accumulate_grad_batches=each
        ),
        "series": trained(
            folder,
            sl.GRU,
            Pairs(sl.data.Classes(), source=sl.data.Series(2)),
            accumulate_grad_batches=each,
        ),
        "stream": trained(folder, sl.GRU, lines, accumulate_grad_batches=3),
    }
    found["predicted"] = predicted(folder)
    found["handed"] = handed(folder, Pairs(text), early)
    rank = int(os.environ.get("RANK", "0"))
    torch.save(found, folder / f"out{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
