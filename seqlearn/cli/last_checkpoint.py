"""The checkpoint at the end of `seqlearn fit`, and the command to continue with."""

from __future__ import annotations

import os
import shlex
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from seqlearn.callbacks import Interrupt
from seqlearn.cli.runs import newest_of


class LastCheckpoint(Callback):
    """Saves `last.ckpt` at the end of training if its last step is in no checkpoint.

    `ModelCheckpoint` saves after an epoch or a validation, and with a metric only the best state. A
    run that ends in between (`--trainer.max_steps`, `--trainer.check_val_every_n_epoch`) could not
    be continued. This callback comes before the others, because some of them replace the weights at
    the end (weight averaging).
    """

    def __init__(self) -> None:
        self._saved_step: int | None = None
        self._path = self._config = ""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Store the path of the configuration file; `log_dir` is a broadcast, so on all ranks."""
        self._config = os.path.join(trainer.log_dir or trainer.default_root_dir, "config.yaml")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Store the step from which a continued run starts; that step is saved already."""
        if trainer.ckpt_path:
            self._saved_step = trainer.global_step

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store that this step is saved."""
        self._saved_step = trainer.global_step

    def on_train_end(self, trainer: Any, pl_module: LightningModule) -> None:
        """Save the last step next to the other checkpoints, unless it is saved already.

        The first `ModelCheckpoint` that saves whole checkpoints gives the folder; a run in which
        all save only weights ends with these.
        """
        every = [one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)]
        saving = [one for one in every if one.save_top_k != 0]
        if not saving or self._saved_step == trainer.global_step or trainer.fast_dev_run:
            return
        model = min(saving, key=lambda one: one.save_weights_only)
        self._path = os.path.join(str(model.dirpath), "last.ckpt")
        trainer.save_checkpoint(self._path, model.save_weights_only)

    def advice(self, trainer: Any, *, tested: bool) -> str:
        """Path of the run's newest checkpoint, and the command to continue with.

        Args:
            trainer: The Trainer, after `fit`.
            tested: Whether there is a test split.

        Returns:
            Two lines of text, and a third if steps of an interrupted run are lost; empty if the
            run saves no checkpoints.
        """
        if not trainer.checkpoint_callbacks or trainer.fast_dev_run:
            return ""
        names = ("last_model_path", "best_model_path", "ckpt_path")
        known = [getattr(one, name, "") for one in trainer.checkpoint_callbacks for name in names]
        known += [one.path for one in trainer.callbacks if isinstance(one, Interrupt)]
        known += [self._path, str(trainer.ckpt_path or "")]
        path = newest_of(filter(None, known))
        if path is None:
            return "The training stopped before its first checkpoint" if trainer.interrupted else ""
        command = "fit" if trainer.interrupted else "test" if tested else "validate"
        argv = ["seqlearn", command, "--config", self._config, "--ckpt_path", path]
        purpose = "Continue it" if trainer.interrupted else "Evaluate it"
        lines = [f"Checkpoint: {path}", f"{purpose}: {shlex.join(argv)}"]
        if trainer.interrupted and (lost := trainer.global_step - (self._saved_step or 0)) > 0:
            lines.append(
                f"Steps after the checkpoint, which are lost: {lost} (Ctrl-C and errors save "
                "nothing; SIGTERM saves the last step)"
            )
        return "\n".join(lines)
