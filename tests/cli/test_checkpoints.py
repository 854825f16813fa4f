"""`--ckpt_path last`, `best` and `auto`, and the checkpoint that `fit` leaves."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from seqlearn.cli import main
from seqlearn.cli.last_checkpoint import LastCheckpoint
from seqlearn.cli.runs import newest_checkpoint

CONFIG = """\
model:
  class_path: LSTM
  init_args: {d_model: 4}
data:
  class_path: Dates
  init_args: {first_year: 2000, last_year: 2000}
trainer:
  max_epochs: 1
  accelerator: cpu
  enable_progress_bar: false
  enable_model_summary: false
"""
QUIET = ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*number of training batches"),
    pytest.mark.filterwarnings("ignore:.*warm-up"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(CONFIG, encoding="utf-8")
    return "small.yaml"


def steps_of(path: Path) -> int:
    """The optimiser steps after which a checkpoint was written."""
    return int(torch.load(path, weights_only=True)["global_step"])


def written(output: str) -> Path:
    """The checkpoint that `fit` says it left."""
    found = re.search(r"^Checkpoint: (.*)$", output, re.MULTILINE)
    assert found is not None, output
    return Path(found[1])


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("fit", "last"),
        ("validate", "last"),
        ("test", "last"),
        ("predict", "last"),
        ("test", "best"),
    ],
)
def test_without_an_earlier_run_last_and_best_fail(
    command: str, word: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--config", config, "--ckpt_path", word]) == 1
    (line,) = [one for one in capsys.readouterr().err.splitlines() if "error" in one]
    assert f"--ckpt_path {word}: expected the checkpoint of an earlier run in ./" in line
    assert "--trainer.default_root_dir" in line
    assert not Path("lightning_logs").exists()


def test_one_command_starts_and_continues(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["fit", "--config", config, "--trainer.default_root_dir", "runs", "--ckpt_path"]
    assert main([*command, "auto"]) == 0
    first = capsys.readouterr().out
    assert "Starting a new run" in first
    assert main([*command, "auto", "--trainer.max_epochs", "2"]) == 0
    second = capsys.readouterr().out
    assert f"Continuing from {written(first)}" in second.replace(f"{Path.cwd()}/", "")
    assert steps_of(written(second)) == 2 * steps_of(written(first))
    assert main([*command, "last", "--trainer.max_epochs", "3"]) == 0
    assert steps_of(written(capsys.readouterr().out)) == 3 * steps_of(written(first))


def test_the_command_that_fit_prints_evaluates_the_checkpoint(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monitor = ["--trainer.callbacks", "ModelCheckpoint", "--trainer.callbacks.monitor", "val/loss"]
    assert main(["fit", "--config", config, *monitor, "--trainer.max_epochs", "2"]) == 0
    printed = capsys.readouterr().out
    (command,) = re.findall(r"^Evaluate it: seqlearn (.*)$", printed, re.MULTILINE)
    assert main(shlex.split(command)) == 0
    assert "test/exact_match" in capsys.readouterr().out
    for word in ("last", "best"):
        assert main(["validate", "--config", config, *monitor, "--ckpt_path", word]) == 0
        assert "val/exact_match" in capsys.readouterr().out


def test_best_is_what_the_newest_run_chose(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    # The length of an epoch grows: with mode min the first epoch stays the best.
    best = ["--trainer.callbacks", "ModelCheckpoint", "--trainer.callbacks.monitor", "epoch"]
    best += ["--trainer.callbacks.mode", "min"]
    assert main(["fit", "--config", config, *best, "--trainer.max_epochs", "3"]) == 0
    last = written(capsys.readouterr().out)
    assert last.name == "last.ckpt"  # fit always leaves its last step
    for word, steps in (("last", steps_of(last)), ("best", steps_of(last) // 3)):
        assert main(["test", "--config", config, *best, "--ckpt_path", word]) == 0
        assert steps_of(written(capsys.readouterr().out)) == steps


def test_the_last_step_does_not_replace_the_best_through_a_link(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    best = ["--trainer.callbacks", "ModelCheckpoint", "--trainer.callbacks.monitor", "epoch"]
    best += ["--trainer.callbacks.mode", "min", "--trainer.callbacks.save_last", "link"]
    assert main(["fit", "--config", config, *best, "--trainer.max_epochs", "3"]) == 0
    last = written(capsys.readouterr().out)
    assert not last.is_symlink()
    (other,) = (path for path in last.parent.iterdir() if path != last)
    assert 3 * steps_of(other) == steps_of(last)


def test_best_of_a_run_that_monitored_nothing(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--config", config]) == 0
    capsys.readouterr()
    assert main(["test", "--config", config, "--ckpt_path", "best"]) == 1
    assert "monitored no metric; use last" in capsys.readouterr().err


def test_keywords_of_other_commands_are_errors(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--config", config, "--ckpt_path", "best"]) == 1
    assert "fit expected --ckpt_path last, auto or a path, got 'best'" in capsys.readouterr().err
    assert main(["test", "--config", config, "--ckpt_path", "auto"]) == 1
    assert "test expected --ckpt_path last, best or a path" in capsys.readouterr().err
    assert main(["fit", "--config", config, "--ckpt_path", "none.ckpt"]) == 1
    assert "none.ckpt: there is no such checkpoint" in capsys.readouterr().err
    assert not Path("lightning_logs").exists()


@pytest.mark.slow
def test_a_run_that_ends_between_two_validations_can_be_continued(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    seldom = ["fit", "--config", config, "--trainer.check_val_every_n_epoch", "5"]
    seldom += ["--model.recipe.schedule", "constant", "--model.recipe.warmup_steps", "0"]
    seldom += ["--trainer.default_root_dir"]
    assert main([*seldom, "whole", "--trainer.max_epochs", "4"]) == 0
    whole = torch.load(written(capsys.readouterr().out), weights_only=True)
    assert main([*seldom, "parts", "--trainer.max_epochs", "2"]) == 0
    assert main([*seldom, "parts", "--trainer.max_epochs", "4", "--ckpt_path", "last"]) == 0
    parts = torch.load(written(capsys.readouterr().out.split("Continuing")[1]), weights_only=True)
    assert whole["global_step"] == parts["global_step"]
    assert all(torch.equal(parts["state_dict"][key], whole["state_dict"][key]) for key in
               whole["state_dict"])  # fmt: skip


def test_where_checkpoints_are_searched(tmp_path: Path) -> None:
    def put(name: str, age: int) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (1e9 - age, 1e9 - age))
        return path.as_posix()

    root = {"default_root_dir": str(tmp_path)}
    assert newest_checkpoint(root) is None
    put("other/lightning_logs/version_0/checkpoints/a.ckpt", 0)
    assert newest_checkpoint(root) is None  # another experiment's folder
    old = put("lightning_logs/version_9/checkpoints/a.ckpt", 9)
    assert newest_checkpoint(root) == old
    new = put("lightning_logs/version_10/checkpoints/a.ckpt", 8)
    assert newest_checkpoint(root) == new
    put("checkpoints/a.ckpt", 7)
    same = put("checkpoints/last.ckpt", 7)
    assert newest_checkpoint(root) == same
    saved = put("[logs]/project/run/checkpoints/a.ckpt", 9)
    logger = {"init_args": {"save_dir": str(tmp_path / "[logs]"), "project": "project"}}
    assert newest_checkpoint(root | {"logger": logger}) == saved
    own = put("own/x.ckpt", 0)
    callbacks = [{"init_args": {"dirpath": str(tmp_path / "own")}}, {"init_args": {}}]
    assert newest_checkpoint(root | {"callbacks": callbacks}) == own


@pytest.mark.usefixtures("unchecked")
def test_the_steps_that_an_interruption_loses_are_said(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    path.touch()
    trainer = SimpleNamespace(
        checkpoint_callbacks=[SimpleNamespace(last_model_path=str(path))],
        callbacks=[],
        ckpt_path=None,
        fast_dev_run=False,
        interrupted=True,
        global_step=64,
    )
    last = LastCheckpoint()
    last.on_save_checkpoint(cast(Any, trainer), cast(Any, None), {})
    assert len(last.advice(trainer, tested=False).splitlines()) == 2, "nothing is lost"
    trainer.global_step = 127
    assert "which are lost: 63 (Ctrl-C" in last.advice(trainer, tested=False).splitlines()[2]
    trainer.interrupted = False
    assert len(last.advice(trainer, tested=False).splitlines()) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="a process gets no SIGINT of its own there")
def test_after_ctrl_c_fit_prints_the_path_of_its_checkpoint(config: str) -> None:
    # A process that a shell starts in the background ignores SIGINT, and so do its children.
    script = (
        "import signal, sys, seqlearn.cli; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(seqlearn.cli.main())"
    )
    words = ["fit", "--config", config, "--trainer.max_epochs", "100000"]
    with subprocess.Popen(
        [sys.executable, "-c", script, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, encoding="utf-8",
    ) as process:  # fmt: skip
        until = time.monotonic() + 240
        while not list(Path().rglob("*.ckpt")):
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=240)
        finally:
            process.kill()
    assert process.returncode == 130, err
    assert "seqlearn: stopped" in err
    assert "Traceback" not in err
    assert written(out).exists()
    (command,) = re.findall(r"^Continue it: seqlearn (.*)$", out, re.MULTILINE)
    more = ["--trainer.max_epochs", "1"]
    assert main([*shlex.split(command), *more, *QUIET]) == 0


def test_best_of_a_run_that_saved_only_weights(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    best = ["--trainer.callbacks", "ModelCheckpoint", "--trainer.callbacks.monitor", "epoch"]
    best += ["--trainer.callbacks.save_weights_only", "true"]
    assert main(["fit", "--config", config, *best]) == 0
    capsys.readouterr()
    assert main(["test", "--config", config, "--ckpt_path", "best"]) == 1
    assert "holds weights only (save_weights_only)" in capsys.readouterr().err


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "place", "only"),
    [
        ([{"save_top_k": 0}, {}], "1", False),
        ([{"save_weights_only": True}, {}], "1", False),
        ([{"save_weights_only": True}], "0", True),
        ([{"save_top_k": 0}], None, None),
    ],
)
def test_the_last_step_goes_to_a_callback_that_saves(
    options: list[dict[str, Any]], place: str | None, only: bool | None
) -> None:
    saved: list[tuple[Path, bool]] = []
    trainer = SimpleNamespace(
        checkpoint_callbacks=[ModelCheckpoint(str(at), **one) for at, one in enumerate(options)],
        fast_dev_run=False,
        global_step=3,
        save_checkpoint=lambda path, weights: saved.append((Path(path), weights)),
    )
    LastCheckpoint().on_train_end(trainer, cast(Any, None))
    assert saved == ([] if place is None else [(Path(place, "last.ckpt").absolute(), only)])
