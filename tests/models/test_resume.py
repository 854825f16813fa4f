"""Interrupted and resumed is the same as never interrupted, to the bit."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

import seqlearn as sl

# The resumed run writes no checkpoints, which Lightning remarks on.
pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")

TEXTS = ["abc" * (1 + number % 3) + "de"[: number % 2] for number in range(40)]
ROWS = [{"source": text, "target": text[::-1]} for text in TEXTS]


RECIPE = sl.Recipe(lr=1e-2, warmup_steps=3, schedule="cosine")


def parts(
    folder: Path, *callbacks: L.Callback, recipe: sl.Recipe = RECIPE, epochs: int = 3
) -> tuple[L.Trainer, sl.Transformer, sl.data.TextPairs]:
    chars = sl.data.Text("char")
    data = sl.data.TextPairs(
        ROWS, ROWS[:5], None, chars, chars, columns=("source", "target"), batch_tokens=48
    )
    torch.manual_seed(0)
    model = sl.Transformer(
        data.spec, d_model=8, num_layers=1, num_heads=2, dropout=0.3, recipe=recipe
    )
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        accumulate_grad_batches=2,
        gradient_clip_val=1.0,
        callbacks=list(callbacks),
        enable_checkpointing=bool(callbacks),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    return trainer, model, data


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor], int]:
    """The run that nothing interrupted, with a checkpoint after every step."""
    folder = tmp_path_factory.mktemp("whole")
    keep = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer, model, data = parts(folder, keep)
    trainer.fit(model, data)
    return folder, model.state_dict(), trainer.global_step


@pytest.mark.parametrize("share", [0.1, 0.4, 0.5, 0.9])
def test_resumed_equals_uninterrupted(
    whole: tuple[Path, dict[str, torch.Tensor], int], share: float, tmp_path: Path
) -> None:
    folder, weights, steps = whole
    trainer, model, data = parts(tmp_path)
    torch.manual_seed(123)  # the new process stands somewhere else
    trainer.fit(model, data, ckpt_path=folder / f"step={max(1, round(share * steps))}.ckpt")
    assert trainer.global_step == steps
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, weights[name]), name


def test_resumed_at_the_end_of_an_epoch(
    whole: tuple[Path, dict[str, torch.Tensor], int], tmp_path: Path
) -> None:
    folder, weights, steps = whole
    trainer, model, data = parts(tmp_path)
    trainer.fit(model, data, ckpt_path=folder / f"step={steps // 3}.ckpt")
    assert all(torch.equal(w, weights[name]) for name, w in model.state_dict().items())


def test_resumed_with_the_default_warm_up(tmp_path: Path) -> None:
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer, model, data = parts(tmp_path, keep, recipe=sl.Recipe(lr=1e-2), epochs=6)
    trainer.fit(model, data)
    weights, steps = model.state_dict(), trainer.global_step
    assert model.recipe.warmup(steps) > 1  # the rate still rises where the run is interrupted
    trainer, model, data = parts(tmp_path, recipe=sl.Recipe(lr=1e-2), epochs=6)
    trainer.fit(model, data, ckpt_path=tmp_path / "step=1.ckpt")
    assert trainer.global_step == steps
    assert all(torch.equal(w, weights[name]) for name, w in model.state_dict().items())
