"""The mean of the last snapshots: what is validated, saved, left behind and resumed."""

from __future__ import annotations

import warnings

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.optim.swa_utils import AveragedModel

import seqlearn as sl
from seqlearn.callbacks import CheckpointAverage

ROWS = [{"source": text, "target": text[::-1]} for text in ["abc", "ab", "cab", "bca", "ba", "c"]]

RECIPE = sl.Recipe(lr=0.05, warmup_steps=1, schedule="constant")  # for any length of a run


class Watch(L.Callback):
    """Keeps the trained weights at the end of each epoch, and the weights that are validated."""

    def __init__(self):
        self.trained, self.validated = [], []

    def on_train_epoch_end(self, trainer, pl_module):
        self.trained.append(weights(pl_module))

    def on_validation_batch_start(self, trainer, pl_module, *_, **__):
        if not trainer.sanity_checking:
            self.validated.append(weights(pl_module))


def weights(module):
    return {name: each.detach().clone() for name, each in module.state_dict().items()}


def parts(folder, *callbacks, epochs=4, **options):
    torch.manual_seed(0)
    chars = sl.data.Text("char")
    data = sl.data.TextPairs(
        ROWS, ROWS[:2], None, chars, chars, columns=("source", "target"), batch_tokens=16
    )
    model = sl.GRU(data.spec, d_model=4, dropout=0.2, tie_embeddings=True, recipe=RECIPE)
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[*callbacks],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,
    )
    return trainer, model, data


def fit(folder, *callbacks, start=None, **options):
    trainer, model, data = parts(folder, *callbacks, **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        trainer.fit(model, data, ckpt_path=start)
    return trainer, model, data


def expect_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-7, msg=name)


def mean_of(snapshots, model):
    """By torch's own class."""
    averaged = AveragedModel(model, use_buffers=True)
    for each in snapshots:
        model.load_state_dict(each)
        averaged.update_parameters(model)
    return weights(averaged.module)


def test_the_module_ends_with_the_mean_of_the_last_epochs(tmp_path):
    watch = Watch()
    _, model, _ = fit(tmp_path, CheckpointAverage(last=3), watch)
    found = weights(model)
    assert len(watch.trained) == 4
    expect_equal(found, mean_of(watch.trained[1:], model))


def test_it_does_not_change_training(tmp_path):
    plain, averaged = Watch(), Watch()
    fit(tmp_path, plain)
    fit(tmp_path, CheckpointAverage(last=2), averaged)
    for one, other in zip(plain.trained, averaged.trained, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_mean_with_this_epoch_is_validated(tmp_path):
    watch = Watch()
    _, model, _ = fit(tmp_path, CheckpointAverage(last=2), watch)
    for epoch, found in enumerate(watch.validated):
        expect_equal(found, mean_of(watch.trained[max(0, epoch - 1) : epoch + 1], model))


def test_a_checkpoint_has_the_mean_and_loads_like_any_other(tmp_path):
    watch = Watch()
    saving = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    _, model, _ = fit(tmp_path, CheckpointAverage(last=2), watch, saving)
    for epoch in range(4):
        path = tmp_path / f"epoch={epoch}.ckpt"
        loaded = weights(sl.GRU.load_from_checkpoint(path))
        expect_equal(loaded, mean_of(watch.trained[max(0, epoch - 1) : epoch + 1], model))


@pytest.mark.parametrize("every_n_steps", [None, 2])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, every_n_steps):
    average = {"last": 3, "every_n_steps": every_n_steps}
    saving = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    whole, model, _ = fit(tmp_path, CheckpointAverage(**average), saving, epochs=5)
    start = tmp_path / f"step={whole.global_step - 3}.ckpt"
    _, resumed, _ = fit(tmp_path / "second", CheckpointAverage(**average), start=start, epochs=5)
    for name, value in weights(model).items():
        assert torch.equal(weights(resumed)[name], value), name


def test_the_end_of_a_run_can_be_resumed(tmp_path):
    watch, again = Watch(), Watch()
    fit(tmp_path, CheckpointAverage(last=2), watch, epochs=4)
    trainer, _, _ = fit(tmp_path, CheckpointAverage(last=2), epochs=3)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    trainer, model, _ = fit(
        tmp_path, CheckpointAverage(last=2), again, start=tmp_path / "end.ckpt", epochs=4
    )
    expect_equal(again.trained[0], watch.trained[-1])
    expect_equal(weights(model), mean_of(watch.trained[2:], model))


@pytest.mark.parametrize("averaging", [lambda: CheckpointAverage(last=2), EMAWeightAveraging])
def test_a_run_resumed_without_the_callback_continues_the_trained_weights(tmp_path, averaging):
    watch, again = Watch(), Watch()
    saving = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    fit(tmp_path, averaging(), watch, saving, epochs=4)
    fit(tmp_path, again, start=tmp_path / "epoch=2.ckpt", epochs=4)
    expect_equal(again.trained[0], watch.trained[-1])


def test_a_step_counts_once_with_accumulation(tmp_path):
    callback = CheckpointAverage(last=10, every_n_steps=1)
    with pytest.warns(UserWarning, match="expected 10 snapshots"):
        trainer, _, _ = fit(tmp_path, callback, accumulate_grad_batches=2, epochs=2)
    assert len(callback.state_dict()["snapshots"]) == trainer.global_step


def test_a_run_with_too_few_snapshots_is_said(tmp_path):
    with pytest.warns(UserWarning, match=r"expected 9 snapshots .* got 2, .* lower\s+last="):
        fit(tmp_path, CheckpointAverage(last=9), epochs=2)


def test_test_and_validate_use_the_mean_after_fit(tmp_path):
    trainer, model, data = fit(tmp_path, CheckpointAverage(last=2))
    before = weights(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.validate(model, data, verbose=False)
    assert all(torch.equal(before[name], value) for name, value in weights(model).items())


def test_a_strategy_that_shards_is_refused(monkeypatch):
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    monkeypatch.setattr(L.Trainer, "strategy", ModelParallelStrategy())
    with pytest.raises(ValueError, match="does not work with ModelParallelStrategy"):
        CheckpointAverage().setup(trainer, L.LightningModule(), "fit")


@pytest.mark.parametrize("arguments", [{"last": 0}, {"every_n_steps": 0}])
def test_numbers_below_one_are_refused(arguments):
    with pytest.raises(ValueError, match=rf"CheckpointAverage\.{next(iter(arguments))}"):
        CheckpointAverage(**arguments)
