"""The state that a recurrent language model carries along the streams of a long text.

Run as a script it trains a little: python test_tbptt.py FOLDER DEVICES.
"""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

import seqlearn as sl
from seqlearn.batch import SequenceBatch
from seqlearn.callbacks.observer import eval_context
from seqlearn.nn import tree_map

# The resumed run writes no checkpoints, which Lightning remarks on.
pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")

MODELS = (sl.RNN, sl.GRU, sl.LSTM)
LANGUAGE = sl.SequenceSpec(None, sl.TextSpec(9, 8))
SIZES = {"d_model": 6, "num_layers": 2}
EXACT = {"atol": 1e-12, "rtol": 1e-12}


def windows(ids: Tensor, *lengths: int) -> list[SequenceBatch]:
    """Long rows cut into windows of these lengths, each of which predicts the next id."""
    bounds = [0]
    for length in lengths:
        bounds.append(bounds[-1] + length)
    return [
        SequenceBatch(
            None,
            None,
            ids[:, start : stop + 1],
            torch.full((len(ids),), stop + 1 - start),
            continues_previous=start > 0,
        )
        for start, stop in pairwise(bounds)
    ]


def model_of(model_class: type[sl.SequenceModule] = sl.LSTM) -> sl.SequenceModule:
    torch.manual_seed(1)
    return model_class(LANGUAGE, **SIZES, dropout=0.0).double()


def ids_of(rows: int, length: int) -> Tensor:
    return torch.randint(4, 9, (rows, length))


@pytest.mark.parametrize("lengths", [(4, 4, 4), (1, 7, 1, 3), (12,)])
@pytest.mark.parametrize("model_class", MODELS)
def test_windows_give_the_states_of_the_whole_text(
    model_class: type[sl.SequenceModule], lengths: tuple[int, ...]
) -> None:
    model, ids = model_of(model_class).eval(), ids_of(3, 13)
    seen: list[Tensor] = []
    hook = model.decoder.register_forward_hook(lambda _, __, output: seen.append(output[0]))
    measured = [model._step_loss(batch) for batch in windows(ids, *lengths)]
    hook.remove()
    whole, _ = model.decode(ids[:, :-1], None)
    torch.testing.assert_close(torch.cat(seen, 1), whole, **EXACT)
    at_once = model_of(model_class).eval().compute_loss(windows(ids, 12)[0])
    torch.testing.assert_close(sum(m.loss for m in measured), at_once.loss, **EXACT)


@pytest.mark.parametrize("model_class", MODELS)
def test_no_gradient_flows_from_one_batch_into_the_one_before(
    model_class: type[sl.SequenceModule],
) -> None:
    model = model_of(model_class).train()
    first, second = windows(ids_of(2, 9), 4, 4)
    model._step_loss(first).loss.backward()
    model.zero_grad()
    model._step_loss(second).loss.backward()  # would need the first graph again, if it reached it
    found = [p.grad for p in model.decoder.layers.parameters()]
    model.zero_grad()
    with torch.no_grad():
        _, state = model.decode(first.target[:, :-1], None)
    hidden, _ = model.decode(second.target[:, :-1], None, state)
    logits = model.head(hidden).transpose(1, 2)
    torch.nn.functional.cross_entropy(logits, second.target[:, 1:], reduction="sum").backward()
    for mine, parameter in zip(found, model.decoder.layers.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, **EXACT)


def test_a_batch_that_does_not_continue_begins_anew() -> None:
    model = model_of().eval()
    first, second = windows(ids_of(2, 9), 4, 4)
    alone = model._step_loss(second._replace(continues_previous=False)).loss
    model._step_loss(first)
    carried = model._step_loss(second).loss
    model._step_loss(first)
    assert model._step_loss(second._replace(continues_previous=False)).loss == alone
    assert carried != alone
    # Another number of rows is no matter where nothing continues.
    assert model._step_loss(windows(ids_of(5, 4), 3)[0]).loss.isfinite()


def test_compute_loss_depends_on_its_arguments_alone() -> None:
    """It neither reads nor changes what the steps carry."""
    model = model_of().train()
    first, second = windows(ids_of(2, 9), 4, 4)
    model._step_loss(first)
    (carried,) = copy.deepcopy(model._carried.gather())
    alone = [model.compute_loss(second).loss for _ in range(2)]
    assert (
        alone[0] == alone[1] == model.compute_loss(second._replace(continues_previous=False)).loss
    )
    given = [model.compute_loss(second, carried) for _ in range(2)]
    assert given[0].loss == given[1].loss != alone[0]
    torch.testing.assert_close(model._carried.gather(), [carried], atol=0, rtol=0)
    assert model._step_loss(second).loss == given[0].loss
    torch.testing.assert_close(
        model._carried.gather(), [tree_map(Tensor.detach, given[0].state)], atol=0, rtol=0
    )


def test_training_and_evaluation_carry_apart() -> None:
    batches, others = windows(ids_of(2, 13), 4, 4, 4), windows(ids_of(3, 9), 4, 4)
    model = model_of().train()
    alone = [model._step_loss(batch).loss for batch in batches]
    evaluated = [model.eval()._step_loss(batch).loss for batch in others]
    model = model_of()
    mixed = [model.train()._step_loss(batches[0]).loss]
    mixed_eval = [model.eval()._step_loss(others[0]).loss]
    mixed.append(model.train()._step_loss(batches[1]).loss)
    mixed_eval.append(model.eval()._step_loss(others[1]).loss)
    mixed.append(model.train()._step_loss(batches[2]).loss)
    assert mixed == alone
    assert mixed_eval == evaluated


@pytest.mark.parametrize("model_class", [sl.Transformer, sl.FeedForward])
def test_what_carries_nothing_begins_every_batch_anew(
    model_class: type[sl.SequenceModule], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"num_heads": 2} if model_class is sl.Transformer else {"window": 3}
    model = model_class(LANGUAGE, d_model=4, dropout=0.0, **options)
    first, second = windows(ids_of(2, 9), 4, 4)
    alone = model._step_loss(second).loss
    model._step_loss(first)
    assert model._step_loss(second).loss == alone
    # It saves without waiting for other ranks, which may be gone.
    monkeypatch.setattr("seqlearn.core.tbptt._world_size", lambda: 2)
    assert model._carried.gather() is None


def test_a_source_is_read_anew_for_every_batch() -> None:
    text = sl.TextSpec(9, 8)
    model = sl.GRU(sl.SequenceSpec(text, text), **SIZES, dropout=0.0)
    first, second = (
        batch._replace(source=ids_of(2, 3), source_lengths=torch.tensor([3, 2]))
        for batch in windows(ids_of(2, 9), 4, 4)
    )
    alone = model._step_loss(second).loss
    model._step_loss(first)
    assert model._step_loss(second).loss == alone


def test_start_is_never_predicted_between_documents() -> None:
    """It is read, but what comes after an end is nothing to learn."""
    model = model_of().eval()
    ids = torch.tensor([[2, 4, 5, 3, 2, 6, 7], [5, 3, 2, 8, 8, 3, 2]])
    (batch,) = windows(ids, 6)
    measured = model.compute_loss(batch)
    hidden, _ = model.decode(ids[:, :-1], None)
    labels = ids[:, 1:].masked_fill(ids[:, 1:] == 2, -100)
    logits = model.head(hidden).transpose(1, 2)
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    torch.testing.assert_close(measured.loss, expected, **EXACT)
    assert measured.num_tokens == 12 - 3
    assert measured.mask.tolist() == (ids[:, 1:] != 2).tolist()


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_carries_on_by_itself(copier: Any) -> None:
    model = model_of().eval()
    first, second, third = windows(ids_of(2, 13), 4, 4, 4)
    expected = [model._step_loss(batch).loss for batch in (first, second, third)]
    model._step_loss(first)
    other = copier(model)
    assert other._step_loss(second).loss == expected[1]
    other.train()
    other._step_loss(first)  # disturbs the copy alone
    assert model._step_loss(second).loss == expected[1]
    assert model._step_loss(third).loss == expected[2]
    assert other.eval()._step_loss(third).loss == expected[2]


# With a Trainer


def data_of(folder: Path, batch_tokens: int = 16) -> sl.data.PlainText:
    """Streams of windows of four. Only the last of four streams has a fourth window, of one id."""
    folder.mkdir(exist_ok=True)
    train, val = folder / "train.txt", folder / "val.txt"
    # With start and end, these are 49 tokens.
    train.write_text("abcde" * 3 + "edcba" * 2 + "ace" + "bd" * 9 + "b", encoding="utf-8")
    val.write_text("abcdeabcdedcbaedcba", encoding="utf-8")
    return sl.data.PlainText(train, val, window=4, batch_tokens=batch_tokens)


def language_model(data: sl.data.PlainText, dropout: float) -> sl.LSTM:
    torch.manual_seed(0)
    recipe = sl.Recipe(lr=1e-2, warmup_steps=2)
    return sl.LSTM(data.spec, d_model=6, num_layers=2, dropout=dropout, recipe=recipe)


def trainer_of(folder: Path, *callbacks: L.Callback, **options: Any) -> L.Trainer:
    defaults = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "devices": 1,
        "callbacks": list(callbacks),
        "enable_checkpointing": bool(callbacks),
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": folder,
    }
    return L.Trainer(**(defaults | options))


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(weight, other[name]) for name, weight in one.items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor], int]:
    """The run that nothing interrupted, with a checkpoint after every step."""
    folder = tmp_path_factory.mktemp("whole")
    data = data_of(tmp_path_factory.mktemp("data"))
    model = language_model(data, 0.3)
    keep = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = trainer_of(folder, keep)
    trainer.fit(model, data)
    return folder, model.state_dict(), trainer.global_step


@pytest.mark.parametrize("step", [1, 2, 4, 6, 7])
def test_resumed_equals_uninterrupted(
    whole: tuple[Path, dict[str, Tensor], int], step: int, tmp_path: Path
) -> None:
    folder, weights, steps = whole
    assert steps == 8
    data = data_of(tmp_path / "data")
    model = language_model(data, 0.3)
    torch.manual_seed(123)  # the new process stands somewhere else
    trainer = trainer_of(tmp_path)
    trainer.fit(model, data, ckpt_path=folder / f"step={step}.ckpt")
    assert trainer.global_step == steps
    assert equal(model.state_dict(), weights)


def test_without_the_state_a_resumed_run_would_differ(
    whole: tuple[Path, dict[str, Tensor], int], tmp_path: Path
) -> None:
    """So that the test above can fail."""
    folder, weights, _ = whole
    checkpoint = torch.load(folder / "step=2.ckpt")
    assert checkpoint["seqlearn"]["carried_state"] is not None
    checkpoint["seqlearn"]["carried_state"] = None
    torch.save(checkpoint, tmp_path / "without.ckpt")
    data = data_of(tmp_path / "data")
    model = language_model(data, 0.3)
    trainer_of(tmp_path).fit(model, data, ckpt_path=tmp_path / "without.ckpt")
    assert not equal(model.state_dict(), weights)


def test_a_checkpoint_loads_alone_and_its_model_begins_anew(
    whole: tuple[Path, dict[str, Tensor], int], tmp_path: Path
) -> None:
    folder, _, _ = whole
    checkpoint = torch.load(folder / "step=2.ckpt", weights_only=True)
    (state,) = checkpoint["seqlearn"]["carried_state"]
    assert [tuple(part.shape) for layer in state for part in layer] == [(4, 6)] * 4
    loaded = sl.LSTM.load_from_checkpoint(folder / "step=2.ckpt").train()
    batch = next(iter(data_of(tmp_path / "data").train_dataloader()))
    fresh = loaded.compute_loss(batch._replace(continues_previous=False)).num_tokens
    assert fresh == loaded.compute_loss(batch).num_tokens
    assert loaded.generate(prompts=["ab"], max_new_tokens=2)[0].startswith("ab")


def test_validation_within_an_epoch_disturbs_nothing(
    whole: tuple[Path, dict[str, Tensor], int], tmp_path: Path
) -> None:
    _, weights, _ = whole
    data = data_of(tmp_path / "data")
    model = language_model(data, 0.3)
    figures: list[float] = []

    class Watch(L.Callback):
        def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
            figures.append(float(trainer.callback_metrics["val/loss"]))

    trainer = trainer_of(tmp_path, Watch(), val_check_interval=1, enable_checkpointing=False)
    trainer.fit(model, data)
    assert len(figures) == 8
    assert equal(model.state_dict(), weights)
    (alone,) = trainer_of(tmp_path).validate(model, data, verbose=False)
    assert alone["val/loss"] == figures[-1]
    # What validation left behind was made in inference mode, which some copies cannot read.
    assert equal(copy.deepcopy(model).state_dict(), weights)
    assert equal(pickle.loads(pickle.dumps(model)).state_dict(), weights)


class Evaluating(L.Callback):
    """Puts the module into `eval` in the middle of training, and leaves it there."""

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: SequenceBatch, batch_idx: int
    ) -> None:
        module.eval()


class Using(L.Callback):
    """Uses the module in the middle of training, as callbacks do."""

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        module: L.LightningModule,
        outputs: object,
        batch: SequenceBatch,
        batch_idx: int,
    ) -> None:
        module.generate(prompts=["ab"], max_new_tokens=3)
        module.score(None, ["abc"])
        with eval_context(trainer, module):
            module.compute_loss(batch)
            module.validation_step(batch._replace(continues_previous=True), batch_idx)


@pytest.mark.parametrize("callback", [Evaluating, Using])
def test_the_state_follows_the_stage_of_the_run(callback: type[L.Callback], tmp_path: Path) -> None:
    """Also with a validation after every step, which carries a state of its own."""
    found = []
    for callbacks in ([], [callback()]):
        data = data_of(tmp_path / "data")
        model = language_model(data, 0.0)
        options = {"val_check_interval": 1, "enable_checkpointing": False}
        trainer_of(tmp_path, *callbacks, **options).fit(model, data)
        found.append(model.state_dict())
    assert equal(*found)


def test_validation_carries_too(tmp_path: Path) -> None:
    """The figure is that of the streams read in one go."""
    data = data_of(tmp_path / "data", batch_tokens=4)
    model = language_model(data, 0.0)
    (figures,) = trainer_of(tmp_path).validate(model, data, verbose=False)
    ids = torch.tensor(data.dataset("val").target_ids)
    stream = torch.cat([ids, ids[:1]])[None].long()
    with torch.no_grad():
        measured = model.eval().compute_loss(windows(stream, len(ids))[0])
    assert measured.num_tokens == len(ids) - 1  # the start symbol is not predicted
    assert figures["val/loss"] == pytest.approx(
        float(measured.loss / measured.num_tokens), abs=1e-6
    )


# Two processes


def main(folder: Path, devices: int) -> None:
    """Fit, and fit again from a checkpoint in the middle of the second epoch."""
    torch.set_num_threads(1)
    data, steps = data_of(folder / "data", batch_tokens=16 // devices), folder / "steps"
    options = {
        "devices": devices,
        "strategy": "ddp" if devices > 1 else "auto",
        "precision": "64-true",
    }
    keep = ModelCheckpoint(steps, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    found: dict[str, Any] = {}
    for name, path in (("whole", None), ("resumed", steps / "step=6.ckpt")):
        # Lightning reads the weights before it makes them double, so they are so already.
        model = language_model(data, 0.0).double()
        trainer = trainer_of(folder, *([keep] if path is None else []), **options)
        trainer.fit(model, data, ckpt_path=path)
        found[name] = {**model.state_dict(), "steps": torch.tensor(trainer.global_step)}
    if trainer.is_global_zero:
        torch.save(found, folder / "out.pt")


def test_two_processes_carry_each_its_own_streams(tmp_path: Path) -> None:
    """As one process carries them all; resumed, they are where they were, to the bit."""
    (tmp_path / "two").mkdir()
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path / "two"), "2"],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "one").mkdir()
    main(tmp_path / "one", 1)
    one, two = (torch.load(tmp_path / name / "out.pt") for name in ("one", "two"))
    assert one["whole"]["steps"] == two["whole"]["steps"] == 8
    for name, weight in one["whole"].items():
        torch.testing.assert_close(two["whole"][name], weight, atol=1e-9, rtol=1e-7)
    assert equal(one["whole"], one["resumed"])
    assert equal(two["whole"], two["resumed"])
    checkpoint = torch.load(tmp_path / "two" / "steps" / "step=6.ckpt", weights_only=True)
    ranks = checkpoint["seqlearn"]["carried_state"]
    assert [state[0][0].shape for state in ranks] == [(2, 6), (2, 6)]
    assert not torch.equal(ranks[0][0][0], ranks[1][0][0])


def test_another_number_of_ranks_begins_anew(tmp_path: Path) -> None:
    model = model_of().train()
    model.trainer = trainer_of(tmp_path)
    first, second = windows(ids_of(2, 9), 4, 4)
    alone = model._step_loss(second._replace(continues_previous=False)).loss
    model._step_loss(first)
    (mine,) = model._carried.gather()
    other = model_of().train()
    other.trainer = trainer_of(tmp_path)
    other._carried.resume([mine, mine])
    assert other._step_loss(second).loss == alone
    other._carried.resume([mine])
    assert other._step_loss(second).loss == model._step_loss(second).loss != alone


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
