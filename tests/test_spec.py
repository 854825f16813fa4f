from __future__ import annotations

import copy
import json
import pickle

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

import seqlearn as sl
from seqlearn.spec import SPECIAL_TOKENS


def letters(text: str = "abc") -> str:
    """The JSON of a tokenizer that knows these letters."""
    names = [*SPECIAL_TOKENS, *text]
    tokenizer = Tokenizer(models.WordLevel({t: i for i, t in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer.to_str()


TEXT = sl.TextSpec(7, 5, letters())


@pytest.mark.parametrize(
    ("source", "target", "shape"),
    [
        (TEXT, sl.TextSpec(9, 4), "sequence-to-sequence"),
        (TEXT, sl.ClassesSpec(("a", "b")), "sequence-to-vector"),
        (TEXT, sl.VectorSpec(3), "sequence-to-vector"),
        (sl.VectorSpec(2), TEXT, "vector-to-sequence"),
        (None, TEXT, "nothing-to-sequence"),
    ],
)
def test_shapes_and_plain_data(source: object, target: object, shape: str) -> None:
    spec = sl.SequenceSpec(source, target)
    assert spec.shape == shape
    assert sl.SequenceSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec == copy.deepcopy(spec)


@pytest.mark.parametrize(
    ("source", "target"),
    [(None, sl.ClassesSpec(("a", "b"))), (sl.VectorSpec(2), sl.VectorSpec(2))],
)
def test_sides_that_make_no_model_are_refused(source: object, target: object) -> None:
    with pytest.raises(ValueError, match="what does: text to text"):
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


def test_encode_and_decode() -> None:
    assert TEXT.encode(["abc", ""]) == [[4, 5, 6], []]
    assert TEXT.decode([[2, 4, 6, 3, 0], []]) == ["ac", ""]
    assert TEXT.tokens([2, 5, 1]) == ["<s>", "b", "<unk>"]


def test_an_unknown_character_is_named_with_its_place() -> None:
    with pytest.raises(ValueError, match=r"source 2: 'ß' at character 3 of 'abß'"):
        TEXT.encode(["a", "abß"], what="source")
    learned = sl.TextSpec(7, 5, letters(), unknown_seen=True)
    assert learned.encode(["abß"]) == [[4, 5, 1]]


def test_half_of_a_surrogate_pair_is_no_character() -> None:
    """It comes from bytes that were decoded carelessly, and no tokenizer can take it."""
    with pytest.raises(ValueError, match=r"source 2: character 2 is '\\ud800', half of"):
        TEXT.encode(["a", "b\ud800c"], what="source")


def test_ids_are_checked_and_passed_through() -> None:
    assert sl.TextSpec(7, 5).encode([[4, 6]]) == [[4, 6]]
    assert sl.TextSpec(7, 5).decode([[2, 4, 6, 3]]) == [[4, 6]]
    with pytest.raises(ValueError, match="ids from 0 to 6, got 7"):
        sl.TextSpec(7, 5).encode([[4, 7]])
    with pytest.raises(ValueError, match="this model has no tokenizer"):
        sl.TextSpec(7, 5).encode(["a"])


def test_differences_name_what_changes_the_meaning_of_ids() -> None:
    spec = sl.SequenceSpec(TEXT, sl.TextSpec(9, 4))
    assert spec.differences(sl.SequenceSpec(sl.TextSpec(7, 99, letters()), sl.TextSpec(9, 4))) == []
    other = sl.SequenceSpec(sl.TextSpec(7, 5, letters("abd")), sl.ClassesSpec(("a", "b")))
    assert spec.differences(other) == [
        "source: two different tokenizers",
        "target: text against classes",
    ]
    assert spec.differences(sl.SequenceSpec(sl.TextSpec(8, 5), sl.TextSpec(9, 4))) == [
        "source: vocab_size 7 against 8"
    ]
