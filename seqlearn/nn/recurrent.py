"""Recurrent layers: what all have in common, and layers that are given by one step.

`DirectedLayer` has the direction, the initial state and the recording of a layer; a subclass
implements how it runs. `StepLayer` runs a loop over `step(x_t, state)`, which is all that a new
recurrent cell has to define. The fused layers are in `seqlearn.nn.fused_recurrent`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Protocol, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seqlearn.instrumentation import Axis, emit
from seqlearn.nn.protocols import RecurrentLayer, RecurrentState
from seqlearn.plain_data import check_whole_number


def reverse_padded(
    inputs: Float[Tensor, "batch time width"], mask: Bool[Tensor, "batch time"]
) -> Float[Tensor, "batch time width"]:
    """Reverse each row within its real steps; padding stays in place.

    Args:
        inputs: Rows of real steps, followed by padding.
        mask: True where a step is real.

    Examples:
        >>> mask = torch.tensor([[True, True, False]])
        >>> reverse_padded(torch.tensor([[[1.0], [2.0], [0.0]]]), mask).flatten().tolist()
        [2.0, 1.0, 0.0]
    """
    place = torch.arange(inputs.shape[1], device=inputs.device)
    place = torch.where(mask, mask.sum(1, keepdim=True) - 1 - place, place)
    return inputs.gather(1, place[..., None].expand_as(inputs))


class DirectedLayer(nn.Module, ABC):
    """A recurrent layer that runs in one direction, and whose states and gates can be recorded.

    A subclass implements `run` and `gates`.

    Args:
        state_size: Width of each tensor of the state; the first is also the width of the outputs.
        reverse: Whether the layer runs from the last real step to the first. Its outputs are in
            the order of its inputs in both directions.
        axis: The sequence that the steps follow, `"source"` or `"target"`, for recordings.
            `RecurrentEncoder` and `RecurrentDecoder` set it; without it a recording infers it from
            the number of steps.

    Examples:
        >>> from seqlearn.nn import GRULayer
        >>> layer = GRULayer(4, 8, reverse=True)
        >>> outputs, (h,) = layer(torch.zeros(2, 3, 4))
        >>> torch.equal(h, outputs[:, 0])  # the last step is the first position
        True
    """

    emits_states: ClassVar[bool] = True
    has_gates: ClassVar[bool] = False
    has_contributions: ClassVar[bool] = False  # if True, it is a `HasContributions`

    def __init__(
        self, state_size: tuple[int, ...], *, reverse: bool = False, axis: Axis | None = None
    ) -> None:
        super().__init__()
        self.state_size, self.reverse, self.axis = state_size, reverse, axis

    def initial_state(self, inputs: Float[Tensor, "batch time d_input"]) -> RecurrentState:
        """The state before the first step: zeros."""
        return tuple(inputs.new_zeros(inputs.shape[0], size) for size in self.state_size)

    def forward(
        self,
        inputs: Float[Tensor, "batch time d_input"],
        state: RecurrentState | None = None,
        mask: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time d_hidden"], RecurrentState]:
        """Run over all steps.

        Args:
            inputs: One vector per step.
            state: The state before the first step; `None` for zeros.
            mask: True where a step is real; padding follows the real steps. `None` if all are.

        Returns:
            The output of every step (undefined at padding), and the state after the last real step
            of each row. A row without real steps keeps its initial state.
        """
        state = self.initial_state(inputs) if state is None else state
        real = mask
        if self.reverse and real is None:
            real = inputs.new_ones(inputs.shape[:2], dtype=torch.bool)

        def maybe_reverse(steps: Tensor) -> Tensor:
            return reverse_padded(steps, real) if self.reverse and real is not None else steps

        ordered = maybe_reverse(inputs)
        hidden, final = self.run(ordered, state, mask)
        axes = None if self.axis is None else (self.axis,)
        emit("states", self, lambda: maybe_reverse(hidden), axes)

        def emit_parts(kind: str, compute: Callable[..., dict[str, Tensor]]) -> None:
            def parts() -> dict[str, Tensor]:
                found = compute(ordered, hidden, state)
                return {name: maybe_reverse(part) for name, part in found.items()}

            emit(kind, self, parts, axes)

        if self.has_gates:
            emit_parts("gates", self.gates)
        if self.has_contributions:
            emit_parts("contributions", cast(HasContributions, self).contributions)
        return maybe_reverse(hidden), final

    @abstractmethod
    def run(
        self,
        inputs: Float[Tensor, "batch time d_input"],
        state: RecurrentState,
        mask: Bool[Tensor, "batch time"] | None,
    ) -> tuple[Float[Tensor, "batch time d_hidden"], RecurrentState]:
        """Run over the steps in the order given; arguments and results as in `forward`."""

    @abstractmethod
    def gates(
        self,
        inputs: Float[Tensor, "batch time d_input"],
        hidden: Float[Tensor, "batch time d_hidden"],
        state: RecurrentState,
    ) -> dict[str, Float[Tensor, "batch time d_hidden"]]:
        """The gates of every step, computed beside the kernel while something records.

        Args:
            inputs: The inputs, in the order in which the layer runs.
            hidden: The outputs of `run`.
            state: The state before the first step.

        Returns:
            By name one vector per step; empty if `has_gates` is False.
        """


class HasContributions(Protocol):
    """A layer whose next state is a function of a sum, the terms of which can be recorded."""

    def contributions(
        self,
        inputs: Float[Tensor, "batch time d_input"],
        hidden: Float[Tensor, "batch time d_hidden"],
        state: RecurrentState,
    ) -> dict[str, Float[Tensor, "batch time d_hidden"]]:
        """The terms of each step by name; arguments as those of `DirectedLayer.gates`."""


class StepLayer(DirectedLayer):
    """A recurrent layer that is defined by one step; a loop runs it over all steps.

    Subclass it for a new recurrent cell: `step` maps the input and the state of one step to the
    next state, whose first tensor is the output of that step. Any layer of this form goes into
    `RecurrentEncoder` and `RecurrentDecoder`.

    Examples:
        >>> class Average(StepLayer):
        ...     def step(self, x, state):
        ...         return ((state[0] + x) / 2,)
        >>> outputs, state = Average(state_size=(1,))(torch.tensor([[[2.0], [4.0]]]))
        >>> outputs.flatten().tolist()
        [1.0, 2.5]
    """

    @abstractmethod
    def step(self, x: Float[Tensor, "batch d_input"], state: RecurrentState) -> RecurrentState:
        """Compute the next state from the input of one step and the previous state."""

    def run(
        self,
        inputs: Float[Tensor, "batch time d_input"],
        state: RecurrentState,
        mask: Bool[Tensor, "batch time"] | None,
    ) -> tuple[Float[Tensor, "batch time d_hidden"], RecurrentState]:
        """Loop over the steps; at padding the state stays as it is.

        Raises:
            TypeError: If `step` does not return a tuple.
        """
        if inputs.shape[1] == 0:
            return inputs.new_zeros(len(inputs), 0, self.state_size[0]), state
        outputs = []
        for t, x in enumerate(inputs.unbind(1)):
            new = self.step(x, state)
            if not isinstance(new, tuple):
                raise TypeError(
                    f"{type(self).__name__}.step: expected a tuple of tensors, the next state, got "
                    f"{type(new).__name__}"
                )
            if mask is not None:
                new = tuple(
                    torch.where(mask[:, t, None], after, before)
                    for after, before in zip(new, state, strict=True)
                )
            state = new
            outputs.append(state[0])
        return torch.stack(outputs, 1), state

    def gates(
        self,
        inputs: Float[Tensor, "batch time d_input"],  # noqa: ARG002 -- there are none to compute
        hidden: Float[Tensor, "batch time d_hidden"],  # noqa: ARG002
        state: RecurrentState,  # noqa: ARG002
    ) -> dict[str, Float[Tensor, "batch time d_hidden"]]:
        """None: a step layer reports its states alone."""
        return {}


class BidirectionalLayer(nn.Module):
    """Two layers side by side, one in each direction (Schuster & Paliwal 1997).

    Outputs and states of both are concatenated.

    Args:
        forward_layer: The layer that runs from the first step to the last.
        backward_layer: The layer that runs from the last real step to the first; a `DirectedLayer`
            with `reverse=True`. Its outputs are in the order of the inputs.
        axis: As in `DirectedLayer`.

    Examples:
        >>> from seqlearn.nn import GRULayer
        >>> layer = BidirectionalLayer(GRULayer(4, 8), GRULayer(4, 8, reverse=True))
        >>> outputs, state = layer(torch.zeros(2, 3, 4))
        >>> outputs.shape
        torch.Size([2, 3, 16])
    """

    emits_states: ClassVar[bool] = True

    def __init__(
        self,
        forward_layer: RecurrentLayer,
        backward_layer: RecurrentLayer,
        *,
        axis: Axis | None = None,
    ) -> None:
        super().__init__()
        self.axis = axis
        self.forward_layer, self.backward_layer = forward_layer, backward_layer
        sizes = zip(forward_layer.state_size, backward_layer.state_size, strict=True)
        self.state_size = tuple(map(sum, sizes))

    def initial_state(self, inputs: Float[Tensor, "batch time d_input"]) -> RecurrentState:
        """The initial states of both directions, concatenated."""
        pairs = (layer.initial_state(inputs) for layer in (self.forward_layer, self.backward_layer))
        return tuple(torch.cat(pair, -1) for pair in zip(*pairs, strict=True))

    def forward(
        self,
        inputs: Float[Tensor, "batch time d_input"],
        state: RecurrentState | None = None,
        mask: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time d_hidden"], RecurrentState]:
        """Run in both directions.

        Args:
            inputs: One vector per step.
            state: Must be `None`: a sequence cannot be continued in both directions.
            mask: True where a step is real; padding follows the real steps. `None` if all are.

        Returns:
            The outputs of both directions at every step, and their final states.

        Raises:
            ValueError: If a state is given.
        """
        if state is not None:
            raise ValueError(
                "a bidirectional layer cannot continue from a state; use it in an encoder"
            )
        fwd, last = self.forward_layer(inputs, None, mask)
        bwd, first = self.backward_layer(inputs, None, mask)
        both = torch.cat([fwd, bwd], -1)
        emit("states", self, both, None if self.axis is None else (self.axis,))
        return both, tuple(torch.cat(pair, -1) for pair in zip(last, first, strict=True))


def stack_layers(
    make: Callable[..., RecurrentLayer],
    d_model: int,
    num_layers: int,
    *,
    bidirectional: bool = False,
    d_input: int | None = None,
) -> list[RecurrentLayer]:
    """Make the layers of a `RecurrentEncoder` or `RecurrentDecoder`, from the input up.

    Args:
        make: Called as `make(d_input, d_hidden)` for each layer; for the second direction of a
            bidirectional layer with `reverse=True`. `LSTMLayer` is an example.
        d_model: Width of the outputs of every layer.
        num_layers: Number of layers.
        bidirectional: Whether every layer runs in both directions, each `d_model // 2` wide.
        d_input: Width of the inputs of the first layer; `d_model` by default.

    Raises:
        ValueError: If there is no layer, or `d_model` is odd and the layers are bidirectional.

    Examples:
        >>> from seqlearn.nn import GRULayer
        >>> [layer.state_size for layer in stack_layers(GRULayer, 8, 2, bidirectional=True)]
        [(8,), (8,)]
    """
    num_layers = check_whole_number(num_layers, "num_layers", 1)
    if bidirectional and d_model % 2:
        raise ValueError(
            "a bidirectional layer has half its width in each direction; expected an even width, "
            f"got {d_model}"
        )
    layers: list[RecurrentLayer] = []
    for number in range(num_layers):
        width = d_model if number or d_input is None else d_input
        if bidirectional:
            half = d_model // 2
            layers.append(BidirectionalLayer(make(width, half), make(width, half, reverse=True)))
        else:
            layers.append(make(width, d_model))
    return layers
