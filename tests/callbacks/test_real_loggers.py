"""W&B and MLflow themselves, without their services: figures, tables and numbers reach them.

Each run is a process of its own, since both packages leave threads and event loops behind.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from lightning.pytorch.loggers import MLFlowLogger, WandbLogger

import seqlearn as sl


def fit(logger: Any) -> None:
    data = sl.data.Synthetic("copy", 3, train_examples=40, held_out_examples=8, batch_tokens=64)
    trainer = L.Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=logger,
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


def with_wandb() -> None:
    logger = WandbLogger(project="dates", offline=True, log_model=False)
    fit(logger)
    assert "train/loss" in dict(logger.experiment.summary)
    logger.experiment.finish()
    assert list(Path().rglob("media/images/**/*.png"))
    assert list(Path().rglob("media/table/**/*.json"))


def with_mlflow() -> None:
    logger = MLFlowLogger("dates", tracking_uri="sqlite:///mlruns.db")  # as docs/callbacks.md
    fit(logger)
    client: Any = logger.experiment
    assert "train/loss" in client.get_run(logger.run_id).data.metrics
    pending, names = [""], []
    while pending:
        for each in client.list_artifacts(logger.run_id, pending.pop()):
            (pending if each.is_dir else names).append(each.path)
    assert any(name.endswith(".png") for name in names), names
    assert any(name.endswith(".txt") for name in names), names


@pytest.mark.parametrize("package", ["wandb", "mlflow"])
def test_a_run_reaches_the_logger(package: str, tmp_path: Path) -> None:
    if find_spec(package) is None:
        pytest.skip(f"needs {package}: pip install {package}")
    done = subprocess.run(
        [sys.executable, __file__, package],
        cwd=tmp_path,
        env=os.environ | {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "MPLBACKEND": "agg"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]


if __name__ == "__main__":
    {"wandb": with_wandb, "mlflow": with_mlflow}[sys.argv[1]]()
