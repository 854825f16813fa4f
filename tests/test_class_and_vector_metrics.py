"""Metrics of classes and vectors against torchmetrics, and the confusion matrix of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassF1Score
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score

import seqlearn as sl
from seqlearn.introspect.plots.confusion import confusion_heatmap
from seqlearn.metrics import ClassStatistics, VectorStatistics

LABELS = ("a", "b", "c", "d")


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_f1_and_confusion_matrix_are_those_of_torchmetrics(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = torch.tensor(pairs).T
    metric = ClassStatistics(LABELS)
    for part in (slice(0, 2), slice(2, None)):
        mask = torch.ones(len(labels[part]), 1, dtype=torch.bool)
        right = labels[part] == predicted[part]
        metric.update(torch.zeros(len(right)), right, mask, labels[part], predicted[part])
    found = metric.compute()
    each = MulticlassF1Score(4, average=None)(predicted, labels)
    torch.testing.assert_close(torch.stack([found[f"f1/{name}"] for name in LABELS]), each)
    torch.testing.assert_close(
        found["f1"], MulticlassF1Score(4, average="macro")(predicted, labels)
    )
    assert torch.equal(metric.confusion, MulticlassConfusionMatrix(4)(predicted, labels))


@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_errors_of_vectors_are_those_of_torchmetrics(scale: float) -> None:
    std = (scale, 2.0, 1.0)
    labels = torch.randn(40, 3) + torch.tensor([3.0, 0.0, -1.0])
    predicted = labels + 0.3 * torch.randn(40, 3)
    metric = VectorStatistics(3, std)
    for rows in (slice(0, 7), slice(7, 7), slice(7, 40)):
        error = (labels[rows] - predicted[rows]).square()
        mask = torch.ones(len(error), 1, dtype=torch.bool)
        metric.update(error, error == 0, mask, labels[rows], predicted[rows])
    found = metric.compute()
    true, guess = labels * torch.tensor(std), predicted * torch.tensor(std)
    torch.testing.assert_close(found["mae"], MeanAbsoluteError()(guess, true))
    torch.testing.assert_close(found["rmse"], MeanSquaredError(squared=False)(guess, true))
    r2 = R2Score(multioutput="uniform_average")(guess, true)
    torch.testing.assert_close(found["r2"], r2, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["loss"], (labels - predicted).square().mean())


def test_a_constant_label_has_no_r2() -> None:
    metric = VectorStatistics(1)
    labels = torch.full((4, 1), 7.0)
    error = torch.ones(4, 1)
    metric.update(error, error == 0, error > 0, labels, labels + 1)
    assert metric.compute()["r2"] == 0
    assert metric.compute()["mae"] == 1


def trained(data: Any, folder: Path, **options: Any) -> tuple[L.Trainer, sl.GRU]:
    settings: dict[str, Any] = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
        "log_every_n_steps": 1,
    }
    trainer = L.Trainer(**(settings | options))
    recipe = sl.Recipe(lr=0.01, warmup_steps=1)
    model = sl.GRU(data.spec, d_model=8, num_layers=1, recipe=recipe)
    trainer.fit(model, data)
    return trainer, model


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*number of training batches")
def test_a_run_logs_figures_and_writes_the_matrix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path / "cache"))
    data = sl.data.Waveforms(
        min_length=6, max_length=9, train_examples=16, held_out_examples=10, batch_tokens=40
    )
    callback = sl.callbacks.ConfusionMatrix()
    trainer, model = trained(data, tmp_path, callbacks=[callback])
    (figures,) = trainer.test(model, data, verbose=False)
    assert callback.counts is not None
    assert callback.counts.sum() == 10
    right = callback.counts.diagonal().sum() / 10
    assert figures["test/accuracy"] == pytest.approx(right)
    assert {f"test/f1/{form}" for form in data.spec.target.labels} < set(figures)  # type: ignore[attr-defined]
    predicted = model.predict([series for series, _ in data.examples("test")])
    expected = [form for _, form in data.examples("test")]
    counted = np.zeros((4, 4), int)
    for true, guess in zip(expected, predicted, strict=True):
        counted[callback.labels.index(true), callback.labels.index(guess)] += 1
    np.testing.assert_array_equal(callback.counts, counted)
    step = f"step{trainer.global_step:06d}"
    folders = [tmp_path / "confusion" / split for split in ("val", "test")]
    assert sorted((tmp_path / "confusion").iterdir()) == sorted(folders)
    for folder in folders:  # the test has the step of the last validation
        written = {path.name for path in folder.glob(f"*{step}*")}
        assert written == {f"confusion_matrix-{step}.{suffix}" for suffix in ("png", "txt")}
    table = next(folders[1].glob("*.txt")).read_text(encoding="utf-8")
    assert "→ sawtooth:" in table

    vectors = sl.data.Waveforms(
        "continuation", min_length=6, max_length=9, train_examples=16, held_out_examples=6
    )
    trainer, model = trained(vectors, tmp_path)
    (figures,) = trainer.test(model, vectors, verbose=False)
    truth = torch.tensor(np.stack([future for _, future in vectors.examples("test")]))
    guesses = torch.stack(model.predict([series for series, _ in vectors.examples("test")]))
    assert figures["test/mae"] == pytest.approx((truth - guesses).abs().mean().item(), rel=1e-4)
    with pytest.raises(ValueError, match=r"needs a model that predicts classes.*VectorSpec"):
        trained(vectors, tmp_path, callbacks=[sl.callbacks.ConfusionMatrix()])


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*number of training batches")
def test_a_matrix_is_logged_at_the_validations_that_are_due(tmp_path: Path) -> None:
    """After the first epoch and every third, and at each validation outside of a run."""
    data = sl.data.Waveforms(
        min_length=6, max_length=9, train_examples=16, held_out_examples=10, batch_tokens=40
    )
    callback = sl.callbacks.ConfusionMatrix(tmp_path / "matrices", every_n_epochs=3)
    trainer, model = trained(data, tmp_path, callbacks=[callback], max_epochs=5)
    steps = trainer.global_step // 5
    names = [path.stem for path in (tmp_path / "matrices" / "val").glob("*.txt")]
    epochs = {int(name.rpartition("step")[2].strip("-")) / steps for name in names}
    assert epochs == {1, 3}
    callback.counts = None
    trainer.validate(model, data, verbose=False)
    assert callback.counts is not None


def test_the_figure_needs_a_square() -> None:
    with pytest.raises(ValueError, match=r"expected counts \(2, 2\)"):
        confusion_heatmap(np.zeros((2, 3), int), ["a", "b"])
    assert not confusion_heatmap(np.eye(30, dtype=int), list(map(str, range(30)))).axes[0].texts
