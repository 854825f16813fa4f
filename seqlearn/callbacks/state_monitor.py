"""`StateMonitor`: hidden states and gates during training."""

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
from seqlearn.introspect.measures.gates import is_gate
from seqlearn.introspect.plots.heatmaps import state_heatmap
from seqlearn.introspect.recording._record import nothing_captured

SATURATED = 0.95
"""A number of a state counts as saturated if its absolute value is larger than this."""


class StateMonitor(Observer):
    """Log hidden states and gates on a fixed probe batch during training.

    - Figure `states/<module>`: the states and gates of the first example of the probe as heat maps
      of time and units, labelled by tokens; to TensorBoard, W&B and MLflow, or to PNG files if none
      of these is used.
    - Scalars of states, averaged over the real steps of the probe: `states/<module>/norm`, the
      Euclidean norm; and if all states are between -1 and 1, as in recurrent cells,
      `states/<module>/saturated`, the fraction of numbers beyond ±0.95, where tanh is flat.
    - Scalars of gates: `gates/<module>/<gate>/mean` and, for values between 0 and 1,
      `/saturated_low` and `/saturated_high`, the fractions below 0.1 and above 0.9 (see
      `introspect.gate_saturation`).

    Scalars go to every logger and to `trainer.callback_metrics`. A plain RNN has no gates. The
    states of a Transformer are the outputs of its layers. A module of your own reports states with
    `sl.probe(name, states, "states")`.

    Args:
        every_n_epochs: Run at the end of every n-th training epoch; `None` for never.
        every_n_steps: Run after every n-th optimizer step; `None` for never.
        probe: The batch to run. By default the first rows of the first validation batch or, if a
            run is due before any validation, of the first training batch; taken once per fit.
        run: Function of the module and the probe; by default `module(probe)`.
        examples: Number of rows to take from the first batch.
        layers: Names of the modules to log; by default all that reported states or gates.
        directory: Folder for PNG files, which are then written even if a logger accepts figures.
            By default they are written only if no logger does, to `states` in the logger's folder
            (without a logger, in the Trainer's root folder).
        name: Prefix of all tags and file names; distinguishes two callbacks of this class.

    Raises:
        ValueError: If both `every_n_epochs` and `every_n_steps` are `None`, or a number is below 1;
            in a run of the probe, if a module in `layers` reported neither states nor gates.
        TypeError: When fitting starts, if the module has no `forward` and there is no `run`.

    Examples:
        >>> StateMonitor(every_n_steps=100, layers=["encoder.layers.0"]).layers
        ['encoder.layers.0']
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

    def check_module(self, module: L.LightningModule) -> None:
        """Check that the module can be called.

        Raises:
            TypeError: If it has no `forward` and there is no `run`.
        """
        if self.run is None:
            check_forward(module, self)

    def observe(self, module: L.LightningModule, probe: Any) -> Recording:
        """Record states and gates on the probe."""
        recording = record_probe(module, probe, self.run, ("states", "gates"))
        if not recording.states and not recording.gates and not self.layers:
            self.warn_once(nothing_captured(module, ("states", "gates")))
        captured = [*(recording.states | recording.gates)]
        if missing := [name for name in self.layers or () if name not in captured]:
            raise ValueError(
                f"StateMonitor: expected states of {missing}, but only these modules reported any: "
                f"{captured}; correct layers="
            )
        return recording

    def show(self, observed: Recording, logger: FigureLogger) -> None:
        """Log the scalars of each module, and draw its first example."""
        everything = [*(observed.states | observed.gates)]
        names = everything if self.layers is None else list(self.layers)
        scalars: dict[str, float] = {}
        for name in names:
            if name in observed.states:
                states = observed.states[name]
                found = state_scalars(states, real_steps(observed, name, states))
                scalars |= {
                    f"states/{name or 'model'}/{what}": value for what, value in found.items()
                }
            for gate, values in observed.gates.get(name, {}).items():
                found = gate_scalars(gate, values, real_steps(observed, name, values))
                tag = f"gates/{name or 'model'}/{gate}"
                scalars |= {f"{tag}/{what}": value for what, value in found.items()}
        logger.scalars(scalars)
        for name in names:
            tokens, time = labels(observed, name)
            steps = None if tokens is None else len(tokens)
            tensors = {"state": observed.states[name]} if name in observed.states else {}
            gates = observed.gates.get(name, {})
            tensors |= gates
            arrays = {what: tensor[0, :steps].float().numpy() for what, tensor in tensors.items()}
            drawn = [gate for gate, values in gates.items() if is_gate(gate, values[0, :steps])]
            figure = state_heatmap(arrays, tokens, title=name, time=time, gates=drawn)
            logger.figure(f"states/{name or 'model'}", figure)


def state_scalars(
    states: Float[Tensor, "batch time width"], steps: Bool[Tensor, "batch time"]
) -> dict[str, float]:
    """Mean norm of the states at real steps and, if all are within ±1, the saturated fraction."""
    real = states[steps].float()
    if not len(real):
        return {}
    found = {"norm": torch.linalg.vector_norm(real, dim=-1).mean().item()}
    if (real.abs() <= 1).all():
        found["saturated"] = (real.abs() > SATURATED).float().mean().item()
    return found


def gate_scalars(
    gate: str, values: Float[Tensor, "batch time hidden"], steps: Bool[Tensor, "batch time"]
) -> dict[str, float]:
    """Mean of a gate at real steps, and the fractions of values near 0 and near 1."""
    if not steps.any():
        return {}
    found = {"mean": values[steps].float().mean().item()}
    if is_gate(gate, values[steps]):
        fractions = gate_saturation(values, steps)
        found |= {
            "saturated_low": fractions.saturated_low.mean().item(),
            "saturated_high": fractions.saturated_high.mean().item(),
        }
    return found


def real_steps(recording: Recording, name: str, values: Tensor) -> Bool[Tensor, "batch time"]:
    """Mask of a module's steps, True where real; all True if padding is not known."""
    time, shape = recording.time_axis.get(name), values.shape[:2]
    if time in ("source", "target") and recording.knows(time):
        mask = recording.mask(time)
        if mask.shape == shape:
            return mask
    return torch.ones(shape, dtype=torch.bool)


def labels(recording: Recording, name: str) -> tuple[list[str] | None, str]:
    """The tokens of the first example's steps, if known, and the name of the time axis."""
    time = recording.time_axis.get(name)
    if time in ("source", "target") and recording.tokens:
        first = recording.tokens[0]
        return (first.source, "source") if time == "source" else (first.decoder_input, "target")
    return None, "time"
