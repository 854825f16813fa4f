"""The mean of the last snapshots: what is validated, saved, left behind and resumed."""

from __future__ import annotations

import warnings

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from torch.optim.swa_utils import AveragedModel

import seqlearn as sl
from seqlearn.callbacks import CheckpointAverage, checkpoint_average

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


@pytest.mark.parametrize("strategy", [ModelParallelStrategy, FSDPStrategy])
def test_a_strategy_that_shards_is_refused(monkeypatch, strategy):
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    monkeypatch.setattr(L.Trainer, "strategy", strategy())
    with pytest.raises(ValueError, match=f"does not work with {strategy.__name__}"):
        CheckpointAverage().setup(trainer, L.LightningModule(), "fit")


@pytest.mark.parametrize("arguments", [{"last": 0}, {"every_n_steps": 0}])
def test_numbers_below_one_are_refused(arguments):
    with pytest.raises(ValueError, match=rf"CheckpointAverage\.{next(iter(arguments))}"):
        CheckpointAverage(**arguments)


@pytest.mark.parametrize("averaging", [lambda: CheckpointAverage(last=2), EMAWeightAveraging])
def test_a_checkpoint_of_weights_alone_has_the_mean(tmp_path, averaging):
    options = {"filename": "{epoch}", "save_top_k": -1}
    whole = ModelCheckpoint(tmp_path / "whole", **options)
    small = ModelCheckpoint(tmp_path / "small", mode="max", save_weights_only=True, **options)
    fit(tmp_path, averaging(), whole, small)
    for epoch in range(4):
        expected = torch.load(tmp_path / "whole" / f"epoch={epoch}.ckpt")
        found = torch.load(tmp_path / "small" / f"epoch={epoch}.ckpt")
        expect_equal(found["state_dict"], expected["state_dict"])
        assert not {"current_model_state", "averaging_state", "callbacks"} & found.keys()


def test_weights_alone_of_a_foreign_module_are_refused(tmp_path):
    saving = ModelCheckpoint(tmp_path, save_weights_only=True)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, callbacks=[saving, CheckpointAverage()], max_epochs=1
    )
    with pytest.raises(ValueError, match=r"save_weights_only=True.* saves the current weights"):
        CheckpointAverage().setup(trainer, L.LightningModule(), "fit")


def test_a_finished_run_that_is_resumed_leaves_the_mean(tmp_path):
    trainer, model, _ = fit(tmp_path, CheckpointAverage(last=2))
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    _, again, _ = fit(tmp_path, CheckpointAverage(last=2), start=tmp_path / "end.ckpt")
    expect_equal(weights(again), weights(model))


def test_a_validation_that_measures_the_same_mean_again_is_said(tmp_path):
    with pytest.warns(UserWarning, match=r"validation comes after 1 steps.*every_n_steps=1"):
        fit(tmp_path, CheckpointAverage(last=2), val_check_interval=1, epochs=2)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="CheckpointAverage")
        fit(tmp_path, CheckpointAverage(2, every_n_steps=1), val_check_interval=1, epochs=2)


def test_another_module_is_left_alone(tmp_path):
    class Failing(L.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                raise RuntimeError("stop")

    trainer, model, data = parts(tmp_path, CheckpointAverage(last=2), Failing())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RuntimeError, match="stop"):
            trainer.fit(model, data)
        trainer.save_checkpoint(tmp_path / "failed.ckpt")
        other = sl.LSTM(data.spec, d_model=4)
        before = weights(other)
        trainer.validate(other, data, verbose=False)
        trainer.save_checkpoint(tmp_path / "other.ckpt")
        saved = torch.load(tmp_path / "other.ckpt", weights_only=True)["state_dict"]
        assert all(torch.equal(saved[name], each) for name, each in before.items())
        fresh, model, _ = parts(tmp_path, CheckpointAverage(last=2))
        fresh.validate(model, data, ckpt_path=tmp_path / "failed.ckpt", verbose=False)
        fresh.validate(other, data, verbose=False)
    expect_equal(weights(other), before)


def test_training_goes_on_in_the_precision_of_the_resumed_run(tmp_path):
    saving = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    fit(tmp_path, CheckpointAverage(last=2), saving, precision="bf16-true")
    start, found = tmp_path / "epoch=1.ckpt", []
    for callback in (CheckpointAverage(last=2), L.Callback()):
        watch = Watch()
        fit(tmp_path, callback, watch, start=start, precision="32-true")
        found.append(watch.trained[-1])
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_the_last_steps_of_a_run_that_ends_within_an_epoch_count(tmp_path):
    class Steps(L.Callback):
        def __init__(self):
            self.weights = {}

        def on_train_batch_end(self, trainer, pl_module, *_, **__):
            self.weights[trainer.global_step] = weights(pl_module)

    steps = Steps()
    trainer, model, _ = fit(tmp_path, CheckpointAverage(last=1), steps, epochs=-1, max_steps=5)
    assert trainer.num_training_batches == 2
    expect_equal(weights(model), steps.weights[5])
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    saved = torch.load(tmp_path / "end.ckpt")["state_dict"]
    expect_equal(saved, weights(model))
    _, again, _ = fit(
        tmp_path, CheckpointAverage(last=1), start=tmp_path / "end.ckpt", epochs=-1, max_steps=5
    )
    expect_equal(weights(again), weights(model))
    _, model, _ = fit(
        tmp_path, CheckpointAverage(last=2), start=tmp_path / "end.ckpt", epochs=-1, max_steps=9
    )
    whole = Steps()
    fit(tmp_path, CheckpointAverage(last=2), whole, epochs=-1, max_steps=9)
    expect_equal(weights(model), mean_of([whole.weights[8], whole.weights[9]], model))


def test_another_kind_of_average_continues_the_trained_weights(tmp_path):
    watch, again = Watch(), Watch()
    saving = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    fit(tmp_path, CheckpointAverage(last=2), watch, saving, epochs=4)
    fit(tmp_path, EMAWeightAveraging(), again, start=tmp_path / "epoch=2.ckpt", epochs=4)
    expect_equal(again.trained[0], watch.trained[-1])


@pytest.mark.parametrize("other", [EMAWeightAveraging, lambda: StochasticWeightAveraging(0.1)])
def test_two_averages_are_refused(tmp_path, other):
    with pytest.raises(ValueError, match="both average the weights; leave one of them out"):
        fit(tmp_path, CheckpointAverage(last=2), other())


def test_weights_with_other_names_are_refused(tmp_path):
    class Renaming(L.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                pl_module.register_buffer("more", torch.zeros(1))

    with pytest.raises(ValueError, match=r"other weights than at the last snapshot \(more\)"):
        fit(tmp_path, CheckpointAverage(last=2), Renaming())


def test_an_exception_in_validation_leaves_the_current_weights(tmp_path):
    class Failing(Watch):
        def on_validation_end(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                raise RuntimeError("stop")

        def on_train_batch_end(self, trainer, pl_module, *_, **__):
            self.trained.append(weights(pl_module))

    failing = Failing()
    trainer, model, data = parts(tmp_path, failing, CheckpointAverage(last=2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RuntimeError, match="stop"):
            trainer.fit(model, data)
    expect_equal(weights(model), failing.trained[-1])


def test_complex_weights_count_and_buffers_that_are_not_saved_do_not():
    module = L.LightningModule()
    module.complex = torch.nn.Parameter(torch.tensor([1 + 2j]))
    module.register_buffer("mask", torch.zeros(1, 2).expand(3, 2), persistent=False)
    module.register_buffer("steps", torch.tensor(3))
    module.register_buffer("kept", torch.tensor(0.5))
    assert [name for name, _ in checkpoint_average._weights(module)] == ["complex", "kept"]
    snapshots = [checkpoint_average._snapshot(module)]
    with torch.no_grad():
        module.complex.mul_(3)
    snapshots.append(checkpoint_average._snapshot(module))
    assert checkpoint_average._mean(snapshots)["complex"].item() == 2 + 4j


def test_the_last_checkpoint_of_a_run_that_ends_within_an_epoch_has_its_end(tmp_path):
    saving = ModelCheckpoint(tmp_path, "end", every_n_train_steps=1)
    _, model, _ = fit(tmp_path, CheckpointAverage(last=2), saving, epochs=-1, max_steps=5)
    expect_equal(weights(sl.GRU.load_from_checkpoint(tmp_path / "end.ckpt")), weights(model))


@pytest.mark.parametrize(
    ("every_n_steps", "options"),
    [
        (1, {"accumulate_grad_batches": 8}),
        (2, {"check_val_every_n_epoch": 2}),
        (None, {"fast_dev_run": True}),
        (None, {"check_val_every_n_epoch": 2}),
    ],
)
def test_validation_that_is_not_more_frequent_is_not_warned_of(tmp_path, every_n_steps, options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="CheckpointAverage: validation")
        fit(tmp_path, CheckpointAverage(2, every_n_steps), epochs=2, **options)


def test_what_is_compiled_does_not_matter():
    module = L.LightningModule()
    module.part = torch.nn.BatchNorm1d(2)
    names = [name for name, _ in checkpoint_average._weights(module)]
    module.part = torch.compile(module.part)  # never run
    assert [name for name, _ in checkpoint_average._weights(module)] == names
    assert "part.running_mean" in names
