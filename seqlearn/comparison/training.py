"""Training of one run: continues from its last checkpoint, and stops after its budget."""

from __future__ import annotations

import dataclasses
import math
import pickle
import warnings
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

from seqlearn.callbacks import Interrupt
from seqlearn.comparison.job import Job, Report, read_json, write_json
from seqlearn.comparison.run_log import RunLog
from seqlearn.core import AtomicCheckpointIO, SequenceModule

TRIAL_STEPS = 40
"""Steps whose time is measured to plan the length of a run with a budget."""

VALIDATIONS = 10
"""Number of validations of a run with a budget."""

_WARM = 10  # of the steps of a trial, which are not timed
_SAVE_SECONDS = 60.0

DEFAULTS: dict[str, Any] = {
    "max_epochs": 10,
    "gradient_clip_val": 1.0,
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
"""Arguments of the Trainer where nothing else is given."""


def with_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the Trainer with `DEFAULTS`; another limit of the length takes their place."""
    defaults = dict(DEFAULTS)
    if any(given.get(name) not in (None, -1) for name in ("max_steps", "max_time")):
        del defaults["max_epochs"]
    return defaults | dict(given)


FIXED = {"default_root_dir", "devices", "num_nodes", "fast_dev_run", "strategy"}
"""Arguments of the Trainer that a comparison decides."""


def build_model(job: Job) -> SequenceModule:
    """Build the model of a run with the weights of its seed."""
    L.seed_everything(job.seed, verbose=False)
    model = job.cls(job.data.spec, **job.options)
    model.recipe = dataclasses.replace(model.recipe, seed=job.seed)
    return model


def make_trainer(job: Job, **arguments: Any) -> L.Trainer:
    """Make a Trainer on one device."""
    options = with_defaults(job.trainer) | arguments
    given = options.pop("plugins", None) or []
    plugins = [*(given if isinstance(given, list | tuple) else [given]), AtomicCheckpointIO()]
    return L.Trainer(default_root_dir=job.folder, devices=1, plugins=plugins, **options)


def train(job: Job, report: Report) -> dict[str, Any]:
    """Train, or continue to train, the model of a run, and save its checkpoint.

    Args:
        job: The run.
        report: Called with the progress.

    Returns:
        What `RunLog` recorded, the number of steps and epochs, and the checkpoint to evaluate: the
        best one if a `ModelCheckpoint` in the arguments monitors a metric, otherwise the last. Its
        path is relative to the folder of the run if it is in it.
    """
    kept = job.folder / "training.json"
    if (done := read_json(kept)) is not None and (job.folder / done["checkpoint"]).exists():
        return dict(done)
    checkpoints = job.folder / "checkpoints"
    log = RunLog(report)
    saving = ModelCheckpoint(
        checkpoints,
        filename="running",
        train_time_interval=timedelta(seconds=_SAVE_SECONDS),
        enable_version_counter=False,
    )
    given = job.trainer.get("callbacks") or []
    given = list(given) if isinstance(given, list | tuple) else [given]
    trainer = make_trainer(
        job,
        **_length(job, report),
        callbacks=[*given, log, saving, Interrupt(checkpoints)],
        enable_checkpointing=True,
    )
    model = build_model(job)
    running = [path for path in checkpoints.glob("*.ckpt") if path.stem in ("running", "interrupt")]
    newest = max(running, key=lambda path: path.stat().st_mtime, default=None)
    trainer.fit(model, job.data, ckpt_path=newest)
    trainer.save_checkpoint(job.trained)
    best = [
        one.best_model_path
        for one in given
        if isinstance(one, ModelCheckpoint) and one.monitor and one.best_model_path
    ]
    evaluated = Path(best[0] if best else job.trained).absolute()
    if evaluated.is_relative_to(folder := job.folder.absolute()):
        evaluated = evaluated.relative_to(folder)  # so that the folder can be moved
    found = log.state_dict() | {
        "steps": trainer.global_step,
        "epochs": trainer.current_epoch,
        "device": trainer.strategy.root_device.type,
        "seconds": log.seconds(trainer),
        "checkpoint": evaluated.as_posix(),
        "best": bool(best),
    }
    write_json(kept, found)
    return found


def _length(job: Job, report: Report) -> dict[str, Any]:
    """The arguments of the Trainer that end a run with a budget; planned once for each run."""
    if job.minutes is None:
        return {}
    planned = job.folder / "plan.json"
    if (found := read_json(planned)) is None:
        report({"stage": "measuring the time of a step"})
        seconds = _seconds_per_step(job)
        found = {
            "steps": max(1, round(60 * job.minutes / seconds)),
            "seconds_per_step": seconds,
        }
        write_json(planned, found)
    steps = int(found["steps"])
    batches = steps * int(job.trainer.get("accumulate_grad_batches") or 1)
    validated = {"val_check_interval": math.ceil(batches / VALIDATIONS)}
    return {"max_steps": steps, "max_epochs": -1, "check_val_every_n_epoch": None} | validated


def _seconds_per_step(job: Job) -> float:
    """Measure the time of an optimizer step, with a copy of the run."""
    copy: Job = pickle.loads(pickle.dumps(job))  # noqa: S301 -- of this process
    log = RunLog(lambda _: None)
    timer = _Timer(log)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = make_trainer(
            copy,
            max_epochs=-1,
            max_steps=_WARM + TRIAL_STEPS,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            enable_checkpointing=False,
            logger=False,
            callbacks=[log, timer],
        )
        trainer.fit(build_model(copy), copy.data)
    return max(1e-6, (log.seconds(trainer) - timer.warm) / TRIAL_STEPS)


class _Timer(L.Callback):
    """The time at which the steps are warm."""

    def __init__(self, record: RunLog) -> None:
        self.record, self.warm = record, 0.0

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step <= _WARM:
            self.record.state_dict()  # brings the time up to date
            self.warm = self.record.seconds(trainer)
