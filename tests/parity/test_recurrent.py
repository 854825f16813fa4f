"""Recurrent layers with their weights copied into packed `torch.nn` layers give the same."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqlearn.batch import Memory, length_mask
from seqlearn.nn import (
    FUSED_LAYERS,
    BidirectionalLayer,
    FusedLayer,
    RecurrentDecoder,
    RecurrentEncoder,
    RecurrentState,
    stack_layers,
)

KERNELS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
WIDTH = 6
LENGTHS = torch.tensor([3, 7, 1, 5])
TOLERANCES = {
    torch.float64: {"atol": 1e-10, "rtol": 1e-10},
    torch.float32: {"atol": 1e-6, "rtol": 1e-6},
}
Layer = FusedLayer | BidirectionalLayer


def directions(layer: Layer) -> list[FusedLayer]:
    return [layer] if isinstance(layer, FusedLayer) else [layer.forward_layer, layer.backward_layer]


def as_torch(layers: list[Layer]) -> nn.RNNBase:
    """One `torch.nn` layer with the weights of ours, whose parameters come in the same order."""
    first = directions(layers[0])
    theirs = type(first[0].kernel)(
        first[0].kernel.input_size,
        first[0].d_hidden,
        len(layers),
        batch_first=True,
        bidirectional=len(first) == 2,
    ).to(first[0].kernel.weight_ih_l0.dtype)
    for copy, mine in zip(theirs.parameters(), parameters(layers), strict=True):
        copy.data.copy_(mine)
    return theirs


def parameters(layers: list[Layer]) -> list[nn.Parameter]:
    return [p for layer in layers for way in directions(layer) for p in way.parameters()]


def run(
    layers: list[Layer], inputs: Tensor, states: list[RecurrentState | None], mask: Tensor
) -> tuple[Tensor, list[RecurrentState]]:
    final = []
    for layer, state in zip(layers, states, strict=True):
        inputs, end = layer(inputs, mask=mask) if state is None else layer(inputs, state, mask)
        final.append(end)
    return inputs, final


def as_peers(final: list[RecurrentState], ways: int) -> tuple[Tensor, ...]:
    """States as torch gives them: `layers·directions batch hidden`, h and perhaps c."""
    parts = zip(*final, strict=True)
    return tuple(torch.stack([w for p in part for w in p.chunk(ways, -1)]) for part in parts)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize(
    ("cell", "num_layers", "both", "started"),
    [
        (cell, num_layers, both, started)
        for cell, num_layers, both, started in itertools.product(
            KERNELS, (1, 3), (False, True), (False, True)
        )
        if not (both and started)
    ],
)
def test_packed_layers_of_torch(
    cell: str, num_layers: int, both: bool, started: bool, dtype: torch.dtype
) -> None:
    """Outputs at real positions, all final states, gradients of weights, inputs and states."""
    made = stack_layers(FUSED_LAYERS[cell], WIDTH, num_layers, bidirectional=both)
    layers = [layer.to(dtype) for layer in made]
    for parameter in parameters(layers):  # biases too, so that nothing passes by luck
        nn.init.normal_(parameter, std=0.4)
    theirs, ways = as_torch(layers), 1 + both
    inputs = torch.randn(4, 9, WIDTH, dtype=dtype, requires_grad=True)  # two steps of padding
    mask = length_mask(LENGTHS, 9)
    states: list[RecurrentState | None] = [None] * num_layers
    leaves: list[Tensor] = [inputs]
    if started:
        count = 2 if cell == "lstm" else 1
        states = [
            tuple(torch.randn(4, WIDTH, dtype=dtype, requires_grad=True) for _ in range(count))
            for _ in range(num_layers)
        ]
        leaves += [part for state in states for part in state]

    hidden, final = run(layers, inputs, states, mask)
    packed = pack_padded_sequence(inputs, LENGTHS, batch_first=True, enforce_sorted=False)
    begin = as_peers(states, 1) if started else None
    output, end = theirs(packed, begin[0] if started and cell != "lstm" else begin)
    output, _ = pad_packed_sequence(output, batch_first=True, total_length=9)
    end = end if cell == "lstm" else (end,)

    mine, peers = (hidden[mask], *as_peers(final, ways)), (output[mask], *end)
    for found, expected in zip(mine, peers, strict=True):
        torch.testing.assert_close(found, expected, **TOLERANCES[dtype])
    weights = [torch.randn_like(part) for part in peers]

    def gradients(parts: tuple[Tensor, ...], theta: list[nn.Parameter]) -> tuple[Tensor, ...]:
        total = sum((part * weight).sum() for part, weight in zip(parts, weights, strict=True))
        return torch.autograd.grad(total, [*theta, *leaves])

    found = gradients(mine, parameters(layers))
    expected = gradients(peers, list(theirs.parameters()))
    for one, other in zip(found, expected, strict=True):
        # Sums over some hundred terms, so relative to the largest.
        scale = other.abs().max().clamp(min=1.0)
        torch.testing.assert_close(one / scale, other / scale, **TOLERANCES[dtype])


@pytest.mark.parametrize("both", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("cell", KERNELS)
def test_the_encoder_is_a_packed_layer_and_a_linear_map(cell: str, both: bool) -> None:
    layers = stack_layers(FUSED_LAYERS[cell], WIDTH, 2, bidirectional=both)
    encoder = RecurrentEncoder(layers, WIDTH, 0.0).double()
    inputs = torch.randn(4, 7, WIDTH).double()
    memory = encoder(inputs, length_mask(LENGTHS, 7))
    packed = pack_padded_sequence(
        inputs * WIDTH**0.5, LENGTHS, batch_first=True, enforce_sorted=False
    )
    output, end = as_torch(list(encoder.layers))(packed)
    output, _ = pad_packed_sequence(output, batch_first=True)
    torch.testing.assert_close(memory.states[memory.mask], output[memory.mask], **_DOUBLE)
    states = end if cell == "lstm" else (end,)
    ways = 1 + both
    # Of each layer h of both directions, then c of both.
    side_by_side = torch.cat(
        [part[layer * ways + way] for layer in range(2) for part in states for way in range(ways)],
        -1,
    )
    pooled = torch.tanh(side_by_side @ encoder.context.weight.T + encoder.context.bias)
    torch.testing.assert_close(memory.pooled, pooled, **_DOUBLE)


@pytest.mark.parametrize("cell", KERNELS)
def test_the_decoder_is_a_layer_that_begins_with_the_context(cell: str) -> None:
    decoder = RecurrentDecoder(stack_layers(FUSED_LAYERS[cell], WIDTH, 2), WIDTH, 0.0).double()
    inputs, pooled = torch.randn(3, 5, WIDTH).double(), torch.randn(3, WIDTH).double()
    memory = Memory(torch.zeros(3, 0, WIDTH), torch.zeros(3, 0, dtype=torch.bool), pooled)
    hidden, final = decoder(inputs, memory)
    first = pooled @ decoder.context_to_state.weight.T + decoder.context_to_state.bias
    if cell == "lstm":
        h, c = first.view(3, 2, 2, WIDTH).permute(2, 1, 0, 3)
        begin = (h.tanh().contiguous(), c.contiguous())
    else:
        begin = first.view(3, 2, WIDTH).transpose(0, 1).tanh().contiguous()
    output, end = as_torch(list(decoder.layers))(inputs * WIDTH**0.5, begin)
    torch.testing.assert_close(hidden, output, **_DOUBLE)
    end = end if cell == "lstm" else (end,)
    for found, expected in zip(as_peers(final, 1), end, strict=True):
        torch.testing.assert_close(found, expected, **_DOUBLE)


_DOUBLE = TOLERANCES[torch.float64]
