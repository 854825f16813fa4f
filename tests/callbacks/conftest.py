"""A short fit of any module, with callbacks that look at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from architectures import Configuration, batch_of, module_of

import seqlearn as sl

EXAMPLES = [([5, 6, 7, 8], [5, 6, 7]), ([4, 5, 6, 7, 5, 6], [5, 4]), ([4], [8, 7])]
OTHERS = [([8, 8, 5], [4, 4, 6, 5]), ([7, 4], [6]), ([6, 6, 6, 6], [7, 8, 4])]


def configuration(name: str, shape: str, **arguments: Any) -> Configuration:
    heads = {"num_heads": 2} if name == "Transformer" else {}
    return Configuration(
        name, shape, 1, {"d_model": 4, "num_layers": 1, "dropout": 0.2} | heads | arguments
    )


@pytest.fixture
def module() -> Callable[..., sl.SequenceModule]:
    """Build a small module of an architecture for one of the shapes."""
    return lambda *given, **arguments: module_of(configuration(*given, **arguments)).float().train()


@pytest.fixture
def batches() -> Callable[[str], list[sl.SequenceBatch]]:
    """Two small batches of a shape."""

    def make(shape: str) -> list[sl.SequenceBatch]:
        made = [batch_of(configuration("RNN", shape), rows) for rows in (EXAMPLES, OTHERS)]
        return [sl.SequenceBatch(*map(single, batch[:4])) for batch in made]

    return make


def single(part: torch.Tensor | None) -> torch.Tensor | None:
    return part.float() if part is not None and part.is_floating_point() else part


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
