"""Two processes train with FSDP2 and each option of `docs/strategies.md`; run by a slow test.

torchrun --nproc-per-node 2 tests/core/strategy_matrix.py FOLDER
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import StochasticWeightAveraging
from sharded_processes import RANK, Pairs, build, fsdp, make_trainer, message, whole

import seqlearn as sl


def fitted(folder: Path, data: Pairs, prepare: Any = None, **options: Any) -> Any:
    """The weights after a few steps, a validation included, and the metrics."""
    model = build("Transformer", data.spec).float()
    if prepare is not None:
        prepare(model)
    settings = {"max_steps": 4, "val_check_interval": 2, "check_val_every_n_epoch": None}
    trainer = make_trainer(folder, fsdp(), **(settings | options))
    trainer.fit(model, data)
    figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return {"weights": whole(model), "figures": figures}


def recompute(model: sl.SequenceModule) -> None:
    """Switch activation checkpointing on."""
    model.recipe = replace(model.recipe, activation_checkpointing=True)


def main(folder: Path) -> None:
    """Run every option."""
    torch.set_num_threads(1)
    data = Pairs()
    observers = [
        sl.callbacks.GenerationMetrics(num_examples=3),
        *(
            each(every_n_epochs=None, every_n_steps=2)
            for each in (
                sl.callbacks.GradientFlow,
                sl.callbacks.AttentionMonitor,
                sl.callbacks.StateMonitor,
                sl.callbacks.SampleLogger,
            )
        ),
    ]
    swa = StochasticWeightAveraging(swa_lrs=1e-3)
    found = {
        "plain": fitted(folder, data),
        "bf16-mixed": fitted(folder, data, precision="bf16-mixed"),
        "bf16-true": fitted(folder, data, precision="bf16-true"),
        "observers": fitted(folder, data, callbacks=observers),
        "clip by value": fitted(folder, data, gradient_clip_algorithm="value"),
        "accumulate": fitted(folder, data, accumulate_grad_batches=2),
        "recomputed": fitted(folder, data, recompute),
        "compiled": message(lambda: fitted(folder, data, lambda model: model.encoder.compile())),
        "swa": message(lambda: fitted(folder, data, callbacks=[swa])),
        "64-true": message(lambda: fitted(folder, data, precision="64-true")),
        "16-mixed": message(lambda: fitted(folder, data, precision="16-mixed")),
    }
    torch.save(found, folder / f"found{RANK}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
