"""The textbook steps are right by formula, and the fused layers are held to a loop over them."""

from __future__ import annotations

import jaxtyping
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seqlearn.batch import length_mask
from seqlearn.nn import (
    FUSED_LAYERS,
    BidirectionalLayer,
    FusedLayer,
    GRULayer,
    LSTMLayer,
    RecurrentLayer,
    RecurrentState,
    StepLayer,
    gru_step,
    lstm_step,
    reverse_padded,
    rnn_step,
    stack_layers,
)

CELLS = ("rnn", "gru", "lstm")
WIDTH, HIDDEN = 3, 4
EXACT = {"atol": 1e-10, "rtol": 1e-10}


def layer_of(cell: str, seed: int = 0, scale: float = 1.0) -> FusedLayer:
    """A layer in float64 whose weights and biases are all something."""
    torch.manual_seed(seed)
    layer = FUSED_LAYERS[cell](WIDTH, HIDDEN).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5 * scale)
    return layer


def both_ways(cell: str) -> BidirectionalLayer:
    make = FUSED_LAYERS[cell]
    return BidirectionalLayer(make(WIDTH, HIDDEN), make(WIDTH, HIDDEN, reverse=True))


def state_of(cell: str, batch: int) -> RecurrentState:
    return tuple(torch.randn(batch, HIDDEN).double() for _ in range(2 if cell == "lstm" else 1))


def steps(
    layer: FusedLayer, inputs: Tensor, state: RecurrentState, lengths: list[int]
) -> tuple[list[Tensor], RecurrentState]:
    """A plain loop over the textbook step, each row alone and for as long as it is real."""
    w, u = layer.kernel.weight_ih_l0, layer.kernel.weight_hh_l0
    b, b_state = layer.kernel.bias_ih_l0, layer.kernel.bias_hh_l0
    outputs, ends = [], []
    for row, length in enumerate(lengths):
        now = tuple(part[row] for part in state)
        hidden = []
        for x in inputs[row, :length]:
            from_input, from_state = w @ x + b, u @ now[0] + b_state
            if isinstance(layer, LSTMLayer):
                now = lstm_step(from_input, from_state, now[1])[:2]
            elif isinstance(layer, GRULayer):
                now = gru_step(from_input, from_state, now[0])[:1]
            else:
                now = rnn_step(from_input, from_state)
            hidden.append(now[0])
        outputs.append(torch.stack(hidden) if hidden else inputs.new_zeros(0, HIDDEN))
        ends.append(now)
    return outputs, tuple(torch.stack(part) for part in zip(*ends, strict=True))


def test_rnn_step_by_formula() -> None:
    x, h = torch.randn(2, 5, 4)
    assert torch.equal(rnn_step(x, h).hidden, torch.tanh(x + h))


def test_gru_step_by_formula() -> None:
    """Cho et al. 2014, equations 5 to 8, with the candidate's own bias inside the reset gate."""
    h = torch.randn(4).double()
    wr, wz, wn, ur, uz, un = torch.randn(6, 4, 4).double()
    br, bz, bn, bun = torch.randn(4, 4).double()
    x = torch.randn(4).double()
    step = gru_step(
        torch.cat([wr @ x + br, wz @ x + bz, wn @ x + bn]),
        torch.cat([ur @ h, uz @ h, un @ h + bun]),
        h,
    )
    reset = 1 / (1 + torch.exp(-(wr @ x + ur @ h + br)))
    update = 1 / (1 + torch.exp(-(wz @ x + uz @ h + bz)))
    new = torch.tanh(wn @ x + bn + reset * (un @ h + bun))
    torch.testing.assert_close(step.reset, reset, **EXACT)
    torch.testing.assert_close(step.update, update, **EXACT)
    torch.testing.assert_close(step.hidden, (1 - update) * new + update * h, **EXACT)


def test_lstm_step_by_formula() -> None:
    """Gers et al. 2000, equations 1 to 6, without peepholes."""
    x, h, c = torch.randn(3, 4).double()
    w, u, b = torch.randn(4, 4, 4).double(), torch.randn(4, 4, 4).double(), torch.randn(4, 4)
    step = lstm_step(
        torch.cat([w[part] @ x for part in range(4)]),
        torch.cat([u[part] @ h + b[part] for part in range(4)]),
        c,
    )
    i, f, g, o = (w[part] @ x + u[part] @ h + b[part] for part in range(4))
    i, f, o, g = *(1 / (1 + torch.exp(-gate)) for gate in (i, f, o)), torch.tanh(g)
    torch.testing.assert_close(step.cell, f * c + i * g, **EXACT)
    torch.testing.assert_close(step.hidden, o * torch.tanh(f * c + i * g), **EXACT)
    for found, gate in zip(step[2:], (i, f, o, g), strict=True):
        torch.testing.assert_close(found, gate, **EXACT)


@given(
    cell=st.sampled_from(CELLS),
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=4),
    more=st.integers(0, 2),
    given_state=st.booleans(),
)
def test_layer_equals_a_loop_over_the_textbook(
    cell: str, seed: int, lengths: list[int], more: int, given_state: bool
) -> None:
    """Any lengths, zero and a padded time of zero included; outputs, final states, gradients."""
    layer = layer_of(cell, seed)
    batch, time = len(lengths), max(lengths) + more
    inputs = torch.randn(batch, time, WIDTH).double().requires_grad_()
    state = state_of(cell, batch) if given_state else layer.initial_state(inputs)
    state = tuple(part.requires_grad_() for part in state)
    mask = length_mask(torch.tensor(lengths), time)
    hidden, final = layer(inputs, state if given_state else None, mask)
    outputs, ends = steps(layer, inputs, state, lengths)
    torch.testing.assert_close(hidden[mask], torch.cat(outputs), **EXACT)
    for found, end in zip(final, ends, strict=True):
        torch.testing.assert_close(found, end, **EXACT)

    leaves = [*layer.parameters(), inputs, *(state if given_state else ())]
    weights = [torch.randn_like(part) for part in (hidden[mask], *final)]

    def gradients(*parts: Tensor) -> tuple[Tensor, ...]:
        total = sum((part * weight).sum() for part, weight in zip(parts, weights, strict=True))
        total = total + 0.0 * sum(leaf.sum() for leaf in leaves)
        return torch.autograd.grad(total, leaves)

    mine, theirs = gradients(hidden[mask], *final), gradients(torch.cat(outputs), *ends)
    for found, expected in zip(mine, theirs, strict=True):
        torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("cell", CELLS)
def test_no_mask_means_all_real(cell: str) -> None:
    layer = layer_of(cell)
    inputs, state = torch.randn(2, 5, WIDTH).double(), state_of(cell, 2)
    hidden, final = layer(inputs, state)
    masked, masked_final = layer(inputs, state, torch.ones(2, 5, dtype=torch.bool))
    torch.testing.assert_close(masked, hidden, **EXACT)
    for found, expected in zip(masked_final, final, strict=True):
        torch.testing.assert_close(found, expected, **EXACT)
    assert torch.equal(final[0], hidden[:, -1])


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("kind", ["float32", "float64", "autocast", "bfloat16"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_state_passes_by_padding_untouched(cell: str, kind: str, scale: float) -> None:
    """To the last bit, whatever stands in the padding and however large the pre-activations."""
    dtype = torch.float32 if kind == "autocast" else getattr(torch, kind)
    layer = layer_of(cell, scale=scale).to(dtype)
    state = tuple(part.to(dtype) for part in state_of(cell, 4))
    lengths = torch.tensor([7, 3, 1, 0])
    mask = length_mask(lengths, 7)
    inputs = torch.randn(4, 7, WIDTH, dtype=dtype)
    clean = inputs.masked_fill(~mask[..., None], 0)
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
        hidden, final = layer(inputs + 10 * ~mask[..., None], state, mask)
        same, end = layer(clean, state, mask)
        _, short = layer(clean[2:, :1], tuple(part[2:] for part in state), mask[2:, :1])
        _, from_nothing = layer(inputs, None, mask)
    assert torch.equal(hidden[mask], same[mask])
    for found, other, alone, first, empty in zip(
        final, end, short, state, from_nothing, strict=True
    ):
        assert torch.equal(found, other)
        # The kernels' sums may differ in order between shapes, never in which steps they hold.
        loose = {"atol": 2e-2, "rtol": 2e-2} if kind == "bfloat16" else {"atol": 1e-4, "rtol": 1e-4}
        torch.testing.assert_close(found[2:], alone, **loose)
        assert torch.equal(found[3], first[3])
        assert (empty[3] == 0).all()


def test_autocast_gives_what_full_precision_gives() -> None:
    """Many CPUs have no LSTM kernel in bf16; a layer runs in its own precision there."""
    for cell in CELLS:
        layer = layer_of(cell).float()
        inputs, state = torch.randn(2, 4, WIDTH), tuple(p.float() for p in state_of(cell, 2))
        expected, _ = layer(inputs, state)
        with torch.autocast("cpu", torch.bfloat16):
            found, final = layer(inputs, tuple(part.bfloat16() for part in state))
            layer(inputs.bfloat16(), final)
        torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("cell", CELLS)
def test_no_gradient_of_a_final_state_reaches_padding(cell: str) -> None:
    layer = layer_of(cell)
    inputs = torch.randn(3, 5, WIDTH).double().requires_grad_()
    mask = length_mask(torch.tensor([5, 2, 0]), 5)
    _, final = layer(inputs, None, mask)
    (gradient,) = torch.autograd.grad(sum(part.sin().sum() for part in final), inputs)
    assert (gradient[~mask] == 0).all()
    assert (gradient[mask] != 0).any(-1).all()


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_flip_turns_each_row_within_its_length(seed: int, lengths: list[int]) -> None:
    torch.manual_seed(seed)
    inputs = torch.randn(len(lengths), 6, 2)
    mask = length_mask(torch.tensor(lengths), 6)
    flipped = reverse_padded(inputs, mask)
    for row, length in enumerate(lengths):
        assert torch.equal(flipped[row, :length], inputs[row, :length].flip(0))
        assert torch.equal(flipped[row, length:], inputs[row, length:])
    assert torch.equal(reverse_padded(flipped, mask), inputs)


@pytest.mark.parametrize("cell", CELLS)
def test_both_directions_side_by_side(cell: str) -> None:
    layer = both_ways(cell).double()
    inputs, lengths = torch.randn(3, 5, WIDTH).double(), [5, 2, 0]
    mask = length_mask(torch.tensor(lengths), 5)
    hidden, final = layer(inputs, mask=mask)
    start = layer.forward_layer.initial_state(inputs)
    there, end = steps(layer.forward_layer, inputs, start, lengths)
    mirrored = inputs.clone()
    for row, length in enumerate(lengths):
        mirrored[row, :length] = inputs[row, :length].flip(0)
    back, begin = steps(layer.backward_layer, mirrored, start, lengths)
    expected = [torch.cat([a, b.flip(0)], -1) for a, b in zip(there, back, strict=True)]
    torch.testing.assert_close(hidden[mask], torch.cat(expected), **EXACT)
    for found, first, second in zip(final, end, begin, strict=True):
        torch.testing.assert_close(found, torch.cat([first, second], -1), **EXACT)
    every, _ = layer(inputs)
    torch.testing.assert_close(every[0], hidden[0], **EXACT)


@pytest.mark.parametrize("cell", CELLS)
def test_nothing_to_read(cell: str) -> None:
    """A padded time of zero: no outputs, and the state that was given."""
    state = state_of(cell, 2)
    hidden, final = layer_of(cell)(torch.zeros(2, 0, WIDTH).double(), state)
    assert hidden.shape == (2, 0, HIDDEN)
    assert all(torch.equal(found, given) for found, given in zip(final, state, strict=True))
    empty = both_ways(cell)
    both, final = empty(torch.zeros(2, 0, WIDTH), mask=torch.ones(2, 0, dtype=torch.bool))
    assert both.shape == (2, 0, 2 * HIDDEN)
    assert all((part == 0).all() and part.shape == (2, 2 * HIDDEN) for part in final)


def test_weights_begin_as_the_docstring_says() -> None:
    layer = LSTMLayer(6, 4).kernel
    for gate in layer.weight_hh_l0.detach().split(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(4), atol=1e-5, rtol=0)
    assert layer.bias_ih_l0.tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8
    assert (layer.bias_hh_l0 == 0).all()
    assert (GRULayer(6, 4).kernel.bias_ih_l0 == 0).all()


def test_bad_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is for users
    with pytest.raises(ValueError, match="expected an even width, got 5"):
        stack_layers(GRULayer, 5, 1, bidirectional=True)
    with pytest.raises(ValueError, match="num_layers"):
        stack_layers(GRULayer, 4, 0)
    with pytest.raises(ValueError, match="cannot continue from a state"):
        both_ways("gru")(torch.zeros(1, 2, WIDTH), (torch.zeros(1, 2 * HIDDEN),))


@pytest.mark.parametrize(("cell", "default"), [("gru", 0.0), ("lstm", 1.0)])
def test_the_gate_that_keeps_the_state_starts_as_configured(cell: str, default: float) -> None:
    """The others start at zero."""
    for bias in (None, 6.0):
        name = "update_bias" if cell == "gru" else "forget_bias"
        options = {} if bias is None else {name: bias}
        layer = FUSED_LAYERS[cell](WIDTH, HIDDEN, **options)
        gates = layer.kernel.bias_ih_l0.split(HIDDEN)
        assert [gate.unique().tolist() for gate in gates] == [
            [(default if bias is None else bias) if place == 1 else 0.0]
            for place in range(len(gates))
        ]
    inputs = torch.randn(2, 5, WIDTH)
    state = layer.initial_state(inputs)
    gates = layer.gates(inputs, layer(inputs, state)[0], state)
    assert gates["forget" if cell == "lstm" else "update"].min() > 0.95


class StepGRU(StepLayer):
    """A GRU by its textbook step, with the weights of a fused layer."""

    def __init__(self, fused: GRULayer, *, reverse: bool = False) -> None:
        super().__init__(fused.state_size, reverse=reverse)
        self.fused = fused

    def step(self, x: Tensor, state: RecurrentState) -> RecurrentState:
        w, u, b, b_state = self.fused.kernel.parameters()
        step = gru_step(x @ w.T + b, state[0] @ u.T + b_state, state[0])
        return (step.hidden,)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_step_layer_equals_the_fused_layer(reverse: bool) -> None:
    """In both directions, with padding, a state and no steps at all."""
    fused = GRULayer(WIDTH, HIDDEN, reverse=reverse).double()
    layer = StepGRU(fused, reverse=reverse)
    assert isinstance(layer, RecurrentLayer)
    inputs, state = torch.randn(3, 5, WIDTH).double(), state_of("gru", 3)
    mask = length_mask(torch.tensor([5, 2, 0]), 5)
    for first, visible in ((None, None), (None, mask), (state, mask), (state, None)):
        hidden, (last,) = layer(inputs, first, visible)
        expected, (end,) = fused(inputs, first, visible)
        real = mask if visible is not None else torch.ones_like(mask)
        torch.testing.assert_close(hidden[real], expected[real], **EXACT)
        torch.testing.assert_close(last, end, **EXACT)
    none, same = layer(inputs[:, :0], state, mask[:, :0])
    assert none.shape == (3, 0, HIDDEN)
    assert torch.equal(same[0], state[0])
