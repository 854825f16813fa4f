"""Weights of compiled and of plain parts go by the same names."""

from __future__ import annotations

from pathlib import Path

import torch

import seqlearn as sl

DATA = sl.data.TextPairs(
    [("ab", "AB"), ("b", "B")], source=sl.data.Text("char"), target=sl.data.Text("char")
)


def _compiled(seed: int) -> sl.GRU:
    torch.manual_seed(seed)
    model = sl.GRU(DATA.spec, d_model=4).eval()
    model.encoder = torch.compile(model.encoder, backend="eager")
    return model


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = _compiled(0)
    assert not any("_orig_mod" in name for name in model.state_dict())
    model.save_pretrained(tmp_path)
    loaded = sl.GRU.from_pretrained(tmp_path)
    other = _compiled(1)
    other.load_state_dict(loaded.state_dict())
    for mine in (loaded, other):
        for part, expected in zip(mine.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(part, expected)


def test_within_another_module() -> None:
    outer, other = torch.nn.ModuleList([_compiled(0)]), torch.nn.ModuleList([_compiled(1)])
    other.load_state_dict(outer.state_dict())
    for mine, theirs in zip(outer.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_names_that_compiled_parts_were_saved_with() -> None:
    """Checkpoints of before hold the wrapper's name."""
    model = sl.GRU(DATA.spec, d_model=4)
    state = model.state_dict()
    old = {name.replace("encoder.", "encoder._orig_mod."): state[name] for name in state}
    assert old.keys() != state.keys()
    sl.GRU(DATA.spec, d_model=4).load_state_dict(old)
