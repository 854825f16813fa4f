from __future__ import annotations

import copy
import json
import pickle

import jaxtyping
import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

import seqlearn as sl
from seqlearn.batch import SPECIAL_TOKENS
from seqlearn.spec.raw_inputs import UnknownSymbolWarning


def letters(text: str = "abc") -> str:
    """The JSON of a tokenizer that knows these letters."""
    names = [*SPECIAL_TOKENS, *text]
    tokenizer = Tokenizer(models.WordLevel({t: i for i, t in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer.to_str()


TEXT = sl.TextSpec(7, 5, letters())


@pytest.mark.parametrize(
    ("source", "target", "task"),
    [
        (TEXT, sl.TextSpec(9, 4), "sequence-to-sequence"),
        (TEXT, sl.ClassesSpec(("a", "b")), "sequence-to-vector"),
        (TEXT, sl.VectorSpec(3), "sequence-to-vector"),
        (sl.VectorSpec(2), TEXT, "vector-to-sequence"),
        (None, TEXT, "language-modeling"),
    ],
)
def test_shapes_and_plain_data(source: object, target: object, task: str) -> None:
    spec = sl.SequenceSpec(source, target)
    assert spec.task == task
    assert sl.SequenceSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec == copy.deepcopy(spec)


@pytest.mark.parametrize(
    ("source", "target"),
    [(None, sl.ClassesSpec(("a", "b"))), (sl.VectorSpec(2), sl.VectorSpec(2))],
)
def test_sides_that_make_no_model_are_refused(source: object, target: object) -> None:
    with pytest.raises(ValueError, match=r"no model goes from .*; without a source"):
        sl.SequenceSpec(source, target)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sl.TextSpec(4, 1), "more than 4 ids"),
        (lambda: sl.ClassesSpec(("a",)), "two or more distinct labels"),
        (lambda: sl.ClassesSpec(("a", "a")), "two or more distinct labels"),
        (lambda: sl.VectorSpec(0), "at least one number"),
        (lambda: sl.SequenceSpec(TEXT, sl.TextSpec(9, 4), joint_vocabulary=True), "one vocabulary"),
        (lambda: sl.SequenceSpec.from_dict({"source": None}), "written by SequenceSpec.to_dict"),
    ],
)
def test_bad_specs(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("rows", [[[4.0, 5]], torch.tensor([[4.0, 5.0]]), ["ac"], [4, 5], [[[4]]]])
def test_only_whole_numbers_are_decoded(rows: object, unchecked: None) -> None:
    """`int` would read 4.7 as 4, and the text "4" as an id."""
    for spec in (TEXT, sl.TextSpec(7, 5)):
        with pytest.raises(TypeError, match=r"expected a list of ids \(whole numbers\) for each"):
            spec.decode(rows)
    with pytest.raises(TypeError, match=r"got a row \[4\.7\] \(list\)"):
        TEXT.tokens([4.7])


def test_encode_and_decode() -> None:
    assert TEXT.encode(["abc", ""]) == [[4, 5, 6], []]
    assert TEXT.decode([[2, 4, 6, 3, 0], []]) == ["ac", ""]
    assert TEXT.decode(torch.tensor([[2, 4, 6, 3, 0]])) == ["ac"]
    assert TEXT.tokens([2, 5, 1]) == ["<s>", "b", "<unk>"]


def test_an_unknown_character_is_named_with_its_place() -> None:
    message = r"in 2 of 3 sources: source 2: 'ß' at character 3; source 3: 'd' at character 1$"
    with pytest.warns(UnknownSymbolWarning, match=message):
        assert TEXT.encode(["a", "abß", "dd"], label="source") == [[4], [4, 5, 1], [1, 1]]
    with pytest.warns(UnknownSymbolWarning, match="in 1 of 1 inputs: input 1: the id 1"):
        assert sl.TextSpec(7, 5).encode([[4, 1]]) == [[4, 1]]
    with pytest.warns(UnknownSymbolWarning, match=r"input 5: 'ß' at character 1; and 2 more$"):
        TEXT.encode(["ß"] * 7)
    assert TEXT.unknown_symbols("abßd") == ["'ß' at character 3", "'d' at character 4"]
    learned = sl.TextSpec(7, 5, letters(), unk_in_training=True)
    assert learned.encode(["abß"]) == [[4, 5, 1]]


def test_half_of_a_surrogate_pair_is_no_character() -> None:
    """It comes from bytes that were decoded carelessly, and no tokenizer can take it."""
    with pytest.raises(ValueError, match=r"source 2: character 2 is '\\ud800', half of"):
        TEXT.encode(["a", "b\ud800c"], label="source")


def test_ids_are_checked_and_passed_through() -> None:
    assert sl.TextSpec(7, 5).encode([[4, 6]]) == [[4, 6]]
    assert sl.TextSpec(7, 5).decode([[2, 4, 6, 3]]) == [[4, 6]]
    with pytest.raises(ValueError, match="ids from 0 to 6, got 7"):
        sl.TextSpec(7, 5).encode([[4, 7]])
    for same in (np.array([4, 6]), torch.tensor([4, 6]), [np.int64(4), torch.tensor(6)], (4, 6)):
        (ids,) = sl.TextSpec(7, 5).encode([same])
        assert ids == [4, 6]
        assert {type(token) for token in ids} == {int}
    assert sl.TextSpec(7, 5).encode(torch.tensor([[4, 6], [5, 5]])) == [[4, 6], [5, 5]]
    with pytest.raises(ValueError, match="this model has no tokenizer"):
        sl.TextSpec(7, 5).encode(["a"])


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (
            [[4, 0, 0]],
            ValueError,
            r"source 1: .* without padding \(0\).*cut padding off with row\[",
        ),
        ([[4], [2, 4, 3]], ValueError, r"source 2: .* start \(2\) and end \(3\), got \[2, 4, 3\]"),
        (torch.tensor([[4, 5], [4, 0]]), ValueError, r"source 2: .*or use trainer\.predict"),
        ([[4, 5.0]], TypeError, r"source 1: .* got float \(5\.0\) at position 2; ids are integers"),
        (torch.tensor([[4.0]]), TypeError, r"got float \(4\.0\) at position 1"),
        ([[4, float("nan")]], TypeError, r"got float \(nan\) at position 2"),
        ([[True]], TypeError, r"got bool \(True\) at position 1"),
        ([[4, None]], TypeError, r"got NoneType \(None\) at position 2"),
        ([["a", "b"]], TypeError, r"got str \('a'\) at position 1"),
        ([[[4, 5]]], TypeError, "got a list within a list"),
        ([None], TypeError, "source 1: expected a text or a list of ids, got None"),
        ([b"ab"], TypeError, r"got bytes; decode them first, with \.decode\('utf-8'\)"),
        ([4, 5], TypeError, "got the number 4; put the ids of each text in a list"),
        (torch.tensor([4, 5]), TypeError, "got the number 4"),
        ([{4: 5}], TypeError, "source 1: expected a text or a list of ids, got dict"),
        ([{4}], TypeError, "source 1: .* got set"),
        ({"a": "b"}, TypeError, "expected a list of sources, got dict; pass one of its columns"),
        ({"a"}, TypeError, r"expected a list of sources, got set; pass a list"),
        ("abc", TypeError, r"expected a list of sources, got one string; pass \['abc'\]"),
        (b"abc", TypeError, r"expected a list of sources, got one bytes object"),
        (5, TypeError, "expected a list of sources, got int"),
        (torch.tensor(5), TypeError, "expected a list of sources, got Tensor"),
    ],
)
def test_what_is_no_list_of_texts_or_ids_is_refused(
    texts: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sl.TextSpec(7, 5).encode(texts, label="source")


@pytest.mark.parametrize(
    ("vectors", "error", "message"),
    [
        ([[1.0]], ValueError, r"source 1: expected 2 numbers, got \(1,\)"),
        ([[[1.0, 2.0]]], ValueError, r"source 1: expected 2 numbers, got \(1, 2\)"),
        ([[0, 1], [1, float("nan")]], ValueError, "source 2: .* finite .* got nan at position 2"),
        ([[1e300, 0]], ValueError, r"finite numbers, got 1e\+300 at position 1"),
        (["ab"], TypeError, "source 1: expected 2 numbers, got 'ab'"),
        ([["1", "2"]], TypeError, "source 1: expected 2 numbers, got list"),
        ([[1, None]], TypeError, "source 1: expected 2 numbers, got list"),
        ([None], TypeError, "source 1: expected 2 numbers, got NoneType"),
        ([[1j, 0]], TypeError, "source 1: expected 2 numbers, got list"),
        ([[1.0, [2.0]]], TypeError, "source 1: expected 2 numbers, got list"),
        ([1.0, 2.0], ValueError, r"source 1: expected 2 numbers, got \(\)"),
        ("12", TypeError, "expected a list of sources, got one string"),
        ({"a": 1}, TypeError, "expected a list of sources, got dict"),
    ],
)
def test_what_is_no_vector_is_refused(
    vectors: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sl.VectorSpec(2).encode(vectors, label="source")


def test_vectors_come_as_arrays() -> None:
    given = [[0, 1], np.array([0, 1]), torch.tensor([0.0, 1.0], requires_grad=True)]
    for vector in sl.VectorSpec(2).encode([*given, [np.float64(0), torch.tensor(1)]]):
        assert vector.dtype == np.float32
        assert vector.tolist() == [0.0, 1.0]


def test_differences_name_what_changes_the_meaning_of_ids() -> None:
    spec = sl.SequenceSpec(TEXT, sl.TextSpec(9, 4))
    assert spec.diff(sl.SequenceSpec(sl.TextSpec(7, 99, letters()), sl.TextSpec(9, 4))) == []
    other = sl.SequenceSpec(sl.TextSpec(7, 5, letters("abd")), sl.ClassesSpec(("a", "b")))
    assert spec.diff(other) == [
        "source: two different tokenizers",
        "target: text against classes",
    ]
    assert spec.diff(sl.SequenceSpec(sl.TextSpec(8, 5), sl.TextSpec(9, 4))) == [
        "source: vocab_size 7 against 8"
    ]


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (TEXT, "x", "target: expected an instance of a TargetSpec, such as TextSpec.*, got 'x'"),
        (TEXT, sl.ClassesSpec, "target: .* got the class ClassesSpec"),
        (sl.TextSpec, TEXT, "source: expected an instance of a SourceSpec.* the class TextSpec"),
    ],
)
def test_a_side_of_another_type(
    source: object, target: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match=message):
        sl.SequenceSpec(source, target)
