"""One step of each decoder as a function of tensors: state in, state out.

A step reads the tokens of `batch` sources with `beam` rows each. What comes from the source has one
row per source, never one per beam. Before it reads, it takes the rows `parents` of the state, so
that beams move, and finished rows leave, within the graph.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from seqlearn.batch import Memory
from seqlearn.core import SequenceModule
from seqlearn.export.traceable import (
    hide,
    merge_heads,
    project,
    project_memory,
    project_query,
    weigh,
)
from seqlearn.instrumentation import emit
from seqlearn.models.attention_seq2seq import AttentionDecoder
from seqlearn.models.feedforward import FeedForwardDecoder
from seqlearn.nn import (
    DecoderLayer,
    MultiHeadAttention,
    PreNormDecoderLayer,
    RecurrentDecoder,
    TransformerDecoder,
)

Tensors = Mapping[str, Tensor]


class StateTensor(NamedTuple):
    """A tensor of the decoder's state.

    Attributes:
        name: Its name.
        shape: Its shape without the rows; 0 is the axis that grows with the tokens.
    """

    name: str
    shape: tuple[int, ...]


class Step(nn.Module, ABC):
    """One step of a decoder.

    Attributes:
        states: The tensors of its state. Those that `start` does not return begin as zeros.
        memory: The names of what `start` returns and every step reads.
        given_states: The names of the initial states that `start` returns.
        one_token: Whether a step reads one token only.
    """

    states: list[StateTensor]
    memory: tuple[str, ...] = ()
    given_states: tuple[str, ...] = ()
    one_token: ClassVar[bool] = False

    @abstractmethod
    def start(self, memory: Memory) -> dict[str, Tensor]:
        """What the steps need of a source: the tensors `memory`, and initial states."""

    @abstractmethod
    def forward(
        self, inputs: Tensor, memory: Tensors, state: Tensors, beam: Any
    ) -> tuple[Tensor, list[Tensor]]:
        """Read tokens.

        Args:
            inputs: The new tokens, embedded, `rows time d_model`, each source's rows together.
            memory: The tensors `memory`, by name, one row for each source.
            state: The tensors `states`, by name.
            beam: Rows of each source.

        Returns:
            Vectors `rows time d_model`, and the new state in the order of `states`.
        """


class TransformerStep(Step):
    """The step of a `TransformerDecoder` with a key–value cache.

    Args:
        decoder: The decoder.
        has_source: Whether it has a memory.

    Raises:
        TypeError: If a layer, or an attention in it, is not one of `seqlearn.nn`.
    """

    def __init__(self, decoder: TransformerDecoder, *, has_source: bool) -> None:
        super().__init__()
        self.decoder, self.has_source = decoder, has_source
        self.states = []
        names = []
        for number, layer in enumerate(decoder.layers):
            _check_layer(layer, f"decoder.layers.{number}")
            attention: Any = layer.self_attention
            shape = (attention.num_heads, 0, attention.d_model // attention.num_heads)
            for part in ("key", "value"):
                self.states.append(StateTensor(f"past.{number}.{part}", shape))
                names.append(f"source.{number}.{part}")
        self.memory = ("mask", *names) if has_source else ()

    def start(self, memory: Memory) -> dict[str, Tensor]:
        """The mask, and the keys and values of cross-attention in each layer."""
        found = {"mask": memory.mask}
        for number, layer in enumerate(self.decoder.layers):
            attention: Any = layer.cross_attention
            pair = project_memory(attention, memory.states)
            for name, part in zip(("key", "value"), pair, strict=True):
                found[f"source.{number}.{name}"] = part
        return found

    def forward(
        self, inputs: Tensor, memory: Tensors, state: Tensors, beam: Any
    ) -> tuple[Tensor, list[Tensor]]:
        """See `Step.forward`."""
        past, (rows, time, _) = state["past.0.key"].shape[2], inputs.shape
        place = torch.arange(past + time)
        later = hide(place <= (past + torch.arange(time))[:, None])
        x, new = self.decoder.positions(inputs, past).flatten(0, 1), []
        layers: Any = self.decoder.layers
        for number, layer in enumerate(layers):
            pre = isinstance(layer, PreNormDecoderLayer)
            before = [state[f"past.{number}.{part}"] for part in ("key", "value")]

            y = layer.norm_self_attention(x) if pre else x
            found, cache = _causal(layer.self_attention, y, rows, before, past, later)
            x = x + found if pre else layer.norm_self_attention(x + found)
            if self.has_source:
                y = layer.norm_cross_attention(x) if pre else x
                pair = [memory[f"source.{number}.{part}"] for part in ("key", "value")]
                found = _cross(layer.cross_attention, y, rows, pair, memory["mask"], beam)
                x = x + found if pre else layer.norm_cross_attention(x + found)
            if pre:
                x = x + layer.feedforward(layer.norm_feedforward(x))
            else:
                x = layer.norm_feedforward(x + layer.feedforward(x))
            emit("states", layer, x.reshape(inputs.shape), ("target",))
            new += cache
        x = x if self.decoder.norm is None else self.decoder.norm(x)
        return x.reshape(inputs.shape), new


def _causal(
    attention: Any, x: Tensor, rows: Any, before: Sequence[Tensor], past: Any, later: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Causal self-attention; returns the keys and values of all tokens too."""
    query, key, value = project(attention, x, rows, past)
    cache = [torch.cat([before[0], key], 2), torch.cat([before[1], value], 2)]
    weights = weigh(query, cache[0], later)
    emit("attention", attention, weights, ("target", "target"))
    return attention.output(merge_heads(weights @ cache[1]).flatten(0, 1)), cache


def _cross(
    attention: Any, x: Tensor, rows: Any, pair: Sequence[Tensor], mask: Tensor, beam: Any
) -> Tensor:
    """Cross-attention: the beams of a source are queries of one memory."""
    query = project_query(attention, x, mask.shape[0])
    weights = weigh(query, pair[0], hide(mask[:, None, None]))

    def recorded() -> Tensor:
        seen = weights * mask[:, None, None]
        time = x.shape[0] // rows
        split = seen.reshape(mask.shape[0], attention.num_heads, beam, time, mask.shape[1])
        return split.transpose(1, 2).flatten(0, 1)

    emit("attention", attention, recorded, ("target", "source"))
    found = merge_heads(weights @ pair[1]) * mask.any(1)[:, None, None]
    return attention.output(found.flatten(0, 1))


def _check_layer(layer: nn.Module, name: str) -> None:
    """Check that a layer is one of those that `TransformerStep` computes."""
    parts = {name: layer}
    if type(layer) in (DecoderLayer, PreNormDecoderLayer):
        parts = {
            f"{name}.{part}": getattr(layer, part) for part in ("self_attention", "cross_attention")
        }
    wanted = "an attention of seqlearn.nn" if len(parts) > 1 else "a decoder layer of seqlearn.nn"
    for part, found in parts.items():
        if type(found) is not MultiHeadAttention:
            raise TypeError(
                f"{part}: expected {wanted}, which can be exported with its cache, got "
                f"{type(found).__name__}"
            )


class RecurrentStep(Step):
    """The step of a `RecurrentDecoder`.

    Args:
        decoder: The decoder.
        has_source: Whether the initial state comes from a memory; zeros otherwise.
    """

    def __init__(self, decoder: RecurrentDecoder, *, has_source: bool) -> None:
        super().__init__()
        self.decoder, self.has_source = decoder, has_source
        self.states = _layer_states(decoder)
        self.given_states = tuple(state.name for state in self.states) if has_source else ()

    def start(self, memory: Memory) -> dict[str, Tensor]:
        """The initial states."""
        states = self.decoder.initial_states(memory)
        return _by_name(self.states, _flat(states))

    def forward(
        self, inputs: Tensor, memory: Tensors, state: Tensors, beam: Any
    ) -> tuple[Tensor, list[Tensor]]:
        """See `Step.forward`."""
        del memory, beam  # the source is in the initial state
        outputs, layers = self.decoder(inputs, None, _nested(self.decoder, state))
        return outputs, _flat(layers)


class AttentionStep(Step):
    """The step of an `AttentionDecoder`."""

    memory = ("key", "states", "mask")

    def __init__(self, decoder: AttentionDecoder) -> None:
        super().__init__()
        self.decoder = decoder
        self.states = _layer_states(decoder.recurrence)
        if decoder.input_feeding:
            width = decoder.attentional_hidden.feedforward.out_features
            self.states.append(StateTensor("hidden", (width,)))
        self.given_states = tuple(state.name for state in self.states)

    def start(self, memory: Memory) -> dict[str, Tensor]:
        """The encoder states with their keys and mask, and the initial states."""
        first = _flat(self.decoder.recurrence.initial_states(memory))
        if self.decoder.input_feeding:
            first.append(torch.zeros_like(memory.pooled))
        key = self.decoder.attentional_hidden.attention.project_keys(memory.states)
        found = {"key": key, "states": memory.states, "mask": memory.mask}
        return found | _by_name(self.states, first)

    def forward(
        self, inputs: Tensor, memory: Tensors, state: Tensors, beam: Any
    ) -> tuple[Tensor, list[Tensor]]:
        """See `Step.forward`."""
        recurrence, rows = self.decoder.recurrence, inputs.shape[0]
        if self.decoder.input_feeding:
            fed = (state["hidden"] / recurrence.scale)[:, None]
            inputs = torch.cat([inputs, fed], -1)
        x, layers = recurrence(inputs, None, _nested(recurrence, state))
        # The rows of a source are queries of one memory.
        queries = x.reshape(rows // beam, beam * x.shape[1], x.shape[2])
        whole = Memory(memory["states"], memory["mask"], memory["states"][:, 0])
        hidden = self.decoder.attentional_hidden(queries, memory["key"], whole).reshape(x.shape)
        new = _flat(layers)
        return hidden, [*new, hidden[:, -1]] if self.decoder.input_feeding else new


class FedAttentionStep(AttentionStep):
    """The step of an `AttentionDecoder` with input feeding, one token at a time."""

    one_token = True


class FeedForwardStep(Step):
    """The step of a `FeedForwardDecoder`.

    Args:
        decoder: The decoder.
        d_model: Width of the embeddings.
        has_source: Whether it reads a memory.
    """

    def __init__(self, decoder: FeedForwardDecoder, d_model: int, *, has_source: bool) -> None:
        super().__init__()
        self.decoder = decoder
        self.states = [StateTensor("window", (decoder.window - 1, d_model))]
        self.memory = ("pooled",) if has_source else ()

    def start(self, memory: Memory) -> dict[str, Tensor]:
        """The pooled vector."""
        return {"pooled": memory.pooled}

    def forward(
        self, inputs: Tensor, memory: Tensors, state: Tensors, beam: Any
    ) -> tuple[Tensor, list[Tensor]]:
        """See `Step.forward`."""
        whole = None
        if self.memory:
            pooled = memory["pooled"]
            rows = pooled[:, None].expand(-1, beam, -1).flatten(0, 1)
            whole = Memory(rows[:, None], torch.ones_like(rows[:, :1], dtype=torch.bool), rows)
        outputs, window = self.decoder(inputs, whole, state["window"])
        return outputs, [window]


def make_step(module: SequenceModule) -> Step:
    """The step of a module's decoder.

    Raises:
        TypeError: If its decoder, or a part of it, is not one of seqlearn's.
    """
    decoder: Any = module.decoder
    has_source = module.spec.source is not None
    if type(module).decode is not SequenceModule.decode:
        raise TypeError(
            f"{type(module).__name__} overrides decode, and export writes the decoder itself; put "
            "the change into the decoder, or export a class that does not override it"
        )
    if type(decoder) is TransformerDecoder:
        return TransformerStep(decoder, has_source=has_source)
    if type(decoder) is RecurrentDecoder:
        return RecurrentStep(decoder, has_source=has_source)
    if type(decoder) is AttentionDecoder:
        return (FedAttentionStep if decoder.input_feeding else AttentionStep)(decoder)
    if type(decoder) is FeedForwardDecoder:
        return FeedForwardStep(decoder, module.d_model, has_source=has_source)
    raise TypeError(
        "expected a decoder of FeedForward, RNN, GRU, LSTM, AttentionSeq2Seq or Transformer, which "
        f"can be exported with its state, got {type(decoder).__name__}"
    )


def _layer_states(decoder: RecurrentDecoder) -> list[StateTensor]:
    sizes = [
        (layer, part, size)
        for layer, state in enumerate(decoder.state_sizes)
        for part, size in enumerate(state)
    ]
    return [StateTensor(f"layer.{layer}.{part}", (size,)) for layer, part, size in sizes]


def _nested(decoder: RecurrentDecoder, state: Tensors) -> list[tuple[Tensor, ...]]:
    """The states of each layer, as `RecurrentDecoder` takes them."""
    return [
        tuple(state[f"layer.{layer}.{part}"] for part in range(len(sizes)))
        for layer, sizes in enumerate(decoder.state_sizes)
    ]


def _flat(layers: Sequence[Any]) -> list[Tensor]:
    return [part for layer in layers for part in layer]


def _by_name(states: Sequence[StateTensor], parts: Sequence[Tensor]) -> dict[str, Tensor]:
    return {state.name: part for state, part in zip(states, parts, strict=True)}
