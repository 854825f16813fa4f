"""`SequenceModule`: training, validation, test and inference for any encoder and decoder.

The flow of one batch: `encode` embeds the source and returns a `Memory`; `decode` embeds the target
and returns one vector per token; `head` maps the vectors to logits. A subclass only sets
`self.encoder` and `self.decoder`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqlearn.batch import START, Memory, SequenceBatch, check_batch, hide_rows
from seqlearn.core.checkpointed import Checkpointed
from seqlearn.core.compilation import Compiles
from seqlearn.core.compiled import keep_plain_names
from seqlearn.core.exporting import Exports
from seqlearn.core.fine_tuning import FineTuning
from seqlearn.core.generation_config import GenerationConfig
from seqlearn.core.hooks import complete_hooks, record_hooks
from seqlearn.core.hparams import check_spec
from seqlearn.core.inference import GenerationMixin
from seqlearn.core.inference_precision import ReducedPrecision
from seqlearn.core.loss_output import LossOutput
from seqlearn.core.prediction import PredictionMixin
from seqlearn.core.recipe import Recipe, check_smoothing
from seqlearn.core.sharding import Sharded
from seqlearn.core.steps import TrainingSteps
from seqlearn.core.tbptt import CarriedState
from seqlearn.instrumentation import decoding_step, end_teacher_forcing, generation, muted
from seqlearn.nn import Decoder, Encoder, State, shares_memory
from seqlearn.plain_data import check_whole_number
from seqlearn.spec import AlignedSpec, SequenceSpec


class SequenceModule(
    GenerationMixin,
    PredictionMixin,
    Exports,
    ReducedPrecision,
    FineTuning,
    TrainingSteps,
    Sharded,
    Compiles,
    Checkpointed,
):
    """The base class of every architecture.

    A subclass calls `super().__init__(spec, d_model=…)` and sets `self.encoder` and
    `self.decoder`. Its constructor arguments must be plain data. numpy scalars, paths and enums are
    converted before the constructor runs, and tuples become lists, so that the constructor gets the
    same values when a checkpoint is loaded. They are saved in `hparams` and, with the spec, in
    every checkpoint, so `self.save_hyperparameters()` is optional; call it with `ignore=` to
    exclude arguments. An argument `recipe` or `generation` of the subclass takes effect even if it
    is not passed to `super().__init__`. Both may also be assigned later, and are saved.

    Args:
        spec: The types of source and target, such as `data.spec`.
        d_model: Width of embeddings, memory and decoder outputs.
        tie_embeddings: Whether the output layer and, with a joint vocabulary, the source embedding
            share the weight of the target embedding.
        recipe: Training options; by default `default_recipe` of the class.
        generation: Decoding options, the defaults of `generate`.

    Attributes:
        default_recipe: The training options of a module that is built without `recipe=`.

    Raises:
        TypeError: If `spec` is not a `SequenceSpec`, or an argument of the subclass is not plain
            data.

    Examples:
        >>> import seqlearn as sl
        >>> from seqlearn.nn import GRULayer, RecurrentDecoder, RecurrentEncoder, stack_layers
        >>> class MyModel(sl.SequenceModule):
        ...     def __init__(self, spec, *, d_model=8, num_layers=1, **base):
        ...         super().__init__(spec, d_model=d_model, **base)
        ...         layers = stack_layers(GRULayer, d_model, num_layers)
        ...         self.encoder = RecurrentEncoder(layers, d_model, dropout=0.1)
        ...         layers = stack_layers(GRULayer, d_model, num_layers)
        ...         self.decoder = RecurrentDecoder(layers, d_model, dropout=0.1)
        >>> model = MyModel(sl.SequenceSpec(sl.TextSpec(9, 4), sl.TextSpec(9, 4)), num_layers=2)
        >>> model.hparams["num_layers"], len(model.generate([[4, 5], [6]], max_new_tokens=3))
        (2, 2)
    """

    default_recipe: ClassVar[Recipe] = Recipe()
    encoder: Encoder
    decoder: Decoder

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        complete_hooks(cls, SequenceModule)

    def __init__(
        self,
        spec: SequenceSpec,
        *,
        d_model: int,
        tie_embeddings: bool = False,
        recipe: Recipe | None = None,
        generation: GenerationConfig | None = None,
    ) -> None:
        super().__init__()
        check_spec(spec)
        d_model = check_whole_number(d_model, "d_model", 1)
        captured: dict[str, Any] = self.__dict__.pop("_captured", {})
        recipe = captured.get("recipe") if recipe is None else recipe
        generation = captured.get("generation") if generation is None else generation
        self.recipe = self.default_recipe if recipe is None else recipe
        self.generation = GenerationConfig() if generation is None else generation
        self._keep_arguments(captured)
        self.spec, self.d_model = spec, d_model
        self.source_embedding = (
            None if spec.source is None else spec.source.make_input_layer(d_model)
        )
        self.target_embedding = spec.target.make_target_embedding(d_model)
        self.head = nn.Linear(d_model, spec.target.output_size)
        self.metrics = spec.target.make_metrics()
        if tie_embeddings:
            self._tie_embeddings()
        self._carried = CarriedState(self)
        keep_plain_names(self)

    def __getattr__(self, name: str) -> Any:
        """Find submodules, as torch does.

        Raises:
            AttributeError: If the attribute does not exist. For a missing encoder or decoder the
                message states how to set it.
        """
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name not in ("encoder", "decoder"):
                raise
        raise AttributeError(
            f"{type(self).__name__} has no {name}; set self.{name} in __init__, after "
            "super().__init__(spec, d_model=…)"
        )

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
        """Encode the source.

        The encoder gets an empty source as one unmasked position of padding. In the returned memory
        the mask of such a row is False, and its states and pooled vector are zero.

        Args:
            source: Ids `batch source`, vectors `batch size`, or `None`.
            source_lengths: Tokens in each source; `None` if the sources are not padded ids.

        Returns:
            The memory; `None` without a source.
        """
        if self.spec.source is None or self.source_embedding is None or source is None:
            return None
        inputs, mask, empty = self.spec.source.embed(self.source_embedding, source, source_lengths)
        memory = self.encoder(inputs, mask)
        return memory if empty is None else hide_rows(memory, empty)

    @property
    def shares_memory(self) -> bool:
        """Whether `decode` accepts several rows for each row of the memory; see `nn.Decoder`."""
        return shares_memory(self.decoder)

    def decode(
        self, tokens: Int[Tensor, "batch target"], memory: Memory | None, state: State | None = None
    ) -> tuple[Float[Tensor, "batch target d_model"], State]:
        """Decode target tokens to vectors, from which `head` predicts the next tokens.

        Without tokens the output is empty and the state does not change. If gradients are enabled,
        all parameters then get a zero gradient, because other ranks wait for one.

        Args:
            tokens: Target ids, the start symbol first.
            memory: The output of `encode`; `None` for a language model.
            state: The decoder's state after the previous tokens; `None` at the start.

        Returns:
            The vectors, and the decoder's state after the tokens.

        Raises:
            ValueError: If the target of the model is not text.
        """
        if self.target_embedding is None:
            raise ValueError(
                f"decode needs a target that is text, and the target of this model is "
                f"{type(self.spec.target).__name__}; use `encode` instead"
            )
        if tokens.shape[1] > 0:
            return self.decoder(self.target_embedding(tokens), memory, state)
        if not torch.is_grad_enabled():
            return self.target_embedding(tokens), state
        with muted():
            start = self.target_embedding(tokens.new_full((len(tokens), 1), START))
            return self.decoder(start, memory, None)[0][:, :0], state

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Predict a batch by teacher forcing.

        Returns:
            Logits `batch target-1 vocab` for the tokens after the start symbol, logits
            `batch labels` or, of tags, `batch words labels`, or vectors `batch size`.
        """
        return self.head(self.forward_hidden(batch)[0])

    def forward_hidden(
        self, batch: SequenceBatch, state: State | None = None
    ) -> tuple[Tensor, State | None]:
        """Compute the vectors from which `head` predicts a batch, by teacher forcing.

        Args:
            batch: The batch.
            state: The decoder's state before the batch; `None` at the start of a text.

        Returns:
            Vectors `batch target-1 d_model` and the decoder's state after them; for a target
            without a decoder `batch d_model` (of tags `batch words d_model`) and `None`.

        Raises:
            TypeError: If `batch` is not a `SequenceBatch`.
        """
        check_batch(batch)
        with generation(range(batch.size), batch.size, batch.source, batch.source_lengths):
            memory = self.encode(batch.source, batch.source_lengths)
            target = self.spec.target
            if not target.needs_decoder:
                assert memory is not None
                end_teacher_forcing(batch.size)
                if isinstance(target, AlignedSpec):
                    return target.read_states(memory, batch), None
                return memory.pooled, None
            decoding_step(None)
            hidden, state = self.decode(batch.target[:, :-1], memory, state)
            end_teacher_forcing(batch.size, batch.target, batch.target_lengths)
        return hidden, state

    def compute_loss(
        self, batch: SequenceBatch, state: State | None = None, *, smoothing: float = 0.0
    ) -> LossOutput:
        """Compute the summed loss and per-token statistics of a batch.

        The result depends only on the arguments; the module stores nothing. Training and validation
        steps pass the carried state of a stateful decoder (truncated backpropagation through time).

        Args:
            batch: The batch. Examples duplicated to give all ranks equally many are excluded.
            state: The decoder's state before the batch; `None` at the start of a text.
            smoothing: Label smoothing of the loss, from 0 to below 1.

        Raises:
            TypeError: If `batch` is not a `SequenceBatch`, `state` is a number, or `smoothing` is
                not a number.
            ValueError: If `smoothing` is out of range.
        """
        check_batch(batch)
        if isinstance(state, int | float | str):
            raise TypeError(
                f"state: expected the state of a decoder or None, got {state!r}; pass label "
                "smoothing by name: smoothing=0.1"
            )
        check_smoothing(smoothing)
        hidden, state = self.forward_hidden(batch, state)
        target = self.spec.target
        labels, mask = target.labels_of(batch)
        hidden = hidden if target.is_sequence else hidden[:, None]
        labels = labels[mask]
        result = target.compute_loss(hidden[mask], labels, self.head, smoothing=smoothing)
        measured = (result.loss, result.num_items, result.nll, result.correct)
        return LossOutput(*measured, mask, state, labels, result.predicted)


record_hooks(SequenceModule)
