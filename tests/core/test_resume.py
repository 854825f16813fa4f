"""Interrupted and resumed is the same as never interrupted, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler, ModelCheckpoint

import seqlearn as sl

# The resumed run writes no checkpoints, which Lightning remarks on.
pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")

TEXTS = ["abc" * (1 + number % 3) + "de"[: number % 2] for number in range(40)]
ROWS = [{"source": text, "target": text[::-1]} for text in TEXTS]


RECIPE = sl.Recipe(lr=1e-2, warmup_steps=3, schedule="cosine")


def parts(
    folder: Path,
    *callbacks: L.Callback,
    recipe: sl.Recipe = RECIPE,
    epochs: int = 3,
    **options: Any,
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
        **options,
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


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed"])
def test_resumed_in_another_precision(tmp_path: Path, precision: Any) -> None:
    """Also in double precision, which Lightning sets only after it has loaded the weights."""
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    whole_run, whole_model, data = parts(tmp_path, keep, epochs=2, precision=precision)
    whole_run.fit(whole_model, data)
    middle = whole_run.global_step // 2 + 1
    trainer, model, data = parts(tmp_path / "second", epochs=2, precision=precision)
    trainer.fit(model, data, ckpt_path=tmp_path / f"step={middle}.ckpt")
    assert trainer.global_step == whole_run.global_step
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, whole_model.state_dict()[name]), name


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


class WithinGroups(L.Callback):
    """Saves after every batch, also between the batches of a step, and before its step ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: object) -> None:
        trainer.save_checkpoint(self.folder / f"after-{trainer.fit_loop.total_batch_idx + 1}.ckpt")

    def on_after_backward(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        trainer.save_checkpoint(self.folder / f"within-{trainer.fit_loop.total_batch_idx}.ckpt")


def stream_parts(
    folder: Path, *callbacks: L.Callback
) -> tuple[L.Trainer, sl.GRU, sl.data.PlainText]:
    """A language model, whose state goes on from batch to batch."""
    path = folder / "stream.txt"
    path.write_text("abcde" * 9 + "edcba" * 8 + "ace" * 3 + "ab" * 4, encoding="utf-8")
    data = sl.data.PlainText(path, window=4, batch_tokens=8)
    torch.manual_seed(0)
    model = sl.GRU(data.spec, d_model=6, dropout=0.3, recipe=sl.Recipe(lr=1e-2, warmup_steps=2))
    trainer, _, _ = parts(folder, *callbacks)
    trainer.limit_val_batches = 0
    trainer.fit_loop.max_epochs = 1
    return trainer, model, data


@pytest.mark.parametrize("make", [parts, stream_parts])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_checkpoint_within_a_group_resumes_at_the_start_of_the_group(
    make: Any, accumulate: int, tmp_path: Path
) -> None:
    trainer, model, data = make(tmp_path, WithinGroups(tmp_path))
    trainer.accumulate_grad_batches = accumulate
    trainer.fit(model, data)
    count, steps = trainer.num_training_batches, trainer.global_step
    assert count % accumulate or accumulate == 1
    last = trainer.fit_loop.total_batch_idx
    chosen = [f"{kind}-{done}" for kind in ("after", "within") for done in (2, count - 2)]
    for name in [*chosen, f"after-{count}", f"within-{last}"]:
        path = tmp_path / f"{name}.ckpt"
        done = int(name.split("-")[1])
        start = done if name == f"after-{count}" else done - done % count % accumulate
        saved = torch.load(path, weights_only=True)
        counters = saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        assert counters["total"]["ready"] == saved[type(data).__qualname__]["total"] == start
        again, resumed, other = make(tmp_path)
        again.accumulate_grad_batches = accumulate
        torch.manual_seed(123)
        again.fit(resumed, other, ckpt_path=path, weights_only=True)
        assert again.global_step == steps
        for key, weight in resumed.state_dict().items():
            assert torch.equal(weight, model.state_dict()[key]), (name, key)


def test_resumed_within_an_epoch_of_a_schedule_of_accumulation(tmp_path: Path) -> None:
    def run(*callbacks: L.Callback, **options: Any) -> tuple[L.Trainer, sl.Transformer]:
        schedule = GradientAccumulationScheduler({0: 1, 1: 3})
        trainer, model, data = parts(tmp_path, schedule, *callbacks, epochs=2)
        trainer.accumulate_grad_batches = 1
        trainer.fit(model, data, **options)
        return trainer, model

    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer, whole_run = run(keep)
    steps = trainer.global_step
    path = tmp_path / f"step={steps - 2}.ckpt"  # within the second epoch
    again, resumed = run(ckpt_path=path)
    assert again.global_step == steps
    for name, weight in resumed.state_dict().items():
        assert torch.equal(weight, whole_run.state_dict()[name]), name
