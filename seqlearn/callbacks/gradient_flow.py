"""`GradientFlow`: how far back in time the gradient of the last target's loss reaches."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from jaxtyping import Float, Int
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from seqlearn.batch import SequenceBatch
from seqlearn.callbacks.figure_logger import FigureLogger
from seqlearn.callbacks.observer import Observer
from seqlearn.core import SequenceModule
from seqlearn.introspect.measures.gradient import (
    GradientFlowClass,
    classify_gradient_flow,
    gradient_flow,
)
from seqlearn.introspect.plots.curves import distance_curve, gradient_curves

_EARLIER = 20  # number of earlier curves in a figure


class LastLoss(NamedTuple):
    """The loss at the last target of each example, with the input that it depends on.

    Attributes:
        loss: Loss of each example's last target token or of its class, in nats; of a vector the
            squared error. `batch`.
        embedded: The embedded input from which `loss` was computed, `batch time width`.
        lengths: Number of steps of each example that can influence its loss, `batch`.
    """

    loss: Tensor
    embedded: Tensor
    lengths: Tensor


class Flow(NamedTuple):
    """The result of one run of the probe.

    Attributes:
        curve: The mean gradient norm at each distance from the last step, `distance`.
        flow_class: The class of the gradient flow.
    """

    curve: np.ndarray
    flow_class: GradientFlowClass


class GradientFlow(Observer):
    """Measure ‖∂ loss at the last target / ∂ embedded input at step t‖ during training.

    The curve has the same axis for every architecture: the norm at the last step, one step earlier,
    and so on, averaged over the examples of the probe. If the source is text, the input is the
    source, and the loss is that of the last target token, of the class or of the vector. Otherwise
    (language models, vector to text) the input is the target tokens that the decoder receives.

    The module is in `eval` mode (no dropout) with gradients enabled; no `.grad` is changed.

    - Figure `gradient_flow/norms`: the newest curve, with earlier ones faint behind it, on a
      logarithmic axis; to TensorBoard, W&B and MLflow, or to PNG files if none of these is used.
    - Scalars `gradient_flow/last` (norm at the last step), `gradient_flow/first` (norm at the
      farthest step) and `gradient_flow/factor` (factor by which the norm changes with each step
      back, the root of their ratio); to every logger and to `trainer.callback_metrics`.
    - "vanishing", "exploding" or "stable", as `introspect.classify_gradient_flow` decides, in the
      figure's title and, whenever it changes, in the log.

    Attributes:
        curves: The curve of each optimizer step at which the probe was run: a norm for each
            distance from the last step, the nearest first. Saved in checkpoints.
            `introspect.gradient_curves` draws those of several runs on one axis.
        flow_class: The newest class; `None` before the first run of the probe.

    Args:
        every_n_epochs: Run at the end of every n-th training epoch; `None` for never.
        every_n_steps: Run after every n-th optimizer step; `None` for never.
        probe: The batch to run. By default the first rows of the first validation batch or, if a
            run is due before any validation, of the first training batch; taken once per fit.
        run: For modules other than a `SequenceModule`: a function of the module and the probe that
            returns the loss of each example, `batch`, and the embedded input from which it was
            computed, `batch time width` (with `requires_grad_()` if it does not depend on a
            parameter). The last step with a gradient counts as an example's last step.
        examples: Number of rows to take from the first batch.
        directory: Folder for PNG files, which are then written even if a logger accepts figures.
            By default they are written only if no logger does, to `gradient_flow` in the logger's
            folder (without a logger, in the Trainer's root folder).
        name: Prefix of all tags and file names; distinguishes two callbacks of this class.

    Raises:
        ValueError: If both `every_n_epochs` and `every_n_steps` are `None`, or a number is below 1.
        TypeError: When fitting starts, if the module is not a `SequenceModule` and there is no
            `run`.

    Examples:
        >>> GradientFlow(every_n_epochs=2).curves
        {}

    Source: Pascanu, Mikolov & Bengio 2013, section 2.1.
    """

    folder = "gradient_flow"

    def __init__(
        self,
        every_n_epochs: int | None = 1,
        every_n_steps: int | None = None,
        probe: Any = None,
        run: Callable[[L.LightningModule, Any], tuple[Tensor, Tensor]] | None = None,
        examples: int = 4,
        directory: str | os.PathLike[str] | None = None,
        name: str = "",
    ) -> None:
        super().__init__(every_n_epochs, every_n_steps, probe, run, examples, directory, name)
        self.curves: dict[int, np.ndarray] = {}
        self.flow_class: GradientFlowClass | None = None

    def check_module(self, module: L.LightningModule) -> None:
        """Check that the module is a `SequenceModule`, or that there is a `run`."""
        if self.run is None and not isinstance(module, SequenceModule):
            raise TypeError(
                f"GradientFlow: expected a SequenceModule, got {type(module).__name__}; pass "
                "run=, which returns the loss of each example and the embedded input"
            )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Drop the curves of later steps, which belong to another run."""
        super().on_train_start(trainer, pl_module)
        past = trainer.global_step
        self.curves = {step: curve for step, curve in self.curves.items() if step <= past}
        if not self.curves:
            self.flow_class = None

    def observe(self, module: L.LightningModule, probe: Any) -> Flow:
        """Measure the curve of the probe."""
        # cuDNN's recurrent kernels have no backward pass in eval mode.
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            if self.run is None:
                assert isinstance(module, SequenceModule)
                loss, embedded, lengths = last_loss(module, probe)
                norms = gradient_flow(loss, embedded)
            else:
                norms = gradient_flow(*self.run(module, probe))
                reaches = (norms != 0) * torch.arange(1, norms.shape[1] + 1, device=norms.device)
                lengths = reaches.amax(1)
        curve = distance_curve(norms, lengths)
        return Flow(curve, classify_gradient_flow(norms, lengths))

    def show(self, observed: Flow, logger: FigureLogger) -> None:
        """Log the ends of the curve, draw it, and print the class if it has changed."""
        curve, flow_class = observed
        earlier = list(self.curves.values())[-_EARLIER:]
        self.curves[logger.step] = curve
        title = f"{flow_class} after step {logger.step}"
        if len(curve):
            first, last, back = float(curve[-1]), float(curve[0]), len(curve) - 1
            scalars = {"gradient_flow/first": first, "gradient_flow/last": last}
            if back and last > 0:
                scalars["gradient_flow/factor"] = (first / last) ** (1 / back)
                title += f": × {first / last:.2g} over {back} steps back"
            logger.scalars(scalars)
        if flow_class != self.flow_class:
            rank_zero_info(f"GradientFlow: the gradient is {title}")
            self.flow_class = flow_class
        figure = gradient_curves({"newest": curve}, earlier=earlier, title=title)
        logger.figure("gradient_flow/norms", figure)

    def state_dict(self) -> dict[str, Any]:
        """The curves and the class, as plain data."""
        curves = {step: curve.tolist() for step, curve in self.curves.items()}
        return {"curves": curves, "flow_class": self.flow_class}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the curves and the class of a checkpoint."""
        self.curves = {step: np.array(curve) for step, curve in state_dict["curves"].items()}
        self.flow_class = state_dict["flow_class"]


def last_loss(module: SequenceModule, batch: SequenceBatch) -> LastLoss:
    """Compute the loss of each example's last target, and keep the embedded input.

    Gradients must be enabled. The module runs in its current mode. The embedded input is detached
    from the embedding's weights.

    Args:
        module: The module.
        batch: A batch with targets.

    Returns:
        The loss of each example and the embedded input it was computed from: of the source if that
        has a length, otherwise of the decoder's input.

    Raises:
        RuntimeError: If the module does not embed its input by one call of `source_embedding`
            (`target_embedding`).
    """
    source = module.spec.source
    has_sequence = source is not None and source.is_sequence
    which = "source_embedding" if has_sequence else "target_embedding"
    embedding = getattr(module, which)
    assert isinstance(embedding, nn.Module)
    embedded: list[Tensor] = []

    def detach(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    hook = embedding.register_forward_hook(detach)
    try:
        predicted = module(batch)
    finally:
        hook.remove()
    if len(embedded) != 1:
        raise RuntimeError(
            f"GradientFlow: expected {type(module).__name__} to call its {which} once, got "
            f"{len(embedded)} calls; pass run=, which returns the loss of each example and the "
            "embedded input"
        )
    last, loss = last_predicted(module, batch, predicted)
    lengths = batch.source_lengths if has_sequence else last + 1
    assert lengths is not None
    return LastLoss(loss, embedded[0], lengths)


def last_predicted(
    module: SequenceModule, batch: SequenceBatch, predicted: Float[Tensor, "batch ..."]
) -> tuple[Int[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Find the last target of each example and the loss of its prediction.

    A start symbol, which separates the documents of a token stream, is not predicted.

    Returns:
        The index along the target, -1 for an example without any target; and the loss, 0 for such
        an example.
    """
    target = module.spec.target
    labels, counts = target.labels_of(batch._replace(indices=None))
    outputs = predicted if target.is_sequence else predicted[:, None]
    index = torch.arange(labels.shape[1], device=labels.device)
    last = torch.where(counts, index, -1).amax(1)
    row = torch.arange(len(labels), device=labels.device)
    loss = target.item_loss(outputs[row, last], labels[row, last])
    return last, loss * (last >= 0)
