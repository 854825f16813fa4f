"""Counting and looking up whole tokens gives what the pipeline of `tokenizers` gives."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, trainers

from seqlearn.batch import SPECIAL_TOKENS
from seqlearn.data import Text
from seqlearn.data.column_encoders import TextEncoder
from seqlearn.data.tokenizers import (
    _plain,
    load_tokenizer,
    text_spec,
    train_tokenizer,
    whole_token_encoder,
)

TEXTS = st.lists(
    st.text("aAbB İßΣσ \t\n\r\x0b\x1c\x1f\x85\xa0\u180e\u200b\u2028<s>東\U0001f600")
    | st.text(st.characters(exclude_categories=["Cs"])),
    min_size=1,
    max_size=8,
)
KINDS = ("char", "word")


def reference(field: Text, texts: Sequence[str]) -> str:
    """The tokenizer as the trainer of the library makes it."""
    trained = Tokenizer.from_str(train_tokenizer(Text(field.tokenizer), ["a"]))
    trained.model = models.WordLevel(unk_token="<unk>")
    if field.lowercase:
        trained.normalizer = normalizers.Sequence([normalizers.Lowercase()])
    trainer = trainers.WordLevelTrainer(
        vocab_size=field.vocab_size or 2**31 - 1,
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    return _plain(trained)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lowercase", [False, True])
@given(texts=TEXTS, size=st.none() | st.integers(5, 9))
def test_it_is_the_tokenizer_of_the_library(
    kind: Any, lowercase: bool, size: int | None, texts: list[str]
) -> None:
    expected = reference(Text(kind, vocab_size=size, lowercase=lowercase), texts)
    count = Tokenizer.from_str(expected).get_vocab_size()
    if count == len(SPECIAL_TOKENS):
        with pytest.raises(ValueError, match="at least one token"):
            train_tokenizer(Text(kind, lowercase=lowercase), texts)
        return
    field = Text(kind, vocab_size=None if size is None else count, lowercase=lowercase)
    assert train_tokenizer(field, texts) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lowercase", [False, True])
@given(train=TEXTS, texts=TEXTS)
def test_it_encodes_as_the_library_does(
    kind: Any, lowercase: bool, train: list[str], texts: list[str]
) -> None:
    spec = train_tokenizer(Text(kind, lowercase=lowercase), [*train, "a A"])
    tokenizer = Tokenizer.from_str(spec)
    fast = whole_token_encoder(tokenizer)
    assert fast is not None
    encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    assert fast.encode(texts) == [one.ids for one in encoded]
    column = TextEncoder(text_spec(spec), "row {}".format, is_target=False)
    assert column.encode(texts, 0) == [one.ids for one in encoded]


@pytest.mark.parametrize("kind", KINDS)
def test_every_code_point_is_treated_alike(kind: Any) -> None:
    points = [chr(n) for n in range(sys.maxunicode + 1) if not 0xD800 <= n < 0xE000]
    texts = [f"a{point}b" for point in points[:0x3100]] + ["".join(points[0x3100:0x5000])]
    tokenizer = Tokenizer.from_str(train_tokenizer(Text(kind), ["a b"]))
    fast = whole_token_encoder(tokenizer)
    assert fast is not None
    encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    assert fast.encode(texts) == [one.ids for one in encoded]


def test_other_tokenizers_are_left_to_the_library(tmp_path: Any) -> None:
    assert whole_token_encoder(Tokenizer.from_str(train_tokenizer(Text("bpe"), ["ab"]))) is None
    settings = json.loads(train_tokenizer(Text("word"), ["one two"]))
    changed = {
        "pre_tokenizer": {"type": "Whitespace"},
        "added_tokens": [
            {
                "id": 6,
                "content": "<mask>",
                "special": True,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
            }
        ],
    }
    for name, value in changed.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(settings | {name: value}), encoding="utf-8")
        assert whole_token_encoder(Tokenizer.from_str(load_tokenizer(path))) is None
