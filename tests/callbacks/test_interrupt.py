"""A signal stops a run between two steps; the resumed run equals the uninterrupted one."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from interruption_runs import STREAM, Case, SendSignal, parts
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, OnExceptionCheckpoint
from lightning.pytorch.plugins.environments import SLURMEnvironment

import seqlearn as sl
from seqlearn.callbacks import interrupt
from seqlearn.cli.runs import newest_checkpoint

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems"),
    # The resumed run writes into a folder of its own, which Lightning remarks on.
    pytest.mark.filterwarnings("ignore:The dirpath has changed from"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    # That of OnExceptionCheckpoint, and of runs that are resumed without it.
    pytest.mark.filterwarnings("ignore:`.fit\\(ckpt_path=None\\)` was called without a model"),
    pytest.mark.filterwarnings('ignore:.fit\\(ckpt_path="last"\\) is set, but there is no last'),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the texts of the language model."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "stream.txt").write_text(STREAM, encoding="utf-8")
    (folder / "val.txt").write_text("abcde" * 5, encoding="utf-8")
    return folder


def fitted(folder: Path, case: Case, *extra: L.Callback, start: Path | None = None) -> Any:
    """The weights after a run that ends as usual."""
    folder.mkdir()
    trainer, model, data = parts(folder, case, *extra)
    trainer.fit(model, data, ckpt_path=start)
    return model.state_dict()


WHOLE: dict[str, Any] = {}


def whole(root: Path, case: Case) -> Any:
    """The weights after the uninterrupted run."""
    if case.reference not in WHOLE:
        WHOLE[case.reference] = fitted(root / case.reference, case)
    return WHOLE[case.reference]


def interrupted(folder: Path, case: Case, *extra: L.Callback) -> L.Trainer:
    """The trainer of a run that a signal has stopped."""
    folder.mkdir(exist_ok=True)
    trainer, model, data = parts(folder, case, *extra, SendSignal(case, folder / "sent"))
    with pytest.raises(SystemExit) as ended:
        trainer.fit(model, data)
    assert ended.value.code == 143
    return trainer


def assert_equal(found: Any, expected: Any) -> None:
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name


CASES = [
    Case("SIGUSR1", "group", accumulate=3),
    Case("SIGTERM", "boundary", accumulate=3, averaging=True),
    Case("SIGTERM", "validation", averaging=True),
    Case("SIGTERM", "group", accumulate=3, model="lm"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_resumed_equals_uninterrupted(root: Path, case: Case, tmp_path: Path) -> None:
    expected = whole(root, case)
    trainer = interrupted(root / case.name, case)
    path = root / case.name / "interrupt.ckpt"
    (callback,) = [one for one in trainer.callbacks if isinstance(one, sl.callbacks.Interrupt)]
    assert callback.path == str(path)
    saved = torch.load(path, weights_only=True)
    ready = saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"]
    count = trainer.num_training_batches
    assert ready % case.accumulate == 0 or ready == count
    assert (ready == count) == (case.point in ("boundary", "validation"))
    torch.manual_seed(99)
    assert_equal(fitted(root / f"{case.name}-again", case, start=path), expected)


def test_the_last_step_ends_the_run_as_usual(root: Path) -> None:
    class AtTheEnd(SendSignal):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
            last = trainer.current_epoch == 2 and index == trainer.num_training_batches - 1
            self.send(trainer, self.case.point, now=last)

    case = Case("SIGTERM")
    sender = AtTheEnd(case, root / "sent-at-the-end")
    assert_equal(fitted(root / "at-the-end", case, sender), whole(root, case))
    assert sender.sent


def test_the_validation_after_the_last_step_ends_the_run_as_usual(root: Path) -> None:
    """By `max_steps`, within an epoch; with a step left, the same signal interrupts."""

    class InValidation(L.Callback):
        def on_validation_start(self, trainer: L.Trainer, *_: Any) -> None:
            if trainer.global_step == 4:
                os.kill(os.getpid(), signal.SIGTERM)

    for steps in (4, 5):
        folder = root / f"{steps}-steps"
        folder.mkdir()
        _, model, data = parts(folder, Case())
        trainer = L.Trainer(
            max_steps=steps,
            val_check_interval=1,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            callbacks=[InValidation(), sl.callbacks.Interrupt(folder)],
            default_root_dir=folder,
        )
        if steps == 4:
            trainer.fit(model, data)
            assert list(folder.glob("*.ckpt")) == []
            continue
        with pytest.raises(SystemExit) as ended:
            trainer.fit(model, data)
        assert ended.value.code == 143
        assert len(list(folder.glob("*.ckpt"))) == 1


def test_states_of_callbacks_at_the_end_of_an_epoch(root: Path, tmp_path: Path) -> None:
    """Also of those that Lightning calls last: their states are those of the whole run."""
    kept = ModelCheckpoint(root / "epochs", filename="{epoch}", save_top_k=-1)
    stopping = [EarlyStopping("val/loss", patience=5, check_on_train_epoch_end=True)]
    monitoring = ModelCheckpoint(
        root / "best", "{epoch}-best", monitor="val/loss", save_on_train_epoch_end=True
    )
    extra: list[L.Callback] = [*stopping, monitoring, kept]
    case = Case("SIGTERM", "boundary")
    interrupted(root / "states", case, *extra)
    found = torch.load(root / "states" / "interrupt.ckpt", weights_only=True)["callbacks"]
    expected = torch.load(root / "epochs" / "epoch=1.ckpt", weights_only=True)["callbacks"]
    compared = 0
    for name, state in expected.items():
        if "EarlyStopping" in name:
            assert state == found[name]
            compared += 1
        elif "val/loss" in name:
            assert state["best_model_path"] == found[name]["best_model_path"]
            assert state["best_model_score"] == found[name]["best_model_score"]
            compared += 1
    assert compared == 2


@pytest.mark.parametrize("kind", ["OnExceptionCheckpoint", "save_on_exception"])
def test_checkpoints_that_users_save_on_exceptions(root: Path, kind: str) -> None:
    case = Case("SIGTERM", "boundary", averaging=True)
    folder = root / kind
    folder.mkdir()
    if kind == "OnExceptionCheckpoint":
        saving: L.Callback = OnExceptionCheckpoint(folder)
    else:
        saving = ModelCheckpoint(folder, filename="own", save_on_exception=True, save_top_k=-1)
    interrupted(folder, case, saving)
    if kind == "OnExceptionCheckpoint":
        path = folder / "on_exception.ckpt"
        resumed = fitted(root / f"{kind}-again", case, start=path)
        assert_equal(resumed, whole(root, case))
    resumed = fitted(root / f"{kind}-again-2", case, start=folder / "interrupt.ckpt")
    assert_equal(resumed, whole(root, case))


class Repeats(L.Callback):
    """Sends the signal again while the checkpoint is saved."""

    def on_save_checkpoint(self, *_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_second_signal_while_the_run_stops(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "REPEAT_SECONDS", 0.0)
    case = Case("SIGTERM", "group")
    interrupted(root / "twice", case, Repeats())
    path = root / "twice" / "interrupt.ckpt"
    assert_equal(fitted(root / "twice-again", case, start=path), whole(root, case))


def test_a_repeat_does_not_stop_the_next_run(root: Path) -> None:
    """Agents and process groups both deliver a signal; the second arrives a moment later."""
    case = Case("SIGTERM", "group")
    folder = root / "repeat"
    trainer = interrupted(folder, case)
    (callback,) = [one for one in trainer.callbacks if isinstance(one, sl.callbacks.Interrupt)]
    _, model, data = parts(folder, case)
    again, _, _ = parts(folder, case)
    again.callbacks = [callback, SendSignal(case, folder / "sent")]
    again.fit(model, data)  # the same callback, and the signal within 10 seconds of the first
    assert callback.path == ""


def test_a_test_after_fit_ends_on_a_signal(root: Path) -> None:
    """There Lightning's handler is in place again; without it the signal would be lost."""

    class Sends(L.Callback):
        def on_test_batch_start(self, *_: Any) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    folder = root / "test-after-fit"
    folder.mkdir()
    trainer, model, data = parts(folder, Case(), Sends())
    trainer.fit(model, data)
    with pytest.raises(SystemExit):
        trainer.test(model, data.val_dataloader())
    assert trainer.received_sigterm


def test_ctrl_c_is_left_to_lightning(root: Path) -> None:
    class Presses(L.Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 3:
                raise KeyboardInterrupt

    folder = root / "ctrl-c"
    folder.mkdir()
    trainer, model, data = parts(folder, Case(), Presses())
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as ended:
            trainer.fit(model, data)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.code == 1
    assert not (folder / "interrupt.ckpt").exists()


def test_outside_the_main_thread_it_warns(root: Path) -> None:
    folder = root / "thread"
    folder.mkdir()
    trainer, model, data = parts(folder, Case())
    trainer.fit_loop.max_epochs = 1
    said: list[str] = []

    def fit() -> None:
        with pytest.warns(UserWarning, match="Interrupt handles no signals in this run") as found:
            trainer.fit(model, data)
        said.extend(str(one.message) for one in found)

    thread = threading.Thread(target=fit, name="of-a-notebook")
    thread.start()
    thread.join()
    assert any("got of-a-notebook; call it from the main thread" in one for one in said)


def test_the_newest_checkpoint_of_all_is_the_one_to_continue_from(root: Path) -> None:
    case = Case("SIGTERM", "group")
    folder = root / "auto" / "checkpoints"
    folder.parent.mkdir()
    (folder.parent / "stream.txt").touch()
    interrupted(folder, case)
    options = {"default_root_dir": str(folder.parent), "logger": False}
    assert newest_checkpoint(options) == str(folder / "interrupt.ckpt")
    trainer, model, data = parts(folder, case)
    trainer.fit(model, data, ckpt_path=folder / "interrupt.ckpt")
    # The run is complete: its last checkpoint is newer than that of the interruption.
    assert newest_checkpoint(options) == str(folder / "last.ckpt")
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == trainer.global_step


def test_lightnings_own_last_finds_it_under_the_name_last(root: Path) -> None:
    case = Case("SIGTERM", "group")
    folder = root / "last"
    folder.mkdir()

    def made(*extra: L.Callback) -> Any:
        trainer, model, data = parts(folder, case, *extra)
        (callback,) = [one for one in trainer.callbacks if isinstance(one, sl.callbacks.Interrupt)]
        callback.filename = "last"
        return trainer, model, data

    trainer, model, data = made(SendSignal(case, folder / "sent"))
    with pytest.raises(SystemExit):
        trainer.fit(model, data, ckpt_path=None)
    trainer, model, data = made()
    trainer.fit(model, data, ckpt_path="last")
    assert_equal(model.state_dict(), whole(root, case))


def test_slurm_requeues_the_job(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("SIGUSR1", "group")
    folder = root / "slurm"
    folder.mkdir()
    command = folder / "scontrol"
    command.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\n', encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_LOCALID", "0")
    monkeypatch.setenv("SLURM_NODEID", "0")
    monkeypatch.setenv("SLURM_PROCID", "0")
    trainer, model, data = parts(folder, case, SendSignal(case, folder / "sent"))
    monkeypatch.setattr(interrupt, "_environment", lambda _: SLURMEnvironment(auto_requeue=True))
    with pytest.raises(SystemExit) as ended:
        trainer.fit(model, data)
    assert ended.value.code == 143
    assert (folder / "asked").read_text(encoding="utf-8") == "requeue 17\n"


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP", "TERM"])
def test_signals_that_no_process_handles_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"expected names of signals .*, got '{name}'"):
        sl.callbacks.Interrupt(signals=[name])


def test_the_timeout_is_positive() -> None:
    with pytest.raises(ValueError, match="expected a positive stall_timeout or None, got 0"):
        sl.callbacks.Interrupt(stall_timeout=0)
