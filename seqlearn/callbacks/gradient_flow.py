"""`GradientFlow`: how far back the loss at the last target reaches, as training goes."""

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
from torch.nn import functional

from seqlearn.batch import START, SequenceBatch, length_mask
from seqlearn.callbacks.figure_logger import FigureLogger
from seqlearn.callbacks.observer import Observer
from seqlearn.core import SequenceModule
from seqlearn.introspect.measures.gradient import (
    GradientFlowClass,
    classify_gradient_flow,
    gradient_flow,
)
from seqlearn.introspect.plots.curves import distance_curve, gradient_curves
from seqlearn.spec import TextSpec, VectorSpec

_EARLIER = 20  # Curves of the past in a figure.


class LastLoss(NamedTuple):
    """What a batch loses at its last targets, and what was read to that end.

    Attributes:
        loss: For each example the loss of its last target token in nats (of its class; of a
            vector the squared error), `batch`.
        embedded: The embedded input, `batch time width`, from which `loss` was computed.
        lengths: Steps of each example that may bear on its loss, `batch`.
    """

    loss: Tensor
    embedded: Tensor
    lengths: Tensor


class Flow(NamedTuple):
    """What a look finds out.

    Attributes:
        curve: The mean norm at each distance from the last step, `distance`.
        verdict: What becomes of the gradient on its way back.
    """

    curve: np.ndarray
    verdict: GradientFlowClass


class GradientFlow(Observer):
    """Measure ‖∂ loss at the last target / ∂ embedded input at step t‖, as training goes.

    One curve over one axis for every architecture: the norm at the last step, one step before it,
    and so on, averaged over the examples of the probe. The input is the source, where that is
    text (the loss is that of the last target token, of the class or of the vector); of a language
    model and of a vector's description it is the target tokens read.

    The module is in `eval` (no dropout), with gradients, which go to no `.grad`.

    - Figures: the newest curve with the earlier ones faint behind it, on a logarithmic axis, to
      TensorBoard, W&B and MLflow as `gradient_flow/norms`, else into PNG files.
    - Scalars: `gradient_flow/last` (norm at the last step), `gradient_flow/first` (norm at the
      farthest) and `gradient_flow/factor`, by which the norm changes with each step back (their
      ratio's root); to every logger, and to `trainer.callback_metrics` for other callbacks to
      monitor.
    - "vanishing", "exploding" or "stable", as `introspect.classify_gradient_flow` decides, in the
      figure's title and, whenever it changes, in the log.

    Attributes:
        curves: By optimizer step the curve, a norm for each distance from the last step, the
            nearest first. A checkpoint keeps it. `introspect.gradient_curves` draws those of
            several runs on one axis.
        verdict: The newest; `None` before the first look.

    Args:
        every_n_epochs: Look at the end of every n-th training epoch; `None` for never.
        every_n_steps: Look after every n-th optimizer step; `None` for never.
        probe: The batch to look at. By default the first rows of the first validation batch or,
            if a look is due before there was one, of the first training batch; taken once a fit.
        run: For a module that is no `SequenceModule`: from the module and the probe to a pair, the
            loss of each example `batch` and the embedded input `batch time width` from which it
            was computed (with `requires_grad_()`, if it is not computed from a parameter). The
            last step that bears on an example's loss counts as its last.
        examples: Rows to take from the first batch.
        directory: Where to write PNG files, also beside a logger that takes figures; by default
            they are written only where there is none, to `gradient_flow` in the logger's folder
            (without a logger, in the Trainer's root folder).
        name: Stands before all tags and files; tells two of these callbacks apart.

    Raises:
        ValueError: If there is nothing to do, or a number is below one.
        TypeError: When fitting starts, if the module is no `SequenceModule` and there is no `run`.

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
        self.verdict: GradientFlowClass | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """See that the module can be asked."""
        if self.run is None and not isinstance(pl_module, SequenceModule):
            raise TypeError(
                f"GradientFlow: expected a SequenceModule, got {type(pl_module).__name__}; pass "
                "run=, which returns the loss of each example and the embedded input"
            )
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget the curves of another run."""
        past = trainer.global_step
        self.curves = {step: curve for step, curve in self.curves.items() if step <= past}
        if not self.curves:
            self.verdict = None

    def observe(self, module: L.LightningModule, probe: Any) -> Flow:
        """Measure the curve of the probe."""
        # cuDNN's recurrent kernels have no backward pass in eval.
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

    def show(self, observed: Flow, report: FigureLogger) -> None:
        """Log the ends of the curve, draw it, and say what the verdict is if it has changed."""
        curve, verdict = observed
        earlier = list(self.curves.values())[-_EARLIER:]
        self.curves[report.step] = curve
        said = f"{verdict} after step {report.step}"
        if len(curve):
            first, last, back = float(curve[-1]), float(curve[0]), len(curve) - 1
            figures = {"gradient_flow/first": first, "gradient_flow/last": last}
            if back and last > 0:
                figures["gradient_flow/factor"] = (first / last) ** (1 / back)
                said += f": × {first / last:.2g} over {back} steps back"
            report.scalars(figures)
        if verdict != self.verdict:
            rank_zero_info(f"GradientFlow: the gradient is {said}")
            self.verdict = verdict
        figure = gradient_curves({"newest": curve}, earlier=earlier, title=said)
        report.figure("gradient_flow/norms", figure)

    def state_dict(self) -> dict[str, Any]:
        """The curves and the verdict, as plain data."""
        curves = {step: curve.tolist() for step, curve in self.curves.items()}
        return {"curves": curves, "verdict": self.verdict}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the curves of a checkpoint."""
        self.curves = {step: np.array(curve) for step, curve in state_dict["curves"].items()}
        self.verdict = state_dict["verdict"]


def last_loss(module: SequenceModule, batch: SequenceBatch) -> LastLoss:
    """Let a module predict a batch, and compare its last predictions with the targets.

    Gradients must be on, and the module runs in the mode it is in. The embedded input is cut off
    from the embedding's weights.

    Args:
        module: The module.
        batch: A batch whose target is known.

    Returns:
        The loss of each example and the embedded input it was computed from (of the source
        where that is text, else of the target tokens read).

    Raises:
        RuntimeError: If the module does not embed its input by one call of `source_embedding`
            (`target_embedding`).
    """
    reads_source = isinstance(module.spec.source, TextSpec)
    which = "source_embedding" if reads_source else "target_embedding"
    embedding = getattr(module, which)
    assert isinstance(embedding, nn.Module)
    embedded: list[Tensor] = []

    def cut(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    hook = embedding.register_forward_hook(cut)
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
    lengths = batch.source_lengths if reads_source else last + 1
    assert lengths is not None
    return LastLoss(loss, embedded[0], lengths)


def last_predicted(
    module: SequenceModule, batch: SequenceBatch, predicted: Float[Tensor, "batch ..."]
) -> tuple[Int[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Where the last target of each example is predicted, and the loss of that prediction.

    A start symbol, which stands between the documents of a stream, is not predicted.

    Returns:
        The place along the target, -1 where there is none; and the loss, zero there.
    """
    if isinstance(module.spec.target, VectorSpec):
        error = (predicted - batch.target).square().sum(-1)
        return torch.zeros_like(batch.target[:, 0], dtype=torch.long), error
    if not isinstance(module.spec.target, TextSpec):
        return torch.zeros_like(batch.target), functional.cross_entropy(
            predicted, batch.target, reduction="none"
        )
    assert batch.target_lengths is not None
    labels = batch.target[:, 1:]
    counts = length_mask(batch.target_lengths - 1, labels.shape[1]) & (labels != START)
    place = torch.arange(labels.shape[1], device=labels.device)
    last = torch.where(counts, place, -1).amax(1)
    row = torch.arange(len(labels), device=labels.device)
    loss = functional.cross_entropy(predicted[row, last], labels[row, last], reduction="none")
    return last, loss * (last >= 0)
