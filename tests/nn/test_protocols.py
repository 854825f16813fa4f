"""What a state may be made of, and that it is cut and moved by rows alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import jaxtyping
import pytest
import torch
from torch import Tensor

from seqlearn import nn
from seqlearn.batch import Memory
from seqlearn.nn import KeyValueCache, select, tree_map


class Pair(NamedTuple):
    position: int
    parts: list[object]


class Rows:
    """An object with `select(rows)`."""

    def __init__(self, kept: list[int]) -> None:
        self.kept = kept

    def select(self, rows: Tensor) -> Rows:
        return Rows([self.kept[row] for row in rows.tolist()])


def test_select_takes_rows_of_everything_and_keeps_the_containers() -> None:
    one = torch.arange(6.0).view(3, 2)
    state = Pair(4, [(one, None), {"cache": Rows([7, 8, 9]), "flag": True}, ()])
    taken = select(state, torch.tensor([2, 0, 2, 1]))
    assert type(taken) is Pair
    assert taken.position == 4
    (tensor, nothing), named, empty = taken.parts
    assert torch.equal(tensor, one[[2, 0, 2, 1]])
    assert nothing is None
    assert named["cache"].kept == [9, 7, 9, 8]
    assert named["flag"] is True
    assert empty == ()
    assert isinstance(taken.parts, list)
    assert torch.equal(state.parts[0][0], torch.arange(6.0).view(3, 2))


def test_select_of_nothing_of_no_rows_and_of_a_memory() -> None:
    assert select(None, torch.tensor([0])) is None
    memory = Memory(torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool), torch.randn(2, 4))
    none = select(memory, torch.tensor([], dtype=torch.long))
    assert type(none) is Memory
    assert [len(part) for part in none] == [0, 0, 0]


def test_select_of_a_cache() -> None:
    cache = KeyValueCache(torch.randn(2, 1, 3, 4), torch.randn(2, 1, 3, 4))
    (moved,) = select((cache,), torch.tensor([1, 1, 0]))
    assert torch.equal(moved._key, cache._key[[1, 1, 0]])


def test_what_a_state_may_not_hold() -> None:
    with pytest.raises(TypeError, match=r"objects with select\(rows\); got str"):
        select([{"name": "text"}], torch.tensor([0]))
    with pytest.raises(TypeError, match="got float"):
        select(0.5, torch.tensor([0]))


def test_tree_map_reaches_every_tensor_once_and_builds_anew() -> None:
    seen: list[object] = []

    def note(part: Tensor) -> Tensor:
        seen.append(part)
        return part + 1

    a, b, c = torch.zeros(3, 2)
    state = [(a, b), {"c": c, "n": 3}, None]
    mapped = tree_map(note, state)
    assert [id(part) for part in seen] == [id(a), id(b), id(c)]
    assert mapped[1]["n"] == 3
    assert mapped[2] is None
    assert all((part == 1).all() for part in (*mapped[0], mapped[1]["c"]))
    assert all((part == 0).all() for part in (a, b, c))
    assert mapped is not state


def test_blocks_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is for users
    attention, feedforward = nn.MultiHeadAttention(8, 2), nn.FeedForwardBlock(8, 8, 0.0)
    with pytest.raises(TypeError, match=r"layers\[0\]: .* protocol RecurrentLayer, got <class"):
        nn.RecurrentEncoder([nn.GRULayer], 8, 0.0)
    with pytest.raises(TypeError, match="expected layers as a list, got GRULayer"):
        nn.RecurrentEncoder(nn.GRULayer(8, 8), 8, 0.0)
    with pytest.raises(TypeError, match=r"got GRU without initial_state, state_size"):
        nn.RecurrentDecoder([torch.nn.GRU(8, 8)], 8, 0.0)
    with pytest.raises(TypeError, match=r"expected \(positions, layers\)"):
        nn.TransformerEncoder([], nn.SinusoidalPositions())
    with pytest.raises(TypeError, match="CausalSelfAttention, got Linear without causal_self_att"):
        nn.DecoderLayer(torch.nn.Linear(8, 8), attention, feedforward, 8, 0.0)

    class Step(nn.StepLayer):
        def step(self, x: Any, state: Any) -> Any:
            return x + state[0]

    with pytest.raises(TypeError, match=r"Step\.step: expected a tuple of tensors"):
        Step((8,))(torch.zeros(1, 2, 8))
