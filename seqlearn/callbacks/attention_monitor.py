"""`AttentionMonitor`: what a module attends to, and how sharply, as training goes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.seed import isolate_rng
from lightning_utilities.core.apply_func import apply_to_collection
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from seqlearn.batch import SequenceBatch
from seqlearn.introspect import Recording, Tokens, head_entropy, record
from seqlearn.introspect.recorder import token_names
from seqlearn.models.generation import evaluating


class AttentionMonitor(L.Callback):
    """Record attention on a fixed probe batch as training goes: maps, and entropies per head.

    At each look the module runs on the probe in `eval`, without gradients, and every module that
    offers its attention gives one figure (all heads, the first example of the probe) and the
    entropy of each head in nats, averaged over the real queries of the probe. The scalars go to
    every logger as `attention_entropy/<module>/head<i>`; the figures to TensorBoard, W&B and
    MLflow; where there is none of these, and where `directory` is given, PNG files are written.
    A look changes no random state, mode or weight, and between looks the callback does nothing.

    It works with any `LightningModule` whose parts offer to `seqlearn.probe`. In a run of several
    processes each of them looks (a sharded module needs all), and rank zero logs and draws.

    Args:
        every_n_epochs: Look at the end of every n-th training epoch; `None` for never.
        every_n_steps: Look after every n-th optimizer step; `None` for never.
        probe: The batch to look at. By default the first rows of the first validation batch or,
            if a look is due before there was one, of the first training batch; taken once.
        run: What to do with the module and the probe; `module(probe)` by default.
        examples: Rows to take from the first batch.
        layers: Names of the modules to log; all that were heard, by default.
        directory: Where to write PNG files; by default `attention` in the logger's folder (without
            a logger, in the trainer's root folder).

    Raises:
        ValueError: If there is nothing to do, or a number is below one; at a look, if a module in
            `layers` was not heard.
        RuntimeError: At a look, if weights are not finite; it names the first such module and
            stops the run.
    """

    def __init__(
        self,
        every_n_epochs: int | None = 1,
        every_n_steps: int | None = None,
        probe: Any = None,
        run: Callable[[L.LightningModule, Any], Any] | None = None,
        examples: int = 4,
        layers: Sequence[str] | None = None,
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        numbers = {
            "every_n_epochs": every_n_epochs, "every_n_steps": every_n_steps, "examples": examples
        }  # fmt: skip
        for name, number in numbers.items():
            if number is not None and number < 1:
                raise ValueError(f"AttentionMonitor: expected {name} of at least 1, got {number}")
        if every_n_epochs is None and every_n_steps is None:
            raise ValueError("AttentionMonitor never looks: give every_n_epochs or every_n_steps")
        self.every_n_epochs, self.every_n_steps = every_n_epochs, every_n_steps
        self.run, self.examples, self.layers, self.directory = run, examples, layers, directory
        self._probe, self._first_training_rows = probe, None
        self._looked_at_step = -1

    # When to look

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take the probe, once."""
        if self._probe is None:
            self._probe = first_rows(batch, self.examples)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Look, if it is a step to look at."""
        if self._probe is None and self._first_training_rows is None:
            self._first_training_rows = first_rows(batch, self.examples)
        if self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0:
            self._look(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look, if it is an epoch to look at."""
        every, epochs = self.every_n_epochs, trainer.current_epoch + 1
        if every is not None and epochs % every == 0:
            self._look(trainer, pl_module)

    # What to do then

    def _look(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        step = trainer.global_step
        if step in (0, self._looked_at_step):
            return
        self._looked_at_step = step
        if self._probe is None:
            self._probe = self._first_training_rows
        recording = self._record(trainer, module)
        names = list(recording.attention) if self.layers is None else list(self.layers)
        if missing := [name for name in names if name not in recording.attention]:
            raise ValueError(
                f"AttentionMonitor: no attention of {missing} was heard; "
                f"heard: {list(recording.attention)}"
            )
        for name, weights in recording.attention.items():
            wrong = int((~weights.isfinite()).any(-1).sum())
            if wrong:
                raise RuntimeError(
                    f"attention weights of {name!r} are not finite after step {step} (epoch "
                    f"{trainer.current_epoch}; {wrong} of {weights[..., 0].numel()} rows of the "
                    "probe): lower the learning rate, clip gradients, or look for a division by "
                    "zero before this module"
                )
        folder = self._folder(trainer)
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._log(trainer.loggers, folder, recording, names, step)

    def _record(self, trainer: L.Trainer, module: L.LightningModule) -> Recording:
        """Run the module on the probe, leaving no trace."""
        batch = move_data_to_device(self._probe, module.device)
        with (
            isolate_rng(include_cuda=module.device.type == "cuda"),
            evaluating(module),
            trainer.precision_plugin.forward_context(),
            record(module) as recording,
        ):
            (self.run or _forward)(module, batch)
        if isinstance(self._probe, SequenceBatch) and self.run is None:
            names = [n for n, w in recording.attention.items() if len(w) == self._probe.size]
            if names:
                recording.label(batch_tokens(self._probe, getattr(module, "spec", None)))
        return recording

    def _folder(self, trainer: L.Trainer) -> Path:
        """Where PNG files go. All ranks must ask, since the log folder is broadcast."""
        logs = trainer.log_dir or trainer.default_root_dir
        return Path(logs, "attention") if self.directory is None else Path(self.directory)

    def _log(
        self,
        loggers: Sequence[Logger],
        folder: Path,
        recording: Recording,
        names: Sequence[str],
        step: int,
    ) -> None:
        entropies: dict[str, float] = {}
        for name in names:
            nats = head_entropy(recording.attention[name], recording.queries(name)).tolist()
            entropies |= {f"attention_entropy/{name}/head{head}": h for head, h in enumerate(nats)}
        for logger in loggers:
            logger.log_metrics(entropies, step)
        for name in names:
            figure = recording.plot(name)
            taken = [send_figure(logger, f"attention/{name}", figure, step) for logger in loggers]
            if self.directory is not None or not any(taken):
                folder.mkdir(parents=True, exist_ok=True)
                plain = re.sub(r"[^\w.-]+", "_", name) or "model"
                figure.savefig(folder / f"{plain}-step{step:06d}.png")


def send_figure(logger: Logger, tag: str, figure: Figure, step: int) -> bool:
    """Give a figure to a logger that takes figures.

    Returns:
        Whether it does (TensorBoard, W&B and MLflow do).
    """
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_figure(tag, figure, step)
    elif isinstance(logger, WandbLogger):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # type: ignore[no-untyped-call]
        pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        logger.log_image(tag, [pixels], step)
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_figure(logger.run_id, figure, f"{tag}-step{step:06d}.png")
    else:
        return False
    return True


def first_rows(batch: Any, rows: int) -> Any:
    """A copy of the first rows of a batch; every tensor's first axis is taken to be the batch.

    A `SequenceBatch` is also cut to its longest remaining sequences.
    """
    taken = apply_to_collection(batch, Tensor, lambda t: t[:rows].clone() if t.ndim else t.clone())
    if not isinstance(taken, SequenceBatch):
        return taken
    source, target = taken.source, taken.target
    if source is not None and taken.source_lengths is not None:
        source = source[:, : int(taken.source_lengths.max())]
    if taken.target_lengths is not None:
        target = target[:, : int(taken.target_lengths.max())]
    references = None if taken.references is None else taken.references[:rows]
    return taken._replace(source=source, target=target, references=references)


def batch_tokens(batch: SequenceBatch, spec: Any) -> list[Tokens]:
    """Name the tokens of a batch, the target being known, by the two sides of a spec."""
    source_side, target_side = getattr(spec, "source", None), getattr(spec, "target", None)
    tokens = []
    for row in range(batch.size):
        source = fed = answered = None
        if batch.source is not None and batch.source_lengths is not None:
            ids = batch.source[row, : int(batch.source_lengths[row])].tolist()
            source = token_names(source_side, ids)
        elif batch.source is not None:
            source = ["vector"]
        if batch.target_lengths is not None:
            ids = batch.target[row, : int(batch.target_lengths[row])].tolist()
            fed, answered = token_names(target_side, ids[:-1]), token_names(target_side, ids[1:])
        tokens.append(Tokens(source, fed, answered))
    return tokens


def _forward(module: L.LightningModule, batch: Any) -> Any:
    return module(batch)
