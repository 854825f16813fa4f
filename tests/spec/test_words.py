"""Words of a sentence and their first pieces, for every kind of tokenizer."""

from __future__ import annotations

import functools
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers

from seqlearn.data.fields import Text
from seqlearn.data.tokenizers import train_tokenizer
from seqlearn.spec import TextSpec
from seqlearn.spec.words import (
    EncodedWords,
    check_words,
    first_pieces,
    split_words,
    unit_spans,
    words_of,
)

CORPUS = [
    "the cat sat on the mat",
    "İstanbul – naïve cafés, 10\u00a0000 words",
    "unbelievable 😀 x",
]
KINDS = {
    "characters": Text("char"),
    "words": Text("word"),
    "byte pairs": Text("bpe", vocab_size=270),
    "lower-case characters": Text("char", lowercase=True),
    "lower-case byte pairs": Text("bpe", vocab_size=270, lowercase=True),
}


@functools.cache
def spec_of(kind: str) -> TextSpec:
    if kind == "leaves out x":
        tokenizer = Tokenizer.from_str(spec_of("characters").tokenizer)
        tokenizer.normalizer = normalizers.Replace("x", "")
        return TextSpec(100, 50, tokenizer.to_str(), unk_in_training=True)
    definition = train_tokenizer(KINDS[kind], CORPUS)
    size = Tokenizer.from_str(definition).get_vocab_size()
    return TextSpec(size, 50, definition, unk_in_training=True)


words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=6).filter(
    lambda word: len(split_words(word)) == 1 and split_words(word)[0] == word
)


@settings(max_examples=60, deadline=None)
@example("leaves out x", ["x", "a", "x", "x", "bx"])
@example("byte pairs", ["😀", "a\u00a0b", "İ"])
@given(st.sampled_from([*KINDS, "leaves out x"]), st.lists(words, max_size=5))
def test_each_word_has_the_first_piece_that_contains_one_of_its_characters(
    kind: str, sentence: list[str]
) -> None:
    spec, text = spec_of(kind), " ".join(sentence)
    (found,) = spec.encode_words([sentence])
    assert isinstance(found, EncodedWords)
    assert found == spec.encode([text])[0]
    assert len(found.starts) == len(sentence)
    encoding = Tokenizer.from_str(spec.tokenizer).encode(text, add_special_tokens=False)
    begin = 0
    for word, start in zip(sentence, found.starts, strict=True):
        span = range(begin, begin + len(word))
        inside = [n for n, (a, b) in enumerate(encoding.offsets) if set(range(a, b)) & set(span)]
        before = [n for n, (_, b) in enumerate(encoding.offsets) if b <= begin]
        assert start == (inside[0] if inside else before[-1] if before else 0)
        begin += len(word) + 1
    assert spec.encode_words([text])[0].starts == found.starts
    assert spec.encode_words([found])[0].starts == found.starts


def test_the_pieces_of_known_tokenizers() -> None:
    sentence = ["the", "cat"]
    assert spec_of("characters").encode_words([sentence])[0].starts == [0, 4]
    assert spec_of("words").encode_words([sentence])[0].starts == [0, 1]
    assert first_pieces([(0, 2), (3, 4)], [(0, 4)]) == [0, 0]  # one piece over both words
    assert first_pieces([(0, 2), (3, 4)], []) == [0, 0]


@settings(max_examples=60, deadline=None)
@example("byte pairs", "😀 é")
@given(st.sampled_from([*KINDS]), st.text(st.characters(exclude_categories=("Cs",)), max_size=8))
def test_each_character_has_the_first_piece_that_contains_it(kind: str, text: str) -> None:
    spec = spec_of(kind)
    (found,) = spec.encode_words([text], unit="character")
    assert found == spec.encode([text])[0]
    assert len(found.starts) == len(text)
    encoding = Tokenizer.from_str(spec.tokenizer).encode(text, add_special_tokens=False)
    for place, start in enumerate(found.starts):
        inside = [n for n, (a, b) in enumerate(encoding.offsets) if a <= place < b]
        before = [n for n, (_, b) in enumerate(encoding.offsets) if b <= place]
        assert start == (inside[0] if inside else before[-1] if before else 0)
    assert spec.encode_words([list(text)], unit="character")[0].starts == found.starts
    if kind == "characters":
        assert found.starts == list(range(len(text)))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([*KINDS]), st.lists(st.tuples(words, st.text(" \t\n", min_size=1, max_size=3)))
)
def test_white_space_between_words_may_be_any(kind: str, parts: list[tuple[str, str]]) -> None:
    text = "".join(word + space for word, space in parts)
    assert [text[a:b] for a, b in unit_spans(text)] == [word for word, _ in parts]
    spec = spec_of(kind)
    encoding = Tokenizer.from_str(spec.tokenizer).encode(text, add_special_tokens=False)
    for (begin, end), start in zip(unit_spans(text), *spec.word_starts([text]), strict=True):
        first, last = encoding.offsets[start]
        assert first < end
        assert last > begin


def test_ids_are_words() -> None:
    spec = TextSpec(9, 5)
    assert [each.starts for each in spec.encode_words([[4, 5, 6], []])] == [[0, 1, 2], []]
    with pytest.raises(ValueError, match=r"input 1: got the text 'a b', but this model has no tok"):
        spec.encode_words(["a b"])


def test_only_ascii_white_space_separates_words() -> None:
    assert split_words(" a\t\tb\u00a0c\u2009d\r\n") == ["a", "b\u00a0c\u2009d"]
    assert words_of("", "it") == words_of("  ", "it") == []
    assert words_of([4, 5], "it") is None


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        (["a", ""], "source 2, word 2: expected one word, got an empty text"),
        (["New York"], "source 2, word 1: expected one word, got white space in 'New York'"),
        (["a", 5], "source 2, word 2: expected a text, got int '5'"),
    ],
)
def test_a_wrong_word_is_named(sentence: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec_of("words").encode_words([["a"], sentence], label="source")
    with pytest.raises(ValueError, match="expected"):
        check_words(sentence)


def test_a_character_is_one_character() -> None:
    message = "source 1, character 2: expected one character, got 'bc'; split it"
    with pytest.raises(ValueError, match=message):
        spec_of("words").encode_words([["a", "bc"]], label="source", unit="character")
    with pytest.raises(ValueError, match="character 1: expected one character, got ''"):
        check_words([""], "character")
    assert check_words([" ", "a"], "character") == [" ", "a"]


def test_words_of_a_spec_survive_json() -> None:
    assert json.loads(json.dumps(EncodedWords([4, 5], [0]))) == [4, 5]
