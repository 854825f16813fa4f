"""Values of a wrong type are named where they enter; none is kept to fail, or to train, later."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seqlearn as sl
from seqlearn.core import Recipe
from seqlearn.data import Text, Vector
from seqlearn.plain_data import check_whole_number, to_builtin, to_plain_data

SPEC = sl.SequenceSpec(sl.TextSpec(11, 6), sl.TextSpec(9, 6))


class Size(Enum):
    SMALL = 8


@pytest.mark.usefixtures("unchecked")
def test_what_stands_for_a_number_becomes_one() -> None:
    assert Recipe(lr=1, warmup_steps=np.int64(3)) == Recipe(lr=1.0, warmup_steps=3)
    assert Text("bpe", vocab_size=torch.tensor(100)).vocab_size == 100
    assert Text(Path("a.json")) == Text("a.json")
    assert Vector(np.int32(2)) == Vector(Size.SMALL.value // 4)
    for size in (8, np.int64(8), torch.tensor(8), Size.SMALL):
        found = check_whole_number(size, "size", 1)
        assert (found, type(found)) == (8, int)
        assert sl.GRU(SPEC, d_model=size).d_model == 8
    assert to_builtin((np.float32(0.5), [np.str_("a")])) == (0.5, ["a"])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Text(vocab_size=8.5), r"Text\.vocab_size: expected a whole number or None, got 8"),
        (
            lambda: Text(max_length="5"),
            r"Text\.max_length: expected a whole number or None, got '5'",
        ),
        (lambda: Text(lowercase="no"), r"Text\.lowercase: expected True or False, got 'no'"),
        (lambda: Text(None), r"Text\.tokenizer: expected a string, got None"),
        (lambda: Vector(2.5), r"Vector\.size: expected a whole number, got 2\.5"),
        (lambda: sl.VectorSpec(True), r"VectorSpec\.size: expected a whole number, got True"),
        (lambda: sl.TextSpec("a", 3), r"TextSpec\.vocab_size: expected a whole number, got 'a'"),
        (lambda: sl.TextSpec(9, 3.0), r"TextSpec\.max_length: expected a whole number, got 3\.0"),
        (lambda: Recipe(lr="1e-3"), r"Recipe\.lr: expected a number, got '1e-3'"),
        (lambda: Recipe(warmup_steps=10.5), r"Recipe\.warmup_steps: expected a whole number or No"),
        (lambda: sl.GRU(SPEC, d_model=8.0), r"d_model: expected a whole number, .* got 8\.0"),
        (lambda: sl.GRU(SPEC, d_model=None), r"d_model: expected a whole number, .* got None"),
        (
            lambda: sl.LSTM(SPEC, num_layers=2.0),
            r"num_layers: expected a whole number, .* got 2\.0",
        ),
        (lambda: sl.FeedForward(SPEC, window="8"), r"window: expected a whole number, .* got '8'"),
        (
            lambda: sl.GRU(SPEC, d_model=8).generate([[4]], max_new_tokens=2.5),
            r"max_new_tokens: .* got 2\.5",
        ),
        (lambda: sl.data.Dates("en", "de", batch_tokens="9"), r"batch_tokens: expected a .* '9'"),
        (
            lambda: sl.data.Dates("en", "de", seed=None),
            "seed: expected a whole number, .* got None",
        ),
        (lambda: sl.data.Dates("en", "de", num_workers=0.5), r"num_workers: .* got 0\.5"),
        (lambda: sl.data.PlainText("a.txt", window=8.0), r"window: expected a whole .* got 8\.0"),
        (lambda: sl.GRU(SPEC, d_model=8, recipe={"lr": 1}), r"recipe: expected a Recipe, .*'lr'"),
    ],
)
def test_a_value_of_a_wrong_type_is_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


def test_what_is_not_a_number_is_out_of_range() -> None:
    with pytest.raises(ValueError, match="weight_decay and seed of 0 or more, got nan"):
        Recipe(weight_decay=float("nan"))
    with pytest.raises(ValueError, match="expected size of at least 1, got 0"):
        check_whole_number(0, "size", 1)


def test_what_no_checkpoint_can_hold_is_refused() -> None:
    with pytest.raises(TypeError, match=r"a\['b'\]\[1\]: expected plain data .* got object"):
        to_plain_data({"b": [1, object()]}, "a")
