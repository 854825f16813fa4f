from __future__ import annotations

import dataclasses

import pytest

from seqlearn.data import Classes, Text, Vector


def test_a_field_is_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Text().tokenizer = "bpe"  # type: ignore[misc]


@pytest.mark.parametrize("vocab_size", [0, 4, -1])
def test_a_vocabulary_needs_room_beside_the_reserved_ids(vocab_size: int) -> None:
    with pytest.raises(ValueError, match=f"above 4 .* got {vocab_size}"):
        Text("word", vocab_size=vocab_size)


@pytest.mark.parametrize("changes", [{"vocab_size": 100}, {"lowercase": True}])
def test_a_tokenizer_file_decides_for_itself(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"'tokenizer\.json.* defines its own"):
        Text("tokenizer.json", **changes)


@pytest.mark.parametrize("value", [3, None, b"text", ["a"]])
def test_text_refuses_what_is_no_string(value: object) -> None:
    with pytest.raises(ValueError, match="expected a string, got"):
        Text().check(value)


def test_text_refuses_half_of_a_surrogate_pair() -> None:
    with pytest.raises(ValueError, match=r"character 3 is '.ud800', half of a surrogate pair"):
        Text().check("ab\ud800")


@pytest.mark.parametrize("value", ["", 3, None])
def test_a_label_is_a_string_that_is_not_empty(value: object) -> None:
    Classes().check("fr")
    with pytest.raises(ValueError, match="expected a label"):
        Classes().check(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0, 2.0, 3.0], r"a vector of 2 numbers, got one of shape \(3,\)"),
        ([[1.0, 2.0]], r"got one of shape \(1, 2\)"),
        (5.0, r"got one of shape \(\)"),
        ([0.0, float("nan")], "got nan at position 2"),
        ([1e39, 0.0], "got inf at position 1"),
        (["a", "b"], "expected 2 numbers, got list"),
        (None, "expected|shape"),
    ],
)
def test_vector_refuses(value: object, message: str) -> None:
    Vector(2).check([1, 2.5])
    with pytest.raises(ValueError, match=message):
        Vector(2).check(value)


def test_a_vector_has_at_least_one_number() -> None:
    with pytest.raises(ValueError, match="size=0"):
        Vector(0)
