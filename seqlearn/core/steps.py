"""`TrainingSteps`: training, validation, test and prediction steps of a `SequenceModule`."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torchmetrics import Metric

from seqlearn.batch import SequenceBatch, check_batch
from seqlearn.class_methods import is_overridden
from seqlearn.core.atomic_shards import write_atomically
from seqlearn.core.compilation import check_steps_not_compiled
from seqlearn.core.finite import FiniteSteps
from seqlearn.core.generation import batch_sources, references, without_duplicates
from seqlearn.core.inference_precision import check_trainable
from seqlearn.core.input_rounding import warn_of_rounding
from seqlearn.core.loss_output import LossOutput
from seqlearn.core.optimizer import (
    check_unfrozen,
    configure_optimizer,
    make_adamw,
    total_steps,
    unfreeze_again,
    warn_of_long_warmup,
)
from seqlearn.core.recipe import Recipe
from seqlearn.core.tbptt import CarriedState
from seqlearn.metrics import CorpusBLEU
from seqlearn.nn import Decoder, Encoder, State
from seqlearn.spec import AlignedSpec, SequenceSpec


class TrainingSteps(FiniteSteps):
    """The hooks that the Trainer calls: steps, epoch ends and `configure_optimizers`.

    Attributes:
        metrics: The metrics of a validation or test epoch, from `TargetSpec.make_metrics`.
        bleu: BLEU of the texts generated in a test epoch.
        bleu_lc: BLEU of the same texts, ignoring case.
    """

    spec: SequenceSpec
    recipe: Recipe
    encoder: Encoder
    decoder: Decoder
    target_embedding: nn.Module | None
    metrics: Metric
    _carried: CarriedState
    _frozen: frozenset[str] = frozenset()  # when the optimizer was made
    _unfrozen: frozenset[str]

    def __init__(self) -> None:
        super().__init__()
        self.bleu, self.bleu_lc = CorpusBLEU(), CorpusBLEU(lowercase=True)

    @abstractmethod
    def compute_loss(
        self, batch: SequenceBatch, state: State | None = None, *, smoothing: float = 0.0
    ) -> LossOutput:
        """Compute the summed loss and per-token statistics of a batch."""

    @abstractmethod
    def generate_batch(self, batch: SequenceBatch) -> list[Any]:
        """Generate a text for each source of a batch."""

    @abstractmethod
    def predict(self, sources: Any) -> list[Any]:
        """Predict the target of each source."""

    def setup(self, stage: str) -> None:
        """Check the spec against the data, and disable the gradients of unused modules.

        Sharded checkpoints of the run are written beside their place and renamed.

        Raises:
            TypeError: If the Trainer was given `torch.compile(model)`.
            ValueError: If the spec of the data differs from that of the model.
        """
        check_steps_not_compiled(self)
        if stage == "fit":
            check_trainable(self, "fit")
        for other in _specs_of_data(self.trainer, stage):
            if differences := self.spec.diff(other):
                raise ValueError(
                    f"the model's spec does not fit the data: {'; '.join(differences)} (model "
                    "against data); build the model with this data module's spec, or use the data "
                    "it was trained on"
                )
        warn_of_rounding(self.trainer, self.spec)
        for part in self.unused_modules():
            part.requires_grad_(requires_grad=False)
        for metric in (self.metrics, self.bleu, self.bleu_lc):
            metric.reset()  # what an evaluation counted that was interrupted
        if stage == "fit":
            write_atomically(self.trainer)

    def unused_modules(self) -> list[nn.Module]:
        """The modules that this task does not use. DDP would wait for their gradients."""
        unused: list[Any] = []
        if self.spec.source is None:
            unused.append(getattr(self, "encoder", None))
        elif isinstance(self.spec.target, AlignedSpec):
            pooling = getattr(getattr(self, "encoder", None), "pooling_modules", list)
            unused += pooling()
        if self.target_embedding is None:
            unused.append(getattr(self, "decoder", None))
        elif self.spec.source is None and hasattr(self.decoder, "source_modules"):
            unused += self.decoder.source_modules()
        return [part for part in unused if isinstance(part, nn.Module)]

    def on_fit_start(self) -> None:
        """Put a module that is in eval mode as a whole, as after loading, into train mode.

        Submodules in eval mode within a module in train mode stay in eval mode; Lightning warns
        about them.

        In a resumed run, parameters that were unfrozen before the checkpoint require a gradient
        again: `BaseFinetuning` restores their parameter groups, but freezes them as at the start.
        """
        if not self.training:
            self.train()
        unfreeze_again(self, self._frozen & self._unfrozen, self.trainer)
        check_unfrozen(self, self._frozen, self.trainer)  # an epoch may be resumed in its middle

    def on_train_epoch_start(self) -> None:
        """Check that parameters that were unfrozen since the start of the run are trained."""
        check_unfrozen(self, self._frozen, self.trainer)

    def on_train_batch_start(self, batch: SequenceBatch, batch_idx: int) -> None:
        """Seed the random numbers of this step from the seed, the replica and the batch number."""
        if batch_idx % self.trainer.accumulate_grad_batches == 0:
            self._carried.mark(self._batches_done())
        number = self.trainer.fit_loop.total_batch_idx
        replica = (self.trainer.distributed_sampler_kwargs or {}).get("rank", 0)
        state = np.random.SeedSequence([self.recipe.seed, replica, number])
        torch.manual_seed(int(state.generate_state(1, np.uint64)[0]))

    def training_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        """Compute the mean loss over the counted targets, times the weight of the batch.

        A subclass may add a term. Lightning averages it over processes and accumulated batches, as
        any loss. Multiply it by `batch.loss_weight` to weight it like the loss, by the number of
        targets, which matters where the last accumulation group of an epoch is smaller:

        ```python
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss + 0.1 * batch.loss_weight * self.penalty(batch)
        ```

        Returns:
            `batch.loss_weight` times the mean in nats; 0 for a batch without counted targets.
        """
        measured = self._step_loss(batch, self.recipe.label_smoothing)
        mean = measured.loss / measured.num_tokens.clamp(min=1)
        self.log("train/loss", mean.detach(), prog_bar=True, batch_size=batch.size)
        return batch.loss_weight * mean

    def _step_loss(self, batch: SequenceBatch, smoothing: float = 0.0) -> LossOutput:
        """Compute the loss of a step from the carried state, and update that state."""
        check_batch(batch)
        state = self._carried.initial_state(batch)
        output = self.compute_loss(batch, state, smoothing=smoothing)
        self._carried.update(output.state)
        return output

    def validation_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        """Add the batch to the metrics of the epoch."""
        found = self._step_loss(batch)
        self.metrics.update(found.nll, found.correct, found.mask, found.labels, found.predicted)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the target's type, such as loss, perplexity and exact match."""
        if not self._updated_on_any_rank(self.metrics):
            step = "test_step" if self.trainer.testing else "validation_step"
            rank_zero_warn(
                f"{type(self).__name__}: no batch was added to the metrics, so "
                f"{self._name('loss')} is not logged; call super().{step}(batch, batch_idx) in "
                f"your {step}"
            )
            return
        figures = self.metrics.compute()
        self.metrics.reset()
        self._log_figures(figures)

    def test_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        """Update the metrics as in validation and, for text, BLEU of the generated texts."""
        self.validation_step(batch, batch_idx)
        if self.has_references:
            texts = without_duplicates(self.generate_batch(batch), batch)
            expected = [str(t) for t in without_duplicates(references(self.spec, batch), batch)]
            self.bleu.update(texts, expected)
            self.bleu_lc.update(texts, expected)

    def on_test_epoch_end(self) -> None:
        """Log the metrics of validation and, for text, cased and lower-cased BLEU."""
        self.on_validation_epoch_end()
        if self.has_references and self._updated_on_any_rank(self.bleu):
            for name, bleu in (("bleu", self.bleu), ("bleu_lc", self.bleu_lc)):
                figure = bleu.compute()
                bleu.reset()
                self._log_figures({name: figure}, prog_bar=False)
                rank_zero_info(f"{self._name(name)} {figure:.2f}  {bleu.signature}")

    def predict_step(self, batch: SequenceBatch, batch_idx: int) -> list[Any]:
        """Predict each example: a text, a label, labels or a vector. Duplicates are left out."""
        check_batch(batch)
        own = self.spec.source is not None and is_overridden(type(self), "predict")
        if self.spec.target.needs_decoder and not own:
            answers = self.generate_batch(batch)
        else:
            answers = self.predict(batch_sources(self.spec, batch))
        return without_duplicates(answers, batch)

    def _updated_on_any_rank(self, metric: Metric) -> bool:
        """Whether any rank added a batch; one that has none must still take part in `compute`."""
        strategy = self.trainer.strategy
        return bool(strategy.reduce_boolean_decision(metric.update_called, all=False))

    @property
    def has_references(self) -> bool:
        """Whether BLEU applies: a model with a source whose target has a tokenizer."""
        return self.spec.source is not None and self.spec.target.is_readable_text

    def make_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Make the optimizer: AdamW with the values of the recipe. Override it to use another.

        The schedule of the recipe multiplies the learning rate of any optimizer.

        Args:
            groups: All parameters that require a gradient, as parameter groups of torch: matrices
                with the weight decay of the recipe; biases, norms and embeddings with none.

        Examples:
            >>> import seqlearn as sl
            >>> class MyGRU(sl.GRU):
            ...     def make_optimizer(self, groups):
            ...         return torch.optim.SGD(groups, lr=self.recipe.lr, momentum=0.9)
            >>> spec = sl.SequenceSpec(sl.TextSpec(9, 4), sl.TextSpec(9, 4))
            >>> type(MyGRU(spec, d_model=4).configure_optimizers()["optimizer"]).__name__
            'SGD'
        """
        return make_adamw(groups, self.recipe)

    def configure_optimizers(self) -> Any:
        """Return the optimizer of `make_optimizer` with the schedule of the recipe."""
        self._frozen = frozenset(n for n, p in self.named_parameters() if not p.requires_grad)
        return configure_optimizer(self, self.recipe, self._total_steps(), self.make_optimizer)

    def _total_steps(self) -> float:
        trainer = self._trainer
        if trainer is None:
            return math.inf
        if trainer.ckpt_path and self.recipe.schedule != "cosine":
            # The checkpoint holds the warm-up. Counting the steps would set up the training data
            # before Lightning restores the states of its loaders, and these would be lost
            # (Lightning-AI/pytorch-lightning#20550).
            return math.inf
        steps = total_steps(trainer)
        if not getattr(trainer, "fast_dev_run", False):
            warn_of_long_warmup(self.recipe, steps)
        return steps

    def _log_figures(self, figures: dict[str, Tensor], *, prog_bar: bool = True) -> None:
        """Log figures that are already equal on all ranks; the maximum does not change them."""
        named = {self._name(name): value.to(self.device) for name, value in figures.items()}
        self.log_dict(named, prog_bar=prog_bar, sync_dist=True, reduce_fx="max")

    def _batches_done(self) -> int:
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress.total
        return int(progress.processed)

    def _name(self, figure: str) -> str:
        return f"{'test' if self.trainer.testing else 'val'}/{figure}"


def _specs_of_data(trainer: Any, stage: str) -> list[SequenceSpec]:
    """The specs of the data module or of the loaders that were passed to the Trainer."""
    given = [getattr(trainer, "datamodule", None)]
    fit = getattr(trainer, "fit_loop", None)
    loops = [fit, fit and fit.epoch_loop.val_loop]
    if stage != "fit":
        loops = [getattr(trainer, f"{TrainerFn(stage).value}_loop", None)]
    for loop in loops:
        source = getattr(loop, "_data_source", None)  # loaders have no public name before the run
        given += tree_leaves(getattr(source, "instance", None))
    specs = [getattr(each, "spec", None) for each in given]
    return [spec for spec in specs if isinstance(spec, SequenceSpec)]
