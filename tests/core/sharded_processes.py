"""Two processes train with DDP and with FSDP2, and write what came of both to a file.

    torchrun --nproc-per-node 2 tests/core/sharded_processes.py FOLDER --architectures GRU LSTM

`test_sharding.py` runs it, and compares.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor

import seqlearn as sl
from seqlearn.core.checkpoint import own_class

RANK = int(os.environ.get("RANK", "0"))
SIZES: dict[str, dict[str, Any]] = {
    "FeedForward": {"window": 10, "num_layers": 2},
    "RNN": {"num_layers": 2},
    "GRU": {"num_layers": 2},
    "LSTM": {"num_layers": 2, "bidirectional": True},
    "AttentionSeq2Seq": {"num_layers": 1, "score": "additive"},
    "Transformer": {"num_layers": 2, "num_heads": 2, "tie_embeddings": True},
}
SOURCES = ["abc", "e", "", "bcdef"]


class Pairs(sl.data.SequenceDataModule):
    """Texts of unequal lengths, and the same backwards."""

    def __init__(self) -> None:
        super().__init__(sl.data.Text(), sl.data.Text(), batch_tokens=40)

    def examples(self, split: str) -> list[tuple[str, str]]:
        count = {"train": 200, "val": 9, "test": 23}[split]
        texts = ["abcdefghij"[i % 5 : i % 5 + 1 + i * i % 7] for i in range(count)]
        return [(text, text[::-1]) for text in texts]


class WithPooled(sl.Transformer):
    """A user's subclass, with a hook of its own and one more term in its loss."""

    def __init__(self, spec: sl.SequenceSpec, **base: Any) -> None:
        super().__init__(spec, d_model=8, num_layers=1, num_heads=2, norm="pre", **base)
        self.extra = torch.nn.Linear(8, 1)

    def configure_model(self) -> None:
        """A user's hook that does not call `super()`."""

    def training_step(self, batch: sl.SequenceBatch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        memory = self.encode(batch.source, batch.source_lengths)
        return loss + 0.1 * batch.loss_weight * self.extra(memory.pooled).pow(2).mean()


class Uncalled(sl.Transformer):
    """A user's subclass that uses the weights of a layer without calling the layer."""

    def training_step(self, batch: sl.SequenceBatch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        weight = self.encoder.layers[0].feedforward.inner.weight
        return loss + torch.nn.functional.linear(torch.ones(1, 8), weight).sum()


def build(name: str, spec: sl.SequenceSpec) -> sl.SequenceModule:
    """A small model in double precision, with the same weights on all ranks."""
    torch.manual_seed(0)
    recipe = sl.Recipe(lr=1e-2, warmup_steps=3, label_smoothing=0.1)
    if name == "WithPooled":
        return WithPooled(spec, recipe=recipe).double()
    return getattr(sl, name)(spec, d_model=8, dropout=0.1, recipe=recipe, **SIZES[name]).double()


def make_trainer(folder: Path, strategy: Any, **options: Any) -> L.Trainer:
    """A trainer of two processes that prints nothing."""
    settings = {
        "devices": 2,
        "max_steps": 20,
        "max_epochs": -1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "gradient_clip_val": 0.5,
        "num_sanity_val_steps": 0,
        "default_root_dir": folder,
    }
    return L.Trainer(accelerator="cpu", strategy=strategy, **(settings | options))


def fsdp(**options: Any) -> ModelParallelStrategy:
    """FSDP2 on two processes."""
    return ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1, **options)


def whole(module: torch.nn.Module) -> dict[str, Tensor]:
    """The weights, gathered from all ranks."""
    return {
        name: each.full_tensor() if hasattr(each, "full_tensor") else each.clone()
        for name, each in module.state_dict().items()
    }


def train(
    name: str, data: Pairs, folder: Path, strategy: Any, **options: Any
) -> tuple[L.Trainer, sl.SequenceModule, dict[str, Any]]:
    """Train and test; returns the trainer, the model and what came of it."""
    model = build(name, data.spec)
    trainer = make_trainer(folder, strategy, **options)
    trainer.fit(model, data)
    found = {"loss": float(trainer.callback_metrics["train/loss"]), "weights": whole(model)}
    trainer.test(model, data, verbose=False)
    figures = {key: float(value) for key, value in trainer.callback_metrics.items()}
    return trainer, model, found | {"figures": figures}


def message(run: Any) -> str:
    """The error that a run raises on this rank."""
    try:
        run()
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def generate_unevenly(model: sl.SequenceModule, folder: Path, repetitions: int) -> int:
    """Generate from other sources on each rank; returns how many differ from a whole model's."""
    reference = own_class(type(model)).from_pretrained(folder).double()
    differing = 0
    for repetition in range(repetitions):
        draw = random.Random(2 * repetition + RANK)
        texts = [
            "".join(draw.choices("abcdefghij", k=draw.randint(0, 9)))
            for _ in range(draw.choice([0, 1, 3, 9]))
        ]
        ways = [{}, {"strategy": "beam", "beam_size": draw.randint(2, 4)}, {"strategy": "sample"}]
        options = ways[(repetition + RANK) % 3] | {"max_new_tokens": draw.randint(1, 20)}
        if options.get("strategy") == "sample":
            options["top_k"] = 1
        found = model.generate(texts, **options)
        differing += found != reference.generate(texts, **options)
        if texts:
            expected = reference.score(texts, texts)
        scores = model.score(texts, texts)
        differing += bool(texts) and not torch.allclose(scores, expected, atol=1e-4)
    return differing


def refusals(folder: Path, data: Pairs, model: sl.SequenceModule) -> dict[str, str]:
    """What is said of that which does not work with FSDP2."""
    averaging = EMAWeightAveraging()
    evil = folder / "evil.ckpt"
    return {
        "averaging": message(
            lambda: make_trainer(folder, fsdp(), callbacks=[averaging]).fit(
                build("GRU", data.spec), data
            )
        ),
        "uncalled": message(
            lambda: make_trainer(folder, fsdp()).fit(
                Uncalled(data.spec, d_model=8, num_heads=2, num_layers=1), data
            )
        ),
        "sharded before": message(lambda: make_trainer(folder, "ddp").test(model, data)),
        "evil": message(
            lambda: make_trainer(folder, fsdp()).test(build("GRU", data.spec), data, ckpt_path=evil)
        ),
    }


def main(folder: Path, architectures: list[str], steps: int, repetitions: int) -> None:
    """Train everything; each rank writes what came of it."""
    torch.set_num_threads(1)
    data = Pairs()
    found: dict[str, Any] = {}
    for name in architectures:
        *_, plain = train(name, data, folder, "ddp", max_steps=steps)
        trainer, model, sharded = train(name, data, folder, fsdp(), max_steps=steps)
        place = folder / name
        trainer.save_checkpoint(place / "sharded.ckpt")
        model.save_pretrained(place / "pretrained")
        found[name] = {
            "ddp": plain,
            "fsdp": sharded,
            "outputs": model.generate(SOURCES),
            "differing": generate_unevenly(model, place / "pretrained", repetitions),
        }
        again = make_trainer(folder, fsdp(save_distributed_checkpoint=False), max_steps=steps + 2)
        again.fit(model := build(name, data.spec), data, ckpt_path=place / "sharded.ckpt")
        again.save_checkpoint(place / "one-file.ckpt")
        found[name]["resumed"] = whole(model)
        longer = make_trainer(folder, fsdp(), max_steps=steps + 2)
        longer.fit(model := build(name, data.spec), data)
        found[name]["longer"] = whole(model)
    found["refusals"] = refusals(folder, data, model)
    torch.save(found, folder / f"found{RANK}.pt")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--architectures", nargs="+", default=[*SIZES, "WithPooled"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repetitions", type=int, default=20)
    given = parser.parse_args()
    # By its name, which the checkpoints of the user's class then hold.
    importlib.import_module("sharded_processes").main(
        given.folder, given.architectures, given.steps, given.repetitions
    )
