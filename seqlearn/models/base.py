"""`SequenceModule`: training, validation, test and prediction for any encoder and decoder.

The flow of one batch: `encode` embeds the source and gives a `Memory`; `decode` embeds the target
and answers each of its tokens with a vector; `head` turns vectors into logits. A subclass sets
`self.encoder` and `self.decoder`, and that is all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.parsing import save_hyperparameters
from torch import Tensor, nn

from seqlearn.batch import Memory, SequenceBatch, length_mask
from seqlearn.metrics import CorpusBLEU, TokenStatistics
from seqlearn.models import checkpoint as checkpoints
from seqlearn.models.answering import Answers
from seqlearn.models.arguments import keeping_arguments, plain
from seqlearn.models.carrying import Carried
from seqlearn.models.optimization import configure_optimizer
from seqlearn.models.pretrained import Pretrained
from seqlearn.models.recipe import Recipe
from seqlearn.models.sides import input_layer, output_size
from seqlearn.nn import Decoder, Encoder, State, linear_cross_entropy
from seqlearn.probe import begin as announce_begin
from seqlearn.probe import end_known as announce_known
from seqlearn.probe import step as announce_step
from seqlearn.spec import PAD, START, ClassesSpec, SequenceSpec, TextSpec, VectorSpec

NOMINAL_TOKENS = 4096.0
"""The count that a step's summed loss is divided by; `on_before_optimizer_step` puts the true
count of all ranks and micro-batches in its place, so the value only keeps gradients in range."""


Module = TypeVar("Module", bound="SequenceModule")


class Measured(NamedTuple):
    """What a batch shows of a module.

    Attributes:
        loss: Summed over what counts, in nats (for vectors: squared errors), with its gradient.
        total: How many tokens, examples or numbers were summed.
        nll: Negative log-likelihood of each token or class that counts, in nats.
        correct: Whether each was the likeliest.
        mask: Which tokens (or examples, `batch 1`) count.
    """

    loss: Tensor
    total: Tensor
    nll: Tensor
    correct: Tensor
    mask: Tensor


class SequenceModule(Answers, Pretrained):
    """The base of every architecture.

    A subclass calls `super().__init__(spec, d_model=…)` and sets `self.encoder` and
    `self.decoder`. Its constructor's arguments must be plain data; they are kept in `hparams` and,
    with the spec, in every checkpoint. Every subclass takes `recipe=` also without asking for it.

    Args:
        spec: What goes in and what comes out, such as `data.spec`.
        d_model: Width of embeddings, memory and decoder answers.
        tie_embeddings: Whether the target's embedding is also the output layer's weight, and, with
            a joint vocabulary, the source's embedding.
        recipe: How to train.

    Raises:
        TypeError: If an argument of the subclass is not plain data.
    """

    encoder: Encoder
    decoder: Decoder

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__init__ = keeping_arguments(cls)  # type: ignore[method-assign]

    def __init__(
        self,
        spec: SequenceSpec,
        *,
        d_model: int,
        tie_embeddings: bool = False,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__()
        arguments: dict[str, Any] = self.__dict__.pop("_arguments", {})
        arguments.pop("spec", None)
        if d_model < 1:
            raise ValueError(f"expected a d_model of at least 1, got {d_model}")
        self.recipe: Recipe = arguments.get("recipe") or recipe or Recipe()
        arguments["recipe"] = self.recipe
        kept = {name: plain(value, name) for name, value in arguments.items()}
        save_hyperparameters(self, given_hparams=kept)
        self._log_hyperparams = True
        self.spec, self.d_model = spec, d_model
        self.source_embedding = input_layer(spec.source, d_model)
        self.target_embedding = (
            input_layer(spec.target, d_model) if isinstance(spec.target, TextSpec) else None
        )
        self.head = nn.Linear(d_model, output_size(spec.target))
        if tie_embeddings:
            self._tie_embeddings()
        self.statistics = TokenStatistics()
        self.bleu, self.bleu_lc = CorpusBLEU(), CorpusBLEU(lowercase=True)
        self._count_since_step: Tensor | float = 0.0
        self._carried = Carried(self)

    def _tie_embeddings(self) -> None:
        if self.target_embedding is None:
            raise ValueError("tie_embeddings=True needs a target that is text")
        self.head.weight = self.target_embedding.weight  # type: ignore[assignment]
        if self.spec.joint_vocabulary:
            self.source_embedding.weight = self.target_embedding.weight  # type: ignore[union-attr]

    # The flow of one batch

    def encode(
        self, source: Tensor | None, source_lengths: Int[Tensor, " batch"] | None
    ) -> Memory | None:
        """Read the source.

        Args:
            source: Ids `batch source`, vectors `batch size`, or `None`.
            source_lengths: Tokens in each source, where it is ids.

        Returns:
            What a decoder may know of it; `None` without a source.
        """
        if self.source_embedding is None or source is None:
            return None
        if source_lengths is not None and source.shape[1] == 0:
            # One place of padding, so that no encoder need take a sequence of none, and each
            # weight has a gradient (of zero) even here.
            source = nn.functional.pad(source, (0, 1), value=PAD)
        inputs = self.source_embedding(source)
        if isinstance(self.spec.source, VectorSpec) or source_lengths is None:
            inputs = inputs[:, None] if inputs.ndim == 2 else inputs
            source_lengths = torch.full(inputs.shape[:1], inputs.shape[1], device=inputs.device)
        return self.encoder(inputs, length_mask(source_lengths, inputs.shape[1]))

    def decode(
        self, tokens: Int[Tensor, "batch target"], memory: Memory | None, state: State | None = None
    ) -> tuple[Float[Tensor, "batch target d_model"], State]:
        """Answer each target token with a vector from which `head` reads the next one."""
        assert self.target_embedding is not None
        return self.decoder(self.target_embedding(tokens), memory, state)

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Predict a batch whose target is known.

        Returns:
            Logits `batch target-1 vocab` for the tokens after the start symbol, logits
            `batch labels`, or vectors `batch size`.
        """
        return self.head(self.read(batch)[0])

    def read(self, batch: SequenceBatch, state: State | None = None) -> tuple[Tensor, State | None]:
        """Make the vectors from which `head` predicts a batch whose target is known.

        Args:
            batch: The batch.
            state: What the decoder carries from the text before; `None` at the start.

        Returns:
            Vectors `batch target-1 d_model` and the decoder's state after them; for a target that
            is no text `batch d_model`, and `None`.
        """
        rows = range(batch.size)
        announce_begin(rows, batch.size, batch.source, batch.source_lengths)
        memory = self.encode(batch.source, batch.source_lengths)
        if not isinstance(self.spec.target, TextSpec):
            assert memory is not None
            announce_known(batch.size)
            return memory.summary, None
        announce_step(None)
        hidden, state = self.decode(batch.target[:, :-1], memory, state)
        announce_known(batch.size, batch.target, batch.target_lengths)
        return hidden, state

    def measure(self, batch: SequenceBatch, smoothing: float = 0.0) -> Measured:
        """Compare the predictions of a batch with its targets.

        Args:
            batch: The batch; its repeats do not count.
            smoothing: Label smoothing of the loss.
        """
        hidden, state = self.read(batch, self._carried.before(batch))
        if isinstance(self.spec.target, TextSpec):
            assert batch.target_lengths is not None
            self._carried.after(state)
            labels = batch.target[:, 1:]
            mask = length_mask(batch.target_lengths - 1, labels.shape[1]) & batch.kept[:, None]
            mask &= labels != START  # which stands between the documents of a stream
        else:
            hidden, labels, mask = (
                hidden[:, None],
                batch.target[:, None],
                batch.kept[:, None],
            )
        if isinstance(self.spec.target, VectorSpec):
            error = (self.head(hidden[mask]) - labels[mask]).square()
            return Measured(error.sum(), torch.tensor(error.numel()), error, error == 0, mask)
        measured = linear_cross_entropy(
            hidden[mask], self.head.weight, self.head.bias, labels[mask], smoothing
        )
        return Measured(measured.loss, mask.sum(), measured.nll, measured.correct, mask)

    # Steps

    def setup(self, stage: str) -> None:
        """Check that the data fit, and switch off gradients of a half that is not used."""
        self._count_since_step = 0.0
        other = getattr(getattr(self.trainer, "datamodule", None), "spec", None)
        if isinstance(other, SequenceSpec) and (differences := self.spec.differences(other)):
            raise ValueError(
                f"the model's spec does not fit the data: {'; '.join(differences)} (model against "
                "data); build the model with this data module's spec, or use the data it was "
                "trained on"
            )
        halves = ((self.encoder, self.spec.source), (self.decoder, self.target_embedding))
        for half, use in halves:
            if use is None and isinstance(half, nn.Module):
                half.requires_grad_(requires_grad=False)

    def on_train_batch_start(self, batch: SequenceBatch, batch_idx: int) -> None:
        """Seed all draws of this step from (seed, rank, number of the batch)."""
        number = self.trainer.fit_loop.total_batch_idx
        state = np.random.SeedSequence([self.recipe.seed, self.global_rank, number])
        torch.manual_seed(int(state.generate_state(1, np.uint64)[0]))

    def training_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        """The summed loss over a fixed count; see `on_before_optimizer_step`."""
        measured = self.measure(batch, self.recipe.label_smoothing)
        self._count_since_step = self._count_since_step + measured.total
        mean = measured.loss.detach() / measured.total.clamp(min=1)
        self.log("train/loss", mean, prog_bar=True, batch_size=batch.size)
        return measured.loss / NOMINAL_TOKENS

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the gradient by the true count over all ranks and micro-batches of the step."""
        count = torch.as_tensor(self._count_since_step, dtype=torch.long, device=self.device)
        self._count_since_step = 0.0
        total = float(self.trainer.strategy.reduce(count, reduce_op="sum"))
        if total == 0:  # a training step of the user's own, which counts and divides itself
            return
        shares = self.trainer.world_size * self.trainer.accumulate_grad_batches
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        torch._foreach_mul_(gradients, NOMINAL_TOKENS * shares / total)

    def validation_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        """Add the batch to the epoch's statistics."""
        measured = self.measure(batch)
        if isinstance(self.spec.target, VectorSpec):
            loss = measured.loss / measured.total.clamp(min=1)
            self.log(self._name("loss"), loss, batch_size=int(measured.total), sync_dist=True)
        else:
            self.statistics.update(measured.nll, measured.correct, measured.mask)

    def on_validation_epoch_end(self) -> None:
        """Log loss, perplexity, token accuracy and exact match (classes: loss and accuracy)."""
        if isinstance(self.spec.target, VectorSpec):
            return
        figures = self.statistics.compute()
        self.statistics.reset()
        if isinstance(self.spec.target, ClassesSpec):
            figures = {"loss": figures["loss"], "accuracy": figures["token_accuracy"]}
        self.log_dict({self._name(name): value for name, value in figures.items()}, prog_bar=True)

    def test_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        """As in validation and, for text, compare generated texts with the raw references."""
        self.validation_step(batch, batch_idx)
        if (side := self._written) is not None:
            kept = batch.kept.tolist()
            texts = [text for text, keep in zip(self.answer(batch), kept, strict=True) if keep]
            truth = batch.references or side.decode(batch.target.tolist())
            references = [str(text) for text, keep in zip(truth, kept, strict=True) if keep]
            self.bleu.update(texts, references)
            self.bleu_lc.update(texts, references)

    def on_test_epoch_end(self) -> None:
        """Log what validation logs and, for text, BLEU with and without case."""
        self.on_validation_epoch_end()
        if self._written is not None:
            for name, bleu in (("bleu", self.bleu), ("bleu_lc", self.bleu_lc)):
                figure = bleu.compute()
                bleu.reset()
                self.log(self._name(name), figure, rank_zero_only=False)
                rank_zero_info(f"{self._name(name)} {figure:.2f}  {bleu.signature}")

    def predict_step(self, batch: SequenceBatch, batch_idx: int) -> list[Any]:
        """Answer each example: a text, a label or a vector. Repeats are left out."""
        if isinstance(self.spec.target, TextSpec):
            answers: list[Any] = self.answer(batch)
        elif isinstance(self.spec.target, ClassesSpec):
            answers = [self.spec.target.labels[i] for i in self(batch).argmax(-1).tolist()]
        else:
            answers = list(self(batch).cpu())
        return [a for a, keep in zip(answers, batch.kept.tolist(), strict=True) if keep]

    @property
    def _written(self) -> TextSpec | None:
        """The target, if there are texts to compare with references: not in a language model."""
        target = self.spec.target
        if not isinstance(target, TextSpec) or self.spec.source is None:
            return None
        return None if target.tokenizer is None else target

    def configure_optimizers(self) -> Any:
        """AdamW and the schedule of the recipe."""
        return configure_optimizer(
            self, self.recipe, lambda: self.trainer.estimated_stepping_batches
        )

    def _name(self, figure: str) -> str:
        return f"{'test' if self.trainer.testing else 'val'}/{figure}"

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the class's name and the spec into the checkpoint, as plain data."""
        checkpoint[checkpoints.KEY] = {
            "class": checkpoints.class_name(type(self)),
            "spec": self.spec.to_dict(),
            "carried": self._carried.of_all_ranks(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the weights of another class, of a model of other data, or of a damaged file."""
        if self._trainer is not None and self._trainer.ckpt_path is not None:
            checkpoints.refuse_damaged(self._trainer.ckpt_path)
        kept = checkpoint.get(checkpoints.KEY)
        if kept is None:
            raise ValueError(
                f"expected a checkpoint of a seqlearn module, got one without {checkpoints.KEY!r}"
            )
        mine = checkpoints.class_name(type(self))
        if kept["class"] != mine:
            raise ValueError(f"expected a checkpoint of {mine}, got one of {kept['class']}")
        if differences := self.spec.differences(SequenceSpec.from_dict(kept["spec"])):
            raise ValueError(
                f"the checkpoint was trained on other data: {'; '.join(differences)} (this model "
                "against the checkpoint); take the data module and the seed of its training"
            )
        self._carried.resume(kept.get("carried"))

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls: type[Module],
        checkpoint_path: str | Path,
        map_location: Any = None,
        *,
        strict: bool = True,
        **overrides: Any,
    ) -> Module:
        """Build the module that a checkpoint holds; nothing but the file is needed.

        Only plain data and tensors are read (`weights_only=True`), also from an address.

        Args:
            checkpoint_path: A file, or an address that fsspec can open.
            map_location: Where the tensors go, as in `torch.load`.
            strict: Whether the weights must fit exactly.
            overrides: Constructor arguments that replace those in the checkpoint.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged, unsafe, or holds a module of another class.
        """
        checkpoint = checkpoints.read(checkpoint_path, map_location)
        written = checkpoint[checkpoints.KEY]["class"]
        checkpoints.refuse_other_class(
            checkpoint_path, "checkpoint", written, cls, "load_from_checkpoint"
        )
        spec = SequenceSpec.from_dict(checkpoint[checkpoints.KEY]["spec"])
        arguments = checkpoints.hyperparameters(checkpoint)
        arguments["recipe"] = Recipe(**arguments["recipe"])
        module = cls(spec, **(arguments | overrides))
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"], strict=strict)
        return module
