"""W&B and MLflow themselves, without their services: figures, tables and numbers reach them."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
from lightning.pytorch.loggers import Logger, MLFlowLogger, WandbLogger

import seqlearn as sl


def fit(logger: Logger, folder: Path) -> None:
    data = sl.data.Synthetic("copy", 3, train_examples=40, held_out_examples=8, batch_tokens=64)
    trainer = L.Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=logger,
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        callbacks=[
            sl.callbacks.AttentionMonitor(every_n_steps=1),
            sl.callbacks.SampleLogger(examples=2),
        ],
    )
    trainer.fit(sl.AttentionSeq2Seq(data.spec, d_model=8), data)


def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason="needs wandb: pip install wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(project="dates", save_dir=tmp_path, offline=True, log_model=False)
    fit(logger, tmp_path)
    summary = dict(logger.experiment.summary)
    wandb.finish()
    assert "train/loss" in summary
    assert list(tmp_path.rglob("media/images/**/*.png"))
    assert list(tmp_path.rglob("media/table/**/*.json"))


def test_mlflow(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="needs MLflow: pip install mlflow")
    logger = MLFlowLogger("dates", tracking_uri=f"file:{tmp_path}/mlruns")
    fit(logger, tmp_path)
    run = logger.experiment.get_run(logger.run_id)
    assert "train/loss" in run.data.metrics
    names = [each.path for each in logger.experiment.list_artifacts(logger.run_id)]
    assert names
