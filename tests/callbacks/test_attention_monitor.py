"""`AttentionMonitor` on a LightningModule that knows nothing of seqlearn but `probe`."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import lightning as L
import matplotlib.pyplot as plt
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from seqlearn.batch import SequenceBatch
from seqlearn.callbacks import AttentionMonitor
from seqlearn.instrumentation import emit


class Cross(nn.Module):
    """Every target token looks at every source token, in two heads."""

    def forward(self, query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
        scores = torch.stack([query @ key.mT, -query @ key.mT], 1)
        weights = scores.masked_fill(~mask[:, None, None], -torch.inf).softmax(-1)
        emit("attention", self, lambda: weights)
        return weights.mean(1) @ key


class Tiny(L.LightningModule):
    """Takes a `SequenceBatch`; draws random numbers in every training step."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 4)
        self.cross = Cross()
        self.frozen = nn.Dropout(0.5)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(4, 12)
        self.losses: list[float] = []
        self.seen: list[tuple[bool, bool]] = []

    def forward(self, batch: SequenceBatch) -> Tensor:
        assert batch.source is not None
        assert batch.source_lengths is not None
        self.seen.append((self.training, torch.is_grad_enabled()))
        mask = torch.arange(batch.source.shape[1]) < batch.source_lengths[:, None]
        source, target = self.embedding(batch.source), self.embedding(batch.target[:, :-1])
        return self.head(self.dropout(self.cross(target, source, mask)))

    def on_train_start(self) -> None:
        self.frozen.eval()

    def training_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        assert not self.frozen.training
        assert self.dropout.training
        logits = self(batch)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch.target[:, 1:].flatten())
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        self(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def batch(rows: int = 6, seed: int = 0) -> SequenceBatch:
    """Sources of one to six tokens in a batch padded to seven."""
    draws = torch.Generator().manual_seed(seed)
    source = torch.randint(4, 12, (rows, 7), generator=draws)
    target = torch.randint(4, 12, (rows, 5), generator=draws)
    lengths = torch.arange(rows) % 6 + 1
    return SequenceBatch(source, lengths, target, torch.full((rows,), 5) - torch.arange(rows) % 2)


def fit(
    tmp_path: Path,
    *callbacks: L.Callback,
    logger: Any = False,
    module: L.LightningModule | None = None,
    epochs: int = 2,
    **options: Any,
) -> L.LightningModule:
    module = module or Tiny()
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=logger,
        callbacks=list(callbacks),
        default_root_dir=tmp_path,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        **options,
    )
    training = torch.utils.data.DataLoader([batch(seed=s) for s in range(4)], batch_size=None)
    validation = torch.utils.data.DataLoader([batch(seed=9), batch(seed=8)], batch_size=None)
    trainer.fit(module, training, validation)
    return module


def pictures(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))


def test_without_a_logger_pictures_are_written_to_the_root_folder(tmp_path: Path) -> None:
    fit(tmp_path, AttentionMonitor())
    assert pictures(tmp_path) == [
        "attention/cross-step000004.png",
        "attention/cross-step000008.png",
    ]
    assert plt.get_fignums() == []


def test_tensorboard_gets_figures_and_entropies(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="tb")
    fit(tmp_path, AttentionMonitor(), logger=logger)
    events = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    events.Reload()
    assert [image.step for image in events.Images("attention/cross")] == [4, 8]
    assert [s.step for s in events.Scalars("attention_entropy/cross/head1")] == [4, 8]
    assert pictures(tmp_path) == []


def test_a_given_folder_is_written_beside_the_logger(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="tb")
    fit(tmp_path, AttentionMonitor(directory=tmp_path / "maps"), logger=logger)
    assert pictures(tmp_path) == ["maps/cross-step000004.png", "maps/cross-step000008.png"]


def test_csv_gets_entropies_and_pictures_lie_beside_it(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="csv")
    module = fit(tmp_path, AttentionMonitor(), logger=logger)
    assert pictures(Path(logger.log_dir)) == [
        "attention/cross-step000004.png",
        "attention/cross-step000008.png",
    ]
    with Path(logger.log_dir, "metrics.csv").open() as file:
        last = [row for row in csv.DictReader(file) if row["attention_entropy/cross/head0"]][-1]
    # By hand, on the first four rows of the validation batch; target tokens that are fed: 4 or 3.
    probe = batch(seed=9)
    total = torch.zeros(2)
    with torch.no_grad():
        for row in range(4):
            key = module.embedding(probe.source[row, : row + 1])
            scores = module.embedding(probe.target[row, : 4 - row % 2]) @ key.T
            for head, sign in enumerate((1, -1)):
                weights = (sign * scores).softmax(-1)
                total[head] -= (weights * weights.log()).sum()
    assert last["step"] == "8"
    for head in (0, 1):
        nats = float(last[f"attention_entropy/cross/head{head}"])
        assert nats == pytest.approx(total[head].item() / 14, abs=1e-5)


def test_looking_changes_nothing_in_training(tmp_path: Path) -> None:
    def losses(*callbacks: L.Callback) -> list[float]:
        L.seed_everything(3, verbose=False)
        return fit(tmp_path, *callbacks).losses

    def run(module: L.LightningModule, probe: Any) -> None:
        torch.rand(7)  # What samples has its own randomness.
        module(probe)

    unwatched = losses()
    assert len(set(unwatched)) == 8
    assert losses(AttentionMonitor(every_n_steps=1)) == unwatched
    assert losses(AttentionMonitor(every_n_steps=1, run=run)) == unwatched


def test_it_observes_at_the_given_steps_only(tmp_path: Path) -> None:
    calls: list[tuple[int, bool, bool]] = []

    def run(module: L.LightningModule, probe: Any) -> None:
        calls.append((module.trainer.global_step, module.training, torch.is_grad_enabled()))
        module(probe)

    fit(tmp_path, AttentionMonitor(every_n_epochs=2, run=run), epochs=4)
    assert calls == [(8, False, False), (16, False, False)]
    calls.clear()
    fit(tmp_path, AttentionMonitor(every_n_epochs=None, every_n_steps=3, run=run))
    assert [step for step, _, _ in calls] == [3, 6]
    calls.clear()
    fit(tmp_path, AttentionMonitor(every_n_steps=4, run=run))
    assert [step for step, _, _ in calls] == [4, 8]
    calls.clear()
    monitor = AttentionMonitor(every_n_epochs=None, every_n_steps=1, run=run)
    fit(tmp_path, monitor, accumulate_grad_batches=2)
    assert [step for step, _, _ in calls] == [1, 2, 3, 4]


def test_the_probe_is_taken_once(tmp_path: Path) -> None:
    probes: list[SequenceBatch] = []

    def run(module: L.LightningModule, probe: SequenceBatch) -> None:
        probes.append(probe)
        module(probe)

    fit(tmp_path, AttentionMonitor(every_n_steps=2, examples=2, run=run))
    assert len(probes) == 4
    for probe in probes:
        assert torch.equal(probe.target, batch(seed=9).target[:2])
        assert torch.equal(probe.source, batch(seed=9).source[:2, :2])  # No padding in vain.
    probes.clear()
    fit(tmp_path, AttentionMonitor(run=run), limit_val_batches=0)
    assert [torch.equal(probe.target, batch(seed=0).target[:4]) for probe in probes] == [True] * 2


class Wrapped(L.LightningModule):
    """Somebody's module: a dictionary for a batch, and a forward of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Tiny()

    def training_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        return self.inner(batch).square().mean()

    def validation_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_any_module_joins_with_a_probe_and_a_callable(tmp_path: Path) -> None:
    probe = {"ids": batch(seed=5), "name": "mine"}
    monitor = AttentionMonitor(
        probe=probe, run=lambda module, given: module.inner(given["ids"]), layers=["inner.cross"]
    )
    fit(tmp_path, monitor, module=Wrapped(), limit_val_batches=0)
    assert pictures(tmp_path) == [
        "attention/inner.cross-step000004.png",
        "attention/inner.cross-step000008.png",
    ]


def test_a_layer_without_attention_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"attention of \['crss'\], but only these modules reported any: \['cross'\]",
    ):
        fit(tmp_path, AttentionMonitor(layers=["crss"]))


def test_weights_that_are_not_finite_stop_the_run(tmp_path: Path) -> None:
    class Breaking(Tiny):
        def on_train_batch_end(self, *_: Any) -> None:
            if self.trainer.global_step == 3:
                self.embedding.weight.data.fill_(torch.nan)

    message = r"weights of 'cross' are not finite after step 4 \(epoch 0; 32 of 32 rows"
    with pytest.raises(RuntimeError, match=message):
        fit(tmp_path, AttentionMonitor(), module=Breaking())
    assert pictures(tmp_path) == []


def test_a_development_run_writes_nothing(tmp_path: Path) -> None:
    module = fit(tmp_path, AttentionMonitor(every_n_steps=1), fast_dev_run=True)
    assert (False, False) in module.seen
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_n_epochs": 0}, "every_n_epochs of at least 1, got 0"),
        ({"every_n_steps": -1}, "every_n_steps of at least 1, got -1"),
        ({"examples": 0}, "examples of at least 1, got 0"),
        ({"every_n_epochs": None}, "would never run"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AttentionMonitor(**arguments)
