"""The protocols of encoders, decoders and their layers, and what a decoder's state may be.

The stock encoders and decoders are built from modules. A module of your own goes into them if it
has the methods of one of these protocols; no base class is needed.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor, nn

from seqlearn.batch import Memory
from seqlearn.nn.decoder_state import State

RecurrentState = tuple[Tensor, ...]
"""The state of a recurrent layer, each tensor `batch width`: `(h,)`, or `(h, c)` of an LSTM."""


@runtime_checkable
class Encoder(Protocol):
    """Encodes a source.

    `SequenceModule.encode` calls it with an empty source as one visible position of padding: the
    mask of every row is True at its first position.

    An encoder may have a method `pooling_modules()`: the modules that only `Memory.pooled` needs.
    Their gradients are switched off for tags, which are predicted from `Memory.states`.

    Examples:
        >>> import torch
        >>> class Sum(nn.Module):
        ...     def forward(self, inputs, mask):
        ...         return Memory(inputs, mask, pooled=(inputs * mask[..., None]).sum(1))
        >>> Sum()(torch.zeros(2, 3, 8), torch.ones(2, 3, dtype=torch.bool)).pooled.shape
        torch.Size([2, 8])
    """

    def __call__(
        self,
        inputs: Float[Tensor, "batch source d_model"],
        mask: Bool[Tensor, "batch source"],
    ) -> Memory:
        """Encode embedded tokens.

        Args:
            inputs: The embedded source.
            mask: True where a position is real.
        """
        ...


@runtime_checkable
class Decoder(Protocol):
    """Decodes a target from the previous tokens and, if there is a source, its memory.

    A decoder is causal: `T` tokens with `state=None` give the same outputs as the same tokens one
    at a time, with the state passed on. A call consumes its state. A decoder is never called
    without tokens. The memory of an empty source has mask False, and zeros as states and pooled
    vector.

    Three attributes are optional:

    - `stateful`: if true, the state of one batch is the initial state of the next one in truncated
      backpropagation through time; it must then consist of tensors, ints and plain containers.
    - `source_modules()`: the modules that are not used without a source. Their gradients are
      switched off in a language model, for which other processes would wait.
    - `shares_memory`: if true, the memory may have one row per source and the inputs several,
      adjacent ones for each of them: the beams of a search. `seqlearn.nn.attend_by_source` makes
      them the queries of one attention, and `seqlearn.nn.PerSource` marks the parts of the state
      that have one row per source. Without it the decoder gets a copy of the memory for each row.
      It is stated in the class that defines `forward`; a subclass with another `forward` states it
      again.

    Examples:
        >>> import torch
        >>> class Bigrams(nn.Module):
        ...     def forward(self, inputs, memory, state=None):
        ...         return inputs, ()  # the last token alone predicts the next one
        >>> outputs, state = Bigrams()(torch.zeros(2, 3, 8), None)
        >>> outputs.shape
        torch.Size([2, 3, 8])
    """

    def __call__(
        self,
        inputs: Float[Tensor, "batch target d_model"],
        memory: Memory | None,
        state: State | None = None,
    ) -> tuple[Float[Tensor, "batch target d_model"], State]:
        """Compute one vector per token, from which the next token is predicted.

        Args:
            inputs: The new tokens, embedded.
            memory: The encoded source; `None` for a language model.
            state: The state returned by the previous call; `None` in the first call.
        """
        ...


@runtime_checkable
class RecurrentLayer(Protocol):
    """A layer of `RecurrentEncoder` and `RecurrentDecoder`.

    The encoder and the decoder record the outputs of a layer as its states. A layer that emits its
    states itself has the attributes `emits_states = True` and `axis`, which they set to `"source"`
    or `"target"`.

    Attributes:
        state_size: Width of each tensor of the state.

    Examples:
        >>> from seqlearn.nn import LSTMLayer
        >>> layer = LSTMLayer(4, 8)
        >>> isinstance(layer, RecurrentLayer), layer.state_size
        (True, (8, 8))
    """

    state_size: tuple[int, ...]

    def initial_state(self, inputs: Float[Tensor, "batch time d_input"]) -> RecurrentState:
        """The state before the first step, on the device and in the dtype of `inputs`."""
        ...

    def __call__(
        self,
        inputs: Float[Tensor, "batch time d_input"],
        state: RecurrentState | None,
        mask: Bool[Tensor, "batch time"] | None,
    ) -> tuple[Float[Tensor, "batch time d_hidden"], RecurrentState]:
        """Run over all steps.

        Args:
            inputs: One vector per step.
            state: The state before the first step; `None` for the initial state.
            mask: True where a step is real; padding follows the real steps. `None` if all are.

        Returns:
            The output of every step (undefined at padding), and the state after the last real step
            of each row.
        """
        ...


@runtime_checkable
class SelfAttention(Protocol):
    """The attention of an `EncoderLayer`: every position attends to every real position.

    Examples:
        >>> from seqlearn.nn import MultiHeadAttention
        >>> isinstance(MultiHeadAttention(8, 2), SelfAttention)
        True
    """

    def __call__(
        self, inputs: Float[Tensor, "batch time d_model"], mask: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time d_model"]:
        """Attend; `mask` is True where a position is real."""
        ...


@runtime_checkable
class CausalSelfAttention(Protocol):
    """The self-attention of a `DecoderLayer`: a position attends to itself and earlier ones.

    Examples:
        >>> import torch
        >>> from seqlearn.nn import MultiHeadAttention
        >>> attention = MultiHeadAttention(8, 2)
        >>> outputs, cache = attention.causal_self_attention(torch.zeros(1, 3, 8), None)
        >>> outputs, cache = attention.causal_self_attention(torch.zeros(1, 1, 8), cache)
        >>> outputs.shape, cache.length
        (torch.Size([1, 1, 8]), 4)
    """

    def causal_self_attention(
        self, inputs: Float[Tensor, "batch time d_model"], cache: State | None
    ) -> tuple[Float[Tensor, "batch time d_model"], State]:
        """Attend.

        Args:
            inputs: One vector per new position.
            cache: What the previous call returned for the earlier positions; `None` at the start.
                A call consumes it.

        Returns:
            The outputs, and the cache with the new positions.
        """
        ...


@runtime_checkable
class CrossAttention(Protocol):
    """The attention of a `DecoderLayer` to the source.

    Examples:
        >>> import torch
        >>> from seqlearn.nn import MultiHeadAttention
        >>> attention, mask = MultiHeadAttention(8, 2), torch.ones(1, 5, dtype=torch.bool)
        >>> memory = attention.project_memory(torch.zeros(1, 5, 8))
        >>> attention.cross_attention(torch.zeros(1, 3, 8), memory, mask).shape
        torch.Size([1, 3, 8])
    """

    def project_memory(self, states: Float[Tensor, "batch source d_model"]) -> State:
        """Compute once per source what `cross_attention` needs of its states."""
        ...

    def cross_attention(
        self,
        inputs: Float[Tensor, "batch time d_model"],
        memory: Any,
        mask: Bool[Tensor, "batch source"],
    ) -> Float[Tensor, "batch time d_model"]:
        """Attend to the source.

        Args:
            inputs: One vector per target position.
            memory: The result of `project_memory`.
            mask: True where a source position is real; zeros result where none is.
        """
        ...


def check_block(block: object, name: str, protocol: str, *needed: str) -> None:
    """Check that a block is a module with the methods and attributes of a protocol.

    Raises:
        TypeError: If it is a class, not a module, or lacks one of them.
    """
    missing = [each for each in needed if not hasattr(block, each)]
    if missing or not isinstance(block, nn.Module):
        lacks = f" without {', '.join(missing)}" if missing else ""
        got = repr(block) if isinstance(block, type) else type(block).__name__
        raise TypeError(f"{name}: expected a module with the protocol {protocol}, got {got}{lacks}")
