"""Hooks of Lightning that a user overrides without calling the base's, as its own never need it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

import seqlearn as sl
from seqlearn.core import checkpointed

ROWS = [("ab", "AB"), ("b", "B"), ("ba", "BA")]


class Mine(sl.GRU):
    """Overrides everything, without `super()`."""

    def setup(self, stage: str) -> None:
        self.calls: list[str] = ["setup"]

    def on_fit_start(self) -> None:
        self.calls.append("fit")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.calls.append("batch")

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.calls.append("step")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["mine"] = 1

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.calls = ["load"]


class Once(Mine):
    """Calls the base's hook, which is not to run twice."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)


class Noted:
    """A mixin that is no module."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["noted"] = 1


class Mixed(Noted, sl.GRU):
    pass


class Infinite(Mine):
    def training_step(self, batch: sl.SequenceBatch, batch_idx: int) -> torch.Tensor:
        return super().training_step(batch, batch_idx) * float("nan")


def _data() -> sl.data.TextPairs:
    return sl.data.TextPairs(ROWS, source=sl.data.Text("char"), target=sl.data.Text("char"))


def _trainer(folder: Path) -> L.Trainer:
    return L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        default_root_dir=folder,
    )


@pytest.mark.parametrize("cls", [Mine, Once, Mixed])
def test_a_run_and_its_checkpoint(cls: type[sl.GRU], tmp_path: Path) -> None:
    data = _data()
    model = cls(data.spec, d_model=4).eval()
    trainer = _trainer(tmp_path)
    trainer.fit(model, data)
    assert model.training
    if isinstance(model, Mine):
        assert model.calls == ["setup", "fit", "batch", "step"]
    trainer.save_checkpoint(tmp_path / "mine.ckpt")
    loaded = cls.load_from_checkpoint(tmp_path / "mine.ckpt")
    assert loaded.score(["ab"], ["AB"]) == model.score(["ab"], ["AB"])


@pytest.mark.parametrize("cls", [Mine, Once, Mixed, sl.GRU])
def test_the_base_works_once(
    cls: type[sl.GRU], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(checkpointed, "rewind_to_last_step", lambda *args: calls.append(args))
    trainer = _trainer(tmp_path)
    trainer.fit(cls(_data().spec, d_model=4), _data())
    trainer.save_checkpoint(tmp_path / "once.ckpt")
    assert len(calls) == 1


def test_training_stops_before_nan_reaches_the_weights(tmp_path: Path) -> None:
    data = _data()
    model = Infinite(data.spec, d_model=4)
    with pytest.raises(FloatingPointError, match="optimizer step 0"):
        _trainer(tmp_path).fit(model, data)
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_the_data_are_checked(tmp_path: Path) -> None:
    other = sl.data.TextPairs([("x", "y")] * 2, source=sl.data.Text("char"))
    with pytest.raises(ValueError, match="does not fit the data"):
        _trainer(tmp_path).fit(Mine(_data().spec, d_model=4), other)
