"""Scalars of callbacks are metrics that other callbacks monitor."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn

from seqlearn.callbacks import AttentionMonitor, GradientFlow, SampleLogger, StateMonitor

ENTROPY = "attention_entropy/decoder.layers.0.cross_attention/head0"


@pytest.mark.parametrize("looks", [{}, {"every_n_epochs": None, "every_n_steps": 1}])
def test_every_scalar_is_in_callback_metrics_without_any_logger(
    fit, module, batches, looks: dict[str, Any]
) -> None:
    callbacks = [AttentionMonitor(**looks), GradientFlow(**looks), StateMonitor(name="a", **looks)]
    model = module("Transformer", "sequence-to-sequence")
    metrics = fit(model, batches("sequence-to-sequence"), *callbacks, max_epochs=1).callback_metrics
    for tag in (ENTROPY, "gradient_flow/last", "a/states/encoder.layers.0/norm"):
        assert isinstance(metrics[tag], Tensor)
        assert metrics[tag] > 0


def test_early_stopping_sees_the_figures_of_its_own_epoch_in_any_order(
    fit, module, batches
) -> None:
    seen = []

    class Stop(EarlyStopping):
        def on_train_epoch_end(self, trainer, pl_module) -> None:
            seen.append(float(trainer.callback_metrics["gradient_flow/last"]))
            super().on_train_epoch_end(trainer, pl_module)

    model, flow = module("LSTM", "sequence-to-sequence"), GradientFlow()
    stop = Stop("gradient_flow/last", patience=1, min_delta=1e9, check_on_train_epoch_end=True)
    trainer = fit(model, batches("sequence-to-sequence"), stop, flow, max_epochs=5)
    assert trainer.current_epoch == 2  # The first look sets the mark; the second is no better.
    assert stop.stopped_epoch == 1
    assert seen == pytest.approx([curve[0] for curve in flow.curves.values()])
    assert trainer.callbacks.index(flow) < trainer.callbacks.index(stop)


@pytest.mark.parametrize(
    "options",
    [
        {"check_val_every_n_epoch": 2},
        {"val_check_interval": 2, "check_val_every_n_epoch": None},  # batches: an epoch
    ],
)
def test_a_callback_that_decides_at_validation_sees_the_figures_of_that_epoch(
    fit, module, batches, options: dict[str, Any], tmp_path: Path
) -> None:
    flow, seen = GradientFlow(), {}

    class Best(ModelCheckpoint):
        def on_validation_end(self, trainer, pl_module) -> None:
            figure = trainer.callback_metrics.get("gradient_flow/last")
            seen[trainer.global_step] = figure if figure is None else float(figure)
            super().on_validation_end(trainer, pl_module)

    best = Best(tmp_path, "{step}", monitor="gradient_flow/last", save_top_k=-1)
    model, data = module("LSTM", "sequence-to-sequence"), batches("sequence-to-sequence")
    options |= {"num_sanity_val_steps": 0, "enable_checkpointing": True}
    fit(model, data, best, flow, max_epochs=4, **options)
    assert list(seen) == ([4, 8] if options["check_val_every_n_epoch"] else [2, 4, 6, 8])
    assert list(flow.curves) == [2, 4, 6, 8]
    for step, figure in seen.items():
        assert figure == pytest.approx(flow.curves[step][0])


def test_a_patience_shorter_than_the_epochs_between_two_probes(fit, module, batches) -> None:
    stop = EarlyStopping("gradient_flow/last", patience=2, strict=False)
    model, data = module("LSTM", "sequence-to-sequence"), batches("sequence-to-sequence")
    with pytest.warns(UserWarning, match="expected a patience of at least 4, such as 8"):
        fit(model, data, stop, GradientFlow(every_n_epochs=4), max_epochs=4)


def test_a_checkpoint_is_chosen_by_an_entropy(fit, module, batches, tmp_path: Path) -> None:
    best = ModelCheckpoint(tmp_path, "{epoch}", monitor=ENTROPY, save_top_k=1)
    model, data = module("Transformer", "sequence-to-sequence"), batches("sequence-to-sequence")
    trainer = fit(model, data, best, AttentionMonitor(), enable_checkpointing=True)
    assert best.best_model_score is not None
    assert float(best.best_model_score) <= float(trainer.callback_metrics[ENTROPY])
    assert Path(best.best_model_path).exists()


def test_all_ranks_have_the_numbers_of_rank_zero(fit, module, batches, monkeypatch) -> None:
    """A rank other than zero shows nothing, and takes what rank zero sends."""
    sent: list[Any] = []

    def broadcast(self: Any, value: Any, src: int = 0) -> Any:
        if not isinstance(value, dict):
            return value
        sent.append(value)
        return {"gradient_flow/last": 0.5}

    monkeypatch.setattr(SingleDeviceStrategy, "broadcast", broadcast)
    monkeypatch.setattr(SingleDeviceStrategy, "is_global_zero", False)
    model = module("RNN", "sequence-to-sequence")
    trainer = fit(model, batches("sequence-to-sequence"), GradientFlow(), max_epochs=1)
    assert sent == [{}]
    assert trainer.callback_metrics["gradient_flow/last"] == 0.5


class Bare(L.LightningModule):
    """A LightningModule that works in its steps, as many do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.layer(batch[0]).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Nothing to measure."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Called(Bare):
    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs)


PAIRS = [(torch.ones(3, 2), torch.ones(3))]


@pytest.mark.parametrize("kind", [AttentionMonitor, StateMonitor, GradientFlow, SampleLogger])
def test_a_module_without_forward_requires_run(fit, kind: type) -> None:
    with pytest.raises(TypeError, match=rf"{kind.__name__}: expected a .*, got Bare.*; pass run="):
        fit(Bare(), PAIRS, kind())


def test_a_forward_that_takes_no_batch_requires_run(fit) -> None:
    with pytest.raises(TypeError, match=r"expected Called to take a whole batch.* pass run="):
        fit(Called(), PAIRS, StateMonitor())


@pytest.mark.filterwarnings("always")
def test_a_module_without_attention_is_warned_of_once(fit, module, batches) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(
            module("RNN", "sequence-to-sequence"),
            batches("sequence-to-sequence"),
            AttentionMonitor(),
        )
    found = [str(one.message) for one in caught if "captured nothing" in str(one.message)]
    assert len(found) == 1
    assert found[0].startswith("AttentionMonitor: record() captured nothing from RNN: ")
    assert "StateMonitor" in found[0]
