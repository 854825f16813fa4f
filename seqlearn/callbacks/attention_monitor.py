"""`AttentionMonitor`: attention maps and attention entropy during training."""

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
    """Log attention maps and the entropy of each head on a fixed probe batch during training.

    For each module whose attention `record` captures, the callback logs

    - the figure `attention/<module>`: the maps of all heads for the first example of the probe, to
      TensorBoard, W&B and MLflow, or to PNG files if none of these is used;
    - the scalars `attention_entropy/<module>/head<i>`: the entropy in nats, averaged over the real
      queries of the probe, to every logger and to `trainer.callback_metrics`.

    Running the probe changes no random state, mode or weight. The callback works with any
    `LightningModule` whose attention `record` captures.

    Args:
        every_n_epochs: Run at the end of every n-th training epoch; `None` for never.
        every_n_steps: Run after every n-th optimizer step; `None` for never.
        probe: The batch to run. By default the first rows of the first validation batch or, if a
            run is due before any validation, of the first training batch; taken once per fit.
        run: Function of the module and the probe; by default `module(probe)`.
        examples: Number of rows to take from the first batch.
        layers: Names of the modules to log; by default all whose attention was captured.
        directory: Folder for PNG files, which are then written even if a logger accepts figures.
            By default they are written only if no logger does, to `attention` in the logger's
            folder (without a logger, in the Trainer's root folder).
        name: Prefix of all tags and file names; distinguishes two callbacks of this class.

    Raises:
        ValueError: If both `every_n_epochs` and `every_n_steps` are `None`, or a number is below 1;
            in a run of the probe, if a module in `layers` reported no attention.
        TypeError: When fitting starts, if the module has no `forward` and there is no `run`.
        RuntimeError: In a run of the probe, if attention weights are not finite; the message names
            the first such module.

    Examples:
        >>> AttentionMonitor(every_n_steps=100, layers=["decoder.layers.0.cross_attention"]).layers
        ['decoder.layers.0.cross_attention']
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

    def check_module(self, module: L.LightningModule) -> None:
        """Check that the module can be called.

        Raises:
            TypeError: If it has no `forward` and there is no `run`.
        """
        if self.run is None:
            check_forward(module, self)

    def observe(self, module: L.LightningModule, probe: Any) -> Recording:
        """Record the attention on the probe, and check that all weights are finite."""
        recording = record_probe(module, probe, self.run, ("attention",))
        if not recording.attention and not self.layers:
            self.warn_once(
                f"{nothing_captured(module, ('attention',))}; a module without attention, such as "
                "an RNN, has hidden states: use StateMonitor"
            )
        if missing := [name for name in self.layers or () if name not in recording.attention]:
            raise ValueError(
                f"AttentionMonitor: expected attention of {missing}, but only these modules "
                f"reported any: {list(recording.attention)}; correct layers="
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

    def show(self, observed: Recording, logger: FigureLogger) -> None:
        """Log the entropy of each head and the maps of each module."""
        names = list(observed.attention) if self.layers is None else list(self.layers)
        entropies: dict[str, float] = {}
        for name in names:
            nats = head_entropy(observed.attention[name], observed.queries(name)).tolist()
            tag = f"attention_entropy/{name or 'model'}"  # the name of the module itself is empty
            entropies |= {f"{tag}/head{head}": h for head, h in enumerate(nats)}
        logger.scalars(entropies)
        for name in names:
            logger.figure(f"attention/{name or 'model'}", observed.plot(name))
