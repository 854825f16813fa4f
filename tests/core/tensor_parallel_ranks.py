"""Two processes that together are one replica of a Transformer, and what came of it.

    torchrun --nproc-per-node 2 tests/core/tensor_parallel_ranks.py FOLDER --variants post

`test_tensor_parallel.py` runs it, and compares.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from sharded_processes import RANK, SOURCES, Pairs, make_trainer, message, whole
from torch import Tensor

import seqlearn as sl

VARIANTS: dict[str, dict[str, Any]] = {
    "post": {"tie_embeddings": True},
    "pre": {"norm": "pre", "positions": "rotary", "activation": "gelu"},
}
WAYS: list[dict[str, Any]] = [{}, {"strategy": "beam", "beam_size": 3}]


def build(
    data: Pairs, variant: str = "post", *, seed: int = 0, again: bool = False, **sizes: Any
) -> sl.Transformer:
    """A small Transformer in double precision."""
    torch.manual_seed(seed)
    recipe = sl.Recipe(lr=1e-2, warmup_steps=3, label_smoothing=0.1, activation_checkpointing=again)
    given = {"d_model": 8, "num_heads": 2, "num_layers": 2, "dropout": 0.0} | VARIANTS[variant]
    return sl.Transformer(data.spec, recipe=recipe, **(given | sizes)).double()


def divided(**options: Any) -> ModelParallelStrategy:
    """One replica on two processes."""
    return ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=2, **options)


def train(
    folder: Path, data: Pairs, model: sl.SequenceModule, strategy: Any, **options: Any
) -> dict[str, Any]:
    """Train and test; returns what came of it."""
    trainer = make_trainer(folder, strategy, **options)
    trainer.fit(model, data)
    found = {"loss": float(trainer.callback_metrics["train/loss"]), "weights": whole(model)}
    trainer.test(model, data, verbose=False)
    figures = {key: float(value) for key, value in trainer.callback_metrics.items()}
    return found | {"figures": figures}


def answers(model: sl.SequenceModule) -> dict[str, Any]:
    """What a model generates, its scores, and the attention weights of a generation."""
    with sl.record(model) as recording:
        texts = [model.generate(SOURCES, max_new_tokens=9, **way) for way in WAYS]
    attention = {name: each.clone() for name, each in recording.attention.items()}
    return {"texts": texts, "scores": model.score(SOURCES, SOURCES), "attention": attention}


def counted_tokens(model: Any) -> int:
    """How many tokens the metrics have after both ranks added the same three."""
    mask = torch.ones(1, 3, dtype=torch.bool)
    model.metrics.update(torch.zeros(3), torch.ones(3, dtype=torch.bool), mask)
    model.metrics.sync()
    tokens = int(model.metrics.tokens)
    model.metrics.unsync()
    model.metrics.reset()
    return tokens


def same_on_both(tensor: Tensor) -> bool:
    """Whether both ranks have the same numbers."""
    tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    both = [torch.empty_like(tensor) for _ in range(2)]
    torch.distributed.all_gather(both, tensor.contiguous())
    return torch.equal(*both)


def random_numbers(folder: Path, data: Pairs) -> dict[str, Any]:
    """Of a model that is drawn from another seed on each rank, and trained with dropout."""
    model = build(data, seed=RANK, dropout=0.3)
    make_trainer(folder, divided(), max_steps=3).fit(model, data)
    block = model.decoder.layers[0].feedforward
    torch.manual_seed(1)
    dropped = block.dropout.train()(torch.ones(64))
    after = torch.rand(4)
    torch.manual_seed(RANK)
    return {
        "embedding": same_on_both(model.target_embedding.weight),
        "norm": same_on_both(model.decoder.layers[1].norm_feedforward.weight),
        "own mask": not same_on_both(dropped),
        "after": same_on_both(after),
        "sampled": model.generate(SOURCES, strategy="sample", max_new_tokens=9),
        "unequal": message(lambda: model.generate(SOURCES[: 1 + RANK])),
    }


def main(folder: Path, variants: list[str], steps: int) -> None:
    """Train everything; each rank writes what came of it."""
    torch.set_num_threads(1)
    data = Pairs()
    found: dict[str, Any] = {}
    for variant in variants:
        model, place = build(data, variant), folder / variant
        found[variant] = train(folder, data, model, divided(), max_steps=steps)
        found[variant] |= answers(model)
        model.trainer.save_checkpoint(place / "sharded.ckpt")
        model.save_pretrained(place / "pretrained")
        again = make_trainer(
            folder, divided(save_distributed_checkpoint=False), max_steps=steps + 2
        )
        resumed = build(data, variant, again=True)
        again.fit(resumed, data, ckpt_path=place / "sharded.ckpt")
        again.save_checkpoint(place / "one-file.ckpt")
        found[variant]["resumed"] = whole(resumed)
    found["counted"] = counted_tokens(model)
    found["random"] = random_numbers(folder, data)
    gru = sl.GRU(data.spec, d_model=8)
    found["GRU"] = message(lambda: make_trainer(folder, divided(), max_steps=1).fit(gru, data))
    torch.save(found, folder / f"found{RANK}.pt")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--variants", nargs="+", default=[*VARIANTS])
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    importlib.import_module("tensor_parallel_ranks").main(given.folder, given.variants, given.steps)
