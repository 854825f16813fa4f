"""Pretrained tokenizers keep cutting texts as they do; only ids move."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from seqlearn.data import Text, TextPairs
from seqlearn.data.tokenizers import load_tokenizer, text_spec
from seqlearn.spec import TextSpec
from seqlearn.spec.raw_inputs import UnknownSymbolWarning

CORPUS = [
    "a black dog runs over the green grass",
    "ein schwarzer Hund läuft über das grüne Gras",
    "two men in helmets are working, and a boy is watching them.",
    "zwei Männer mit Helmen arbeiten, und ein Junge schaut zu!",
    "the price is 12.50, the <b>rest</b> [is] 7",
]
TEXTS = [*CORPUS, "", " the  dog ", "Übergröße", "green [SEP] grass", "<s> a </s> <pad>", "a\tb"]


def gpt2() -> Tokenizer:
    """Byte-level BPE whose only special token is the last id."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer


def bert() -> Tokenizer:
    """WordPiece with its special tokens in another order, and others between."""
    special = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    ids = [("[SEP]", tokenizer.token_to_id("[SEP]")), ("[CLS]", tokenizer.token_to_id("[CLS]"))]
    tokenizer.post_processor = processors.BertProcessing(*ids)
    tokenizer.enable_padding()
    tokenizer.enable_truncation(3)
    return tokenizer


def t5() -> Tokenizer:
    """Unigram whose end and unknown come in another order, and tokens outside of the model."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.add_special_tokens(["<extra_id_0>", "<extra_id_1>"])
    return tokenizer


def words() -> Tokenizer:
    """Whole words, without a decoder, and ordinary words that are called like special tokens."""
    vocabulary = {"end": 0, "s": 1, "[UNK]": 2, "start": 3, "pad": 4, "dog": 5, "the": 6}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


KINDS = {"gpt2": gpt2, "bert": bert, "t5": t5, "words": words}


def loaded(tokenizer: Tokenizer, folder: Path) -> TextSpec:
    tokenizer.save(str(folder / "tokenizer.json"))
    return text_spec(load_tokenizer(folder / "tokenizer.json"))


def plain(tokenizer: Tokenizer, *reserved: str) -> Tokenizer:
    """The tokenizer without what adds tokens, and without special tokens found in texts."""
    settings = json.loads(tokenizer.to_str())
    settings.update(truncation=None, padding=None, post_processor=None)
    settings["added_tokens"] = [
        one for one in settings["added_tokens"] if one["content"] not in reserved
    ]
    return Tokenizer.from_str(json.dumps(settings))


RESERVED = {
    "gpt2": (None, None, None, "<|endoftext|>"),
    "bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]"),
    "t5": ("<pad>", "<unk>", None, "</s>"),
    "words": (None, "[UNK]", None, None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_cut_as_before(kind: str, tmp_path: Path) -> None:
    own = KINDS[kind]()
    spec = loaded(own, tmp_path)
    names = [name for name in RESERVED[kind] if name is not None]
    before = plain(own, *names)
    new = Tokenizer.from_str(spec.tokenizer or "")
    texts = [*TEXTS, "the end s start pad dog"]
    for text in [text for text in texts if "<" not in text or kind != "t5"]:
        ids = new.encode(text, add_special_tokens=False).ids
        tokens = ["[UNK]" if i == 1 else new.id_to_token(i) for i in ids]
        expected = before.encode(text, add_special_tokens=False)
        names_before = map(before.id_to_token, expected.ids)
        assert tokens == ["[UNK]" if name == RESERVED[kind][1] else name for name in names_before]
        assert set(ids) <= {1, *range(4, spec.vocab_size)}
        if 1 not in ids:
            [decoded] = spec.decode([[2, *ids, 3, 0]])
            assert decoded == before.decode(expected.ids, skip_special_tokens=False)
    assert spec.vocab_size == own.get_vocab_size() + 4 - len(names)
    assert sorted(new.get_vocab().values()) == list(range(spec.vocab_size))
    assert [new.token_to_id(name) for name in names] == [None] * len(names)


def test_byte_level_bpe_gives_every_text_back(tmp_path: Path) -> None:
    spec = loaded(gpt2(), tmp_path)
    for text in [*TEXTS, "日本 <|endoftext|> <unk> \0<s>"]:
        ids = spec.encode([text])
        assert spec.decode(ids) == [text]
        assert set(ids[0]) <= set(range(4, spec.vocab_size))


def test_special_tokens_in_texts_stay_text(tmp_path: Path) -> None:
    spec = loaded(bert(), tmp_path)
    cut = Tokenizer.from_str(spec.tokenizer or "").encode("[SEP]")
    assert (cut.tokens[0], cut.tokens[-1]) == ("[", "]")
    assert not {0, 2, 3} & set(cut.ids)
    assert spec.decode([[1, *spec.encode(["dog"])[0]]]) == ["<unk> dog"]
    # Tokens of no such kind are still found: here a mask.
    assert spec.tokens(spec.encode(["dog [MASK]"])[0])[-1] == "[MASK]"
    data = TextPairs(
        [(text, "a") for text in CORPUS],
        source=Text(str(tmp_path / "tokenizer.json")),
        target=Text(),
    )
    assert data.spec.source.vocab_size == spec.vocab_size
    unigram = loaded(t5(), tmp_path)
    assert unigram.tokens(unigram.encode(["dog<extra_id_1>"])[0])[-1] == "<extra_id_1>"
    ids = Tokenizer.from_str(unigram.tokenizer or "").encode("</s> <pad>").ids
    assert not {0, 2, 3} & set(ids)


def test_unknown_words_are_unknown(tmp_path: Path) -> None:
    spec = loaded(words(), tmp_path)
    assert spec.encode(["end s start pad dog the"]) == [[4, 5, 6, 7, 8, 9]]
    assert spec.decode([[4, 1, 8]]) == ["end <unk> dog"]
    with pytest.warns(UnknownSymbolWarning, match="'cat' at character 5"):
        assert spec.encode(["the cat"]) == [[9, 1]]


def test_special_tokens_where_a_template_names_them(tmp_path: Path) -> None:
    tokenizer = words()
    tokenizer.add_special_tokens(["begin", "fin"])
    ids = {name: tokenizer.token_to_id(name) for name in ("begin", "fin")}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="begin $A fin", special_tokens=list(ids.items())
    )
    tokenizer.add_tokens([AddedToken("New York", single_word=True)])
    spec = loaded(tokenizer, tmp_path)
    assert spec.vocab_size == 4 + 6 + 1
    assert spec.tokens(spec.encode(["the New York dog"])[0]) == ["the", "New York", "dog"]


def model(**options: Any) -> bytes:
    """A small SentencePiece model."""

    class Writer:
        content = b""

        def write(self, content: bytes) -> int:
            self.content += content
            return len(content)

    writer = Writer()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 4),
        model_writer=writer,
        vocab_size=options.pop("vocab_size", 90),
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return writer.content


ODD = [
    "  the  dog ",
    "<s> </s> <unk> <pad>",
    "ﬁne ① Ａ½",
    "x▁y",
    "日本 dog",
    "a\tb\u3000c",
    "▁",
    " ",
]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byte_fallback": True, "vocab_size": 400},
        {"normalization_rule_name": "identity"},
        {"user_defined_symbols": ["<sep>", "er"], "pad_id": 3},
        {"add_dummy_prefix": False, "unk_id": 2, "bos_id": 0, "eos_id": 1},
        {"remove_extra_whitespaces": False},
    ],
)
def test_a_sentencepiece_model_cuts_like_sentencepiece(
    kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    content = model(model_type=kind, **options)
    (tmp_path / "spm.model").write_bytes(content)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=content)
    spec = text_spec(load_tokenizer(tmp_path / "spm.model"))
    ours = Tokenizer.from_str(spec.tokenizer or "")
    for text in [*TEXTS, *ODD, "the<sep> dog<sep>"]:
        ids = ours.encode(text, add_special_tokens=False).ids
        expected = theirs.encode(text, out_type=int)
        assert ["?" if i == 1 else ours.id_to_token(i) for i in ids] == [
            "?" if theirs.is_unknown(i) else theirs.id_to_piece(i) for i in expected
        ]
        assert not {0, 2, 3} & set(ids)
        if 1 not in ids:
            assert spec.decode([ids]) == [theirs.decode(expected)]
    assert spec.decode([[1]]) == ["<unk>"]


def test_what_is_no_sentencepiece_model(tmp_path: Path) -> None:
    path = tmp_path / "spm.model"
    good = model()
    for content in (b"", b"\x0a", b"hello", good[:-3], good[:50]):
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"spm\.model: expected the JSON .* or a SentencePiece"
        ):
            load_tokenizer(path)
    path.write_bytes(model(model_type="char"))
    with pytest.raises(ValueError, match="models of type char are not supported"):
        load_tokenizer(path)
