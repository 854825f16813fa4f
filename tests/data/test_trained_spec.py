"""Data that takes the vocabulary, labels and scaling of a trained model."""

from __future__ import annotations

import numpy as np
import pytest

import seqlearn as sl
from seqlearn.data import Classes, LabelledText, Series, SeriesFiles, Text, TextPairs, Vector

FIRST = [("one two", "eins zwei"), ("two three", "zwei drei")]
OTHER = [("two four", "zwei vier"), ("one", "eins")]


def test_a_text_field_of_a_spec_has_its_tokenizer() -> None:
    word = Text("word", lowercase=True)
    first = TextPairs(FIRST, source=word, target=Text("bpe", vocab_size=266))
    other = TextPairs(
        OTHER, source=Text.from_spec(first.spec.source), target=Text.from_spec(first.spec.target)
    )
    assert not first.spec.diff(other.spec)
    assert other.spec.source.unk_in_training  # "four" is not in the vocabulary
    assert first.spec.source.encode(["Two one"]) == other.spec.source.encode(["Two one"])
    assert repr(other.source).startswith("Text(<")
    assert repr(word) == "Text('word', lowercase=True)"
    with pytest.raises(ValueError, match="expected the spec of a text with a tokenizer"):
        Text.from_spec(sl.TextSpec(9, 4))


def test_a_model_trains_on_other_data_with_its_spec() -> None:
    joint = Text("char")
    first = TextPairs(FIRST, source=joint, target=joint)
    other = TextPairs(OTHER, source=Text("word", max_length=50), target=Text("word"))
    other.use_spec(first.spec)
    assert not first.spec.diff(other.spec)
    assert other.spec.joint_vocabulary
    assert other.source.max_length == 50
    labels = LabelledText([("one", "a"), ("two", "b"), ("three", "c")])
    fewer = LabelledText([("two", "b"), ("two one", "a")], class_weights=None)
    fewer.use_spec(labels.spec)
    assert not labels.spec.diff(fewer.spec)
    assert [int(n) for n in fewer.dataset("train")[[0, 1]].target] == [1, 0]


def test_scaling_of_vectors_and_series() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(n, 2)) for n in (3, 4, 5)]
    first = SeriesFiles(arrays, horizon=1)
    other = SeriesFiles([3 * array + 1 for array in arrays], horizon=1)
    assert first.spec.diff(other.spec)
    other = SeriesFiles([3 * array + 1 for array in arrays], horizon=1)
    other.use_spec(first.spec)
    assert not first.spec.diff(other.spec)
    assert Series.from_spec(first.spec.source).mean == first.spec.source.mean
    assert Vector.from_spec(first.spec.target).std == first.spec.target.std
    assert Vector.from_spec(sl.VectorSpec(3)) == Vector(3)


def test_what_does_not_fit_is_refused() -> None:
    first = LabelledText([("one", "a"), ("two", "b")])
    pairs = TextPairs(FIRST)
    with pytest.raises(ValueError, match=r"target: expected the type of this data, Text.*pass tar"):
        pairs.use_spec(first.spec)
    pairs.use_spec(first.spec, target=False)
    assert pairs.spec.source.tokenizer == first.spec.source.tokenizer
    with pytest.raises(ValueError, match="before the data is prepared"):
        pairs.use_spec(first.spec, target=False)
    unknown = LabelledText([("one", "a"), ("two", "z")])
    unknown.use_spec(first.spec)
    with pytest.raises(ValueError, match=r"the label 'z' is not one of \['a', 'b'\]; correct it$"):
        unknown.spec  # noqa: B018
    weighted = LabelledText([("one", "a")], class_weights="balanced")
    weighted.use_spec(first.spec)
    with pytest.raises(ValueError, match="no example of the label 'b'; leave weights out"):
        weighted.spec  # noqa: B018
    with pytest.raises(ValueError, match="source: expected the spec of series of 2 numbers"):
        SeriesFiles([np.zeros((3, 2))], horizon=1).use_spec(
            SeriesFiles([np.zeros((3, 1))], horizon=1).spec
        )
    with pytest.raises(ValueError, match="two or more distinct labels"):
        Classes(labels=("a",))
