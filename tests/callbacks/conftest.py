"""A short fit of any module, with callbacks that look at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

import seqlearn as sl
from seqlearn.testing import TASKS, batch_of
from seqlearn.testing.module_under_test import perturb

SOURCES = {
    "text": [[5, 6, 7, 8], [4, 5, 6, 7, 5, 6], [4], [8, 8, 5], [7, 4], [6, 6, 6, 6]],
    "vector": [[0.5, -1.0, 2.0], [1.0, 0.0, 0.5], [0.0, 1.5, -0.5]] * 2,
    "nothing": [None] * 6,
}
TARGETS = {
    "text": [[5, 6, 4], [5, 4], [6, 5], [4, 4, 6, 5], [6], [5, 6, 4]],
    "classes": [0, 1, 2, 1, 0, 2],
    "vector": [[0.5, 1.0], [-1.0, 0.0], [0.0, 1.5]] * 2,
    "tags": [[[n, 1 + n % 3] for n in range(len(words))] for words in SOURCES["text"]],
}


@pytest.fixture
def module() -> Callable[..., sl.SequenceModule]:
    """Build a small module of an architecture for one of the tasks."""

    def make(name: str, task: str, **arguments: Any) -> sl.SequenceModule:
        heads = {"num_heads": 2} if name == "Transformer" else {}
        options = {"d_model": 4, "num_layers": 1, "dropout": 0.2} | heads | arguments
        torch.manual_seed(1)
        made: sl.SequenceModule = getattr(sl, name)(TASKS[task], **options)
        perturb(made)  # so that biases are something
        return made.train()

    return make


@pytest.fixture
def batches() -> Callable[[str], list[sl.SequenceBatch]]:
    """Two small batches of a task."""

    def make(task: str) -> list[sl.SequenceBatch]:
        spec = TASKS[task]
        sources = SOURCES["nothing" if spec.source is None else spec.source.kind]
        pairs = list(zip(sources, TARGETS[spec.target.kind], strict=True))
        return [batch_of(spec, rows) for rows in (pairs[:3], pairs[3:])]

    return make


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., L.Trainer]:
    """Train on some batches for two epochs, validating on the same."""

    def train(
        module: L.LightningModule,
        batches: Sequence[Any],
        *callbacks: L.Callback,
        ckpt_path: Path | None = None,
        **options: Any,
    ) -> L.Trainer:
        settings: dict[str, Any] = {
            "max_epochs": 2,
            "accelerator": "cpu",
            "logger": False,
            "default_root_dir": tmp_path,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
        }
        trainer = L.Trainer(callbacks=list(callbacks), **(settings | options))
        training, validation = (
            torch.utils.data.DataLoader(list(rows), batch_size=None)
            for rows in (batches, batches[:1])
        )
        trainer.fit(module, training, validation, ckpt_path=ckpt_path, weights_only=True)
        return trainer

    return train
