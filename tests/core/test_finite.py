"""NaN and infinity in loss or gradient stop training before the step.

Run as a script it trains on two processes: python test_finite.py FOLDER.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor

import seqlearn as sl
from seqlearn.batch import SequenceBatch

FIRST = "source_embedding.weight"


class Failing(sl.GRU):
    """Whose loss or gradient is not finite in one batch, on one rank."""

    what = "loss nan"
    batch = 4
    rank = 0

    def training_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if (batch_idx, self.global_rank) != (self.batch, self.rank):
            return loss
        if self.what == "gradient":
            self.source_embedding.weight.register_hook(lambda gradient: gradient / 0)
        bad = {"loss nan": float("nan"), "loss inf": float("inf")}
        # The gradient of an added constant is zero: the loss alone is bad.
        return loss + bad.get(self.what, 0.0)


def data_of() -> sl.data.SequenceDataModule:
    return sl.data.Synthetic("copy", 3, train_examples=60, held_out_examples=8, batch_tokens=30)


def model_of(model_class: type[sl.SequenceModule] = Failing, **options: Any) -> sl.SequenceModule:
    torch.manual_seed(1)
    defaults = {"d_model": 4, "dropout": 0.0, "recipe": sl.Recipe(warmup_steps=2)}
    return model_class(data_of().spec, **(defaults | options))


def trainer_of(folder: Path, **options: Any) -> L.Trainer:
    defaults = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "num_sanity_val_steps": 0,
        "limit_val_batches": 0,
        "default_root_dir": folder,
    }
    return L.Trainer(**(defaults | options))


LOSS = r"the loss is NaN or infinite; the weights are those of the step before\. Check this batch"
ONLY = rf"the gradient of {FIRST} is NaN or infinite, the loss is not"


@pytest.mark.parametrize(
    ("what", "message", "options"),
    [
        ("loss nan", LOSS, {"accumulate_grad_batches": 3}),
        ("loss inf", LOSS, {"gradient_clip_val": 0.5}),
        ("gradient", ONLY, {}),
        ("gradient", ONLY, {"accumulate_grad_batches": 3}),
    ],
)
def test_training_stops_before_the_step(
    what: str, message: str, options: dict[str, Any], tmp_path: Path
) -> None:
    model = model_of()
    model.what = what
    keep = ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=1)
    trainer = trainer_of(tmp_path, callbacks=[keep], enable_checkpointing=True, **options)
    step, batch = (4, 4) if "accumulate_grad_batches" not in options else (1, 4)
    if what == "gradient" and step == 1:
        batch = 5  # which batch of the group it was is known of losses alone
    where = rf"before optimizer step {step} \(epoch 0, batch {batch}, all counted from 0\): "
    with pytest.raises(FloatingPointError, match=where + message):
        trainer.fit(model, data_of())
    assert trainer.global_step == step
    assert all(weight.isfinite().all() for weight in model.state_dict().values())
    last = torch.load(tmp_path / "last.ckpt")
    assert last["global_step"] == step
    assert all(torch.equal(last["state_dict"][n], w) for n, w in model.state_dict().items())


def test_a_finite_gradient_with_an_infinite_norm_is_no_reason_to_stop(tmp_path: Path) -> None:
    class Large(sl.GRU):
        def training_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) * 1e25

    model = model_of(Large)
    trainer_of(tmp_path, max_steps=3).fit(model, data_of())
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert torch.nn.utils.get_total_norm(gradients).isinf()
    assert all(weight.isfinite().all() for weight in model.state_dict().values())


skipped = pytest.mark.filterwarnings(  # where the scaler skips the very first step
    "ignore:Detected call of `lr_scheduler.step:UserWarning"
)


def scaled(folder: Path, scale: float, **options: Any) -> L.Trainer:
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return trainer_of(
        folder, plugins=[MixedPrecision("16-mixed", device="cpu", scaler=scaler)], **options
    )


@skipped
def test_mixed_precision_lowers_its_scale_and_goes_on(tmp_path: Path) -> None:
    """The first steps have infinite gradients, by the scale alone."""
    model = model_of(sl.GRU)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    trainer = scaled(tmp_path, 2.0**40, max_epochs=4)
    trainer.fit(model, data_of())
    assert trainer.precision_plugin.scaler.get_scale() < 2.0**40
    assert all(weight.isfinite().all() for weight in model.state_dict().values())
    assert any(not torch.equal(before[n], w) for n, w in model.state_dict().items())


def test_mixed_precision_stops_at_a_bad_loss(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=r"epoch 0, batch 4, .*" + LOSS):
        scaled(tmp_path, 2.0**10).fit(model_of(), data_of())


@skipped
def test_mixed_precision_stops_at_the_floor_of_its_scale(tmp_path: Path) -> None:
    model = model_of(sl.GRU)
    model.source_embedding.weight.register_hook(lambda gradient: gradient / 0)
    message = (
        r"step 2 .*batch 2,.*" + ONLY + ", and the loss scale is down to 7.5e-05; .*'bf16-mixed'"
    )
    with pytest.raises(FloatingPointError, match=message):
        scaled(tmp_path, 3e-4).fit(model, data_of())


def test_half_precision_trains(tmp_path: Path) -> None:
    """In float16 an eps of 1e-9 is zero, and the first step 0 / 0."""
    model = model_of(sl.GRU, d_model=16, recipe=sl.Recipe(lr=1e-2, warmup_steps=2))
    losses: list[float] = []

    class Watch(L.Callback):
        def on_train_batch_end(
            self, trainer: L.Trainer, module: object, outputs: object, *_: object
        ) -> None:
            losses.append(float(trainer.callback_metrics["train/loss"]))

    trainer_of(tmp_path, precision="16-true", max_epochs=4, callbacks=[Watch()]).fit(
        model, data_of()
    )
    assert model.head.weight.dtype == torch.float16
    assert all(weight.isfinite().all() for weight in model.state_dict().values())
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])


class WithAdam(sl.GRU):
    def make_optimizer(self, groups: Any) -> torch.optim.Optimizer:
        return torch.optim.Adam(groups, lr=1e-2, eps=self.eps)


@pytest.mark.parametrize("eps", [1e-8, 1e-3])
def test_an_eps_that_rounds_to_zero_is_refused(tmp_path: Path, eps: float) -> None:
    """The first step would be 0 / 0, and a run of one step would end with weights of NaN."""
    model = model_of(WithAdam, d_model=16)
    model.eps = eps
    trainer = trainer_of(tmp_path, precision="16-true", max_epochs=1)
    if eps == 1e-3:
        trainer.fit(model, data_of())
    else:
        message = "expected eps of Adam to be above zero in float16, .* got 1e-08"
        with pytest.raises(ValueError, match=message):
            trainer.fit(model, data_of())
        assert trainer.global_step == 0
    assert all(weight.isfinite().all() for weight in model.state_dict().values())


# Two processes


def main(folder: Path) -> None:
    """Fit on two processes, of which one fails in one batch."""
    torch.set_num_threads(1)
    data, model = data_of(), model_of()
    data.prepare_data()
    model.what, model.batch, model.rank = "loss inf", 2, 1
    trainer = trainer_of(folder, devices=2, strategy="ddp")
    try:
        trainer.fit(model, data)
    except FloatingPointError as error:
        weights = {name: weight.tolist() for name, weight in model.state_dict().items()}
        said = {"error": str(error), "step": trainer.global_step, "weights": weights}
        (folder / f"{trainer.global_rank}.json").write_text(json.dumps(said), encoding="utf-8")
        raise


def test_all_ranks_stop_at_the_same_step(tmp_path: Path) -> None:
    """Also where the gradient is finite: of the loss that is not, one rank alone knows."""
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )
    assert done.returncode != 0
    assert "FloatingPointError: training stopped" in done.stderr
    first, second = (
        json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)
    )
    assert first == second
    assert first["step"] == 2
    assert re.search(r"step 2 \(epoch 0, batch 2, .*" + LOSS, first["error"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
