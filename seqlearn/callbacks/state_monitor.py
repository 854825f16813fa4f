"""`StateMonitor`: what hidden states and gates do, as training goes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seqlearn.callbacks.figure_logger import FigureLogger
from seqlearn.callbacks.observer import Observer
from seqlearn.callbacks.probe_batch import check_forward, record_probe
from seqlearn.introspect import Recording, gate_saturation
from seqlearn.introspect.plots.heatmaps import state_heatmap
from seqlearn.introspect.recording._record import nothing_captured

SATURATED = 0.95
"""A state of a tanh cell farther from zero than this is saturated."""

_NO_GATES = ("candidate", "cell")  # Recorded beside the gates, but no numbers from 0 to 1.


class StateMonitor(Observer):
    """Record hidden states and gates on a fixed probe batch, as training goes.

    - Figures: for every module its states, and its gates under them, as heat maps of time and
      units for the first example of the probe, labelled by tokens; to TensorBoard, W&B and MLflow
      as `states/<module>`, else into PNG files.
    - Scalars of states, averaged over the real steps of the probe: `states/<module>/norm`, the
      Euclidean norm of a state; and where all states lie between -1 and 1, as those of recurrent
      cells do, `states/<module>/saturated`, the share of numbers beyond ±0.95, where tanh is flat.
    - Scalars of gates: `gates/<module>/<gate>/mean`, and of those with values from 0 to 1 `/shut`
      and `/open`, the shares below 0.1 and above 0.9 (see `introspect.gate_saturation`).

    Scalars go to every logger, and to `trainer.callback_metrics` for other callbacks to monitor.
    A plain RNN has no gates; of a Transformer the outputs of its blocks are the states. Modules of
    one's own join by `sl.probe(name, states, "states")`.

    Args:
        every_n_epochs: Look at the end of every n-th training epoch; `None` for never.
        every_n_steps: Look after every n-th optimizer step; `None` for never.
        probe: The batch to look at. By default the first rows of the first validation batch or,
            if a look is due before there was one, of the first training batch; taken once a fit.
        run: What to do with the module and the probe; `module(probe)` by default.
        examples: Rows to take from the first batch.
        layers: Names of the modules to log; all that were heard, by default.
        directory: Where to write PNG files, also beside a logger that takes figures; by default
            they are written only where there is none, to `states` in the logger's folder (without
            a logger, in the Trainer's root folder).
        name: Stands before all tags and files; tells two of these callbacks apart.

    Raises:
        ValueError: If there is nothing to do, or a number is below one; at a look, if a module in
            `layers` was not heard.
    """

    folder = "states"

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
        """Record the module while it reads the probe."""
        recording = record_probe(module, probe, self.run, ("states", "gates"))
        if not recording.states and not recording.gates and not self.layers:
            self.warn_once(nothing_captured(module, ("states", "gates")))
        heard = [*(recording.states | recording.gates)]
        if missing := [name for name in self.layers or () if name not in heard]:
            raise ValueError(f"StateMonitor: no states of {missing} were heard; heard: {heard}")
        return recording

    def show(self, observed: Recording, report: FigureLogger) -> None:
        """Log the figures of each module, and draw its first example."""
        everything = [*(observed.states | observed.gates)]
        names = everything if self.layers is None else list(self.layers)
        scalars: dict[str, float] = {}
        for name in names:
            if name in observed.states:
                states = observed.states[name]
                found = of_states(states, real_steps(observed, name, states))
                scalars |= {f"states/{name}/{what}": value for what, value in found.items()}
            for gate, values in observed.gates.get(name, {}).items():
                found = of_gate(gate, values, real_steps(observed, name, values))
                scalars |= {f"gates/{name}/{gate}/{what}": value for what, value in found.items()}
        report.scalars(scalars)
        for name in names:
            tokens, time = labels(observed, name)
            steps = None if tokens is None else len(tokens)
            heard = {"state": observed.states[name]} if name in observed.states else {}
            heard |= observed.gates.get(name, {})
            arrays = {what: tensor[0, :steps].float().numpy() for what, tensor in heard.items()}
            report.figure(f"states/{name}", state_heatmap(arrays, tokens, title=name, time=time))


def of_states(
    states: Float[Tensor, "batch time width"], steps: Bool[Tensor, "batch time"]
) -> dict[str, float]:
    """The mean norm of the states at real steps and, within ±1, the share that is saturated."""
    real = states[steps].float()
    if not len(real):
        return {}
    found = {"norm": torch.linalg.vector_norm(real, dim=-1).mean().item()}
    if (real.abs() <= 1).all():
        found["saturated"] = (real.abs() > SATURATED).float().mean().item()
    return found


def of_gate(
    gate: str, values: Float[Tensor, "batch time hidden"], steps: Bool[Tensor, "batch time"]
) -> dict[str, float]:
    """The mean of a gate at real steps, and the shares that are as good as shut and open."""
    if not steps.any():
        return {}
    found = {"mean": values[steps].float().mean().item()}
    if gate not in _NO_GATES:
        shares = gate_saturation(values, steps)
        found |= {
            "shut": shares.saturated_low.mean().item(),
            "open": shares.saturated_high.mean().item(),
        }
    return found


def real_steps(recording: Recording, name: str, values: Tensor) -> Bool[Tensor, "batch time"]:
    """True at the steps of a module that are no padding; everywhere, where that is not known."""
    time, shape = recording.time_axis.get(name), values.shape[:2]
    if time in ("source", "target") and recording.knows(time):
        mask = recording.mask(time)
        if mask.shape == shape:
            return mask
    return torch.ones(shape, dtype=torch.bool)


def labels(recording: Recording, name: str) -> tuple[list[str] | None, str]:
    """The tokens that the first example's steps stand for, where known, and what these are."""
    time = recording.time_axis.get(name)
    if time in ("source", "target") and recording.tokens:
        first = recording.tokens[0]
        return (first.source, "source") if time == "source" else (first.decoder_input, "target")
    return None, "time"
