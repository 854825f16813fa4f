from __future__ import annotations

import functools
import re

import pytest
from tiny_comparison import Fixed

import seqlearn as sl
from seqlearn.comparison.candidates import ARCHITECTURES, make_candidates


def test_all_architectures_by_default() -> None:
    assert [each.cls for each in make_candidates(None)] == list(ARCHITECTURES)


@pytest.mark.parametrize(
    "model",
    [
        ("LSTM", {"num_layers": 2}),
        [sl.LSTM, {"num_layers": 2}],
        functools.partial(sl.LSTM, num_layers=2),
        {"class_path": "seqlearn.models.lstm.LSTM", "init_args": {"num_layers": 2}},
        {"class_path": "LSTM", "init_args": {"num_layers": 2}},
    ],
)
def test_a_model_with_arguments(model: object) -> None:
    (found,) = make_candidates([model])
    assert (found.cls, found.options, found.label) == (sl.LSTM, {"num_layers": 2}, "LSTM")


def test_labels() -> None:
    found = make_candidates(["GRU", ("GRU", {"num_layers": 3}), sl.GRU, Fixed])
    assert [each.label for each in found] == ["GRU", "GRU(num_layers=3)", "GRU #2", "Fixed"]
    named = make_candidates({"small": ("GRU", {"d_model": 4}), "large": "GRU"})
    assert [(each.label, each.options) for each in named] == [
        ("small", {"d_model": 4}),
        ("large", {}),
    ]
    (single,) = make_candidates("GRU")
    assert single.label == "GRU"


def test_recipe_and_generation_may_be_mappings() -> None:
    options = {"recipe": {"lr": 0.5}, "generation": {"strategy": "beam"}}
    (found,) = make_candidates([("GRU", options)])
    assert found.options["recipe"] == sl.Recipe(lr=0.5)
    assert found.options["generation"] == sl.GenerationConfig(strategy="beam")
    assert found.describe()["init_args"]["recipe"]["lr"] == 0.5


@pytest.mark.parametrize(
    ("models", "error", "said"),
    [
        (["LSTN"], ValueError, "expected FeedForward, RNN, LSTM, GRU, AttentionSeq2Seq, Trans"),
        (["nowhere.Model"], ValueError, "'nowhere.Model' cannot be imported: No module named"),
        ([int], TypeError, "a subclass of SequenceModule, or a pair of one and its arguments"),
        ([functools.partial(sl.LSTM, None)], TypeError, "expected keyword arguments only"),
        ([{"class_path": "GRU", "args": 1}], TypeError, "got ['args']"),
        ([], ValueError, "expected at least one model"),
        (3, TypeError, "expected a list of models, got 3"),
    ],
)
def test_what_is_no_model(models: object, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=re.escape(said)):
        make_candidates(models)
