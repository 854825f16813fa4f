"""`AttentionMonitor`: what a module attends to, and how sharply, as training goes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import lightning as L

from seqlearn.callbacks.figure_logger import FigureLogger
from seqlearn.callbacks.observer import Observer
from seqlearn.callbacks.probe_batch import check_forward, record_probe
from seqlearn.introspect import Recording, head_entropy
from seqlearn.introspect.recording._record import nothing_captured


class AttentionMonitor(Observer):
    """Record attention on a fixed probe batch as training goes: maps, and entropies per head.

    Every module whose attention is heard (see `record`) gives one figure (all heads, the first
    example of the probe) and the entropy of each head in nats, averaged over the real queries of
    the probe. The scalars go to every logger, and to `trainer.callback_metrics` for other
    callbacks to monitor, as `attention_entropy/<module>/head<i>`; the figures to TensorBoard, W&B
    and MLflow as `attention/<module>`, else into PNG files. A look changes no random state, mode
    or weight, and between looks the callback does nothing.

    It works with any `LightningModule` whose attention `record` hears. In a run of several
    processes each of them looks (a sharded module needs all), and rank zero logs and draws.

    Args:
        every_n_epochs: Look at the end of every n-th training epoch; `None` for never.
        every_n_steps: Look after every n-th optimizer step; `None` for never.
        probe: The batch to look at. By default the first rows of the first validation batch or,
            if a look is due before there was one, of the first training batch; taken once a fit.
        run: What to do with the module and the probe; `module(probe)` by default.
        examples: Rows to take from the first batch.
        layers: Names of the modules to log; all that were heard, by default.
        directory: Where to write PNG files, also beside a logger that takes figures; by default
            they are written only where there is none, to `attention` in the logger's folder
            (without a logger, in the Trainer's root folder).
        name: Stands before all tags and files; tells two of these callbacks apart.

    Raises:
        ValueError: If there is nothing to do, or a number is below one; at a look, if a module in
            `layers` was not heard.
        RuntimeError: At a look, if weights are not finite; it names the first such module and
            stops the run.
    """

    folder = "attention"

    def __init__(
        self,
        every_n_epochs: int | None = 1,
        every_n_steps: int | None = None,
        probe: Any = None,
        run: Callable[[L.LightningModule, Any], Any] | None = None,
        examples: int = 4,
        layers: Sequence[str] | None = None,
        directory: str | os.PathLike[str] | None = None,
        name: str = "",
    ) -> None:
        super().__init__(every_n_epochs, every_n_steps, probe, run, examples, directory, name)
        self.layers = layers

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """See that the module can be called.

        Raises:
            TypeError: If it has no `forward`, and there is no `run`.
        """
        super().setup(trainer, pl_module, stage)
        if self.run is None:
            check_forward(pl_module, self)

    def observe(self, module: L.LightningModule, probe: Any) -> Recording:
        """Record the module while it reads the probe; see that all weights are finite."""
        recording = record_probe(module, probe, self.run, ("attention",))
        if not recording.attention and not self.layers:
            self.warn_once(
                f"{nothing_captured(module, ('attention',))}; a module without attention, such as "
                "an RNN, has states to look at: StateMonitor"
            )
        if missing := [name for name in self.layers or () if name not in recording.attention]:
            raise ValueError(
                f"AttentionMonitor: no attention of {missing} was heard; "
                f"heard: {list(recording.attention)}"
            )
        for name, weights in recording.attention.items():
            wrong = int((~weights.isfinite()).any(-1).sum())
            if wrong:
                trainer = module.trainer
                raise RuntimeError(
                    f"attention weights of {name!r} are not finite after step "
                    f"{trainer.global_step} (epoch {trainer.current_epoch}; {wrong} of "
                    f"{weights[..., 0].numel()} rows of the probe): lower the learning rate, clip "
                    "gradients, or look for a division by zero before this module"
                )
        return recording

    def show(self, observed: Recording, report: FigureLogger) -> None:
        """Log the entropy of each head, and draw each module."""
        names = list(observed.attention) if self.layers is None else list(self.layers)
        entropies: dict[str, float] = {}
        for name in names:
            nats = head_entropy(observed.attention[name], observed.queries(name)).tolist()
            entropies |= {f"attention_entropy/{name}/head{head}": h for head, h in enumerate(nats)}
        report.scalars(entropies)
        for name in names:
            report.figure(f"attention/{name}", observed.plot(name))
