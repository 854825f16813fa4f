from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from seqlearn.batch import END, PAD, SPECIAL_TOKENS, START
from seqlearn.data import Text
from seqlearn.data.tokenizers import load_tokenizer, text_spec, train_tokenizer
from seqlearn.spec import TextSpec
from seqlearn.spec.raw_inputs import UnknownSymbolWarning

TEXTS = ["Ein Mann schläft.", "Zwei Männer schlafen nicht!", "The man's dog   sleeps", "a\r\nb\t☃"]
KINDS = ("char", "word", "bpe")


def spec_of(kind: str, texts: list[str] = TEXTS, **settings: int) -> TextSpec:
    return text_spec(train_tokenizer(Text(kind, **settings), texts))


ROOT = Path(__file__).resolve().parents[2]
BPE = spec_of("bpe")
CHAR = spec_of("char")
WORD = spec_of("word")


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_four_ids_are_reserved(kind: str) -> None:
    tokenizer = Tokenizer.from_str(spec_of(kind).tokenizer or "")
    assert tuple(tokenizer.id_to_token(number) for number in range(4)) == SPECIAL_TOKENS


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_bpe_gives_every_text_back(text: str) -> None:
    (ids,) = BPE.encode([text])
    assert not {PAD, 1, START, END} & set(ids)
    assert BPE.decode([ids]) == [text]


@given(st.text(sorted(set("".join(TEXTS)))))
def test_char_is_one_token_per_code_point_and_gives_the_text_back(text: str) -> None:
    (ids,) = CHAR.encode([text])
    assert len(ids) == len(text)
    assert CHAR.decode([ids]) == [text]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_char_gives_what_it_was_trained_on_back(text: str) -> None:
    spec = spec_of("char", [text])
    (ids,) = spec.encode([text])
    assert len(ids) == len(text)
    assert spec.decode([ids]) == [text]


@given(
    st.lists(st.sampled_from("".join(f"{text} " for text in TEXTS).split())),
    st.sampled_from([" ", "\n", "\t ", "\u2003"]),
)
def test_word_gives_the_text_back_up_to_runs_of_whitespace(words: list[str], blank: str) -> None:
    (ids,) = WORD.encode([blank + blank.join(words)])
    assert len(ids) == len(words)
    assert WORD.decode([ids]) == [" ".join(words)]


@pytest.mark.parametrize(
    "text", ["", " x", "x ", "  ", "\n", "👩\u200d👩\u200d👧", "\x00\x7f", "<s>"]
)
def test_bpe_gives_odd_texts_back(text: str) -> None:
    assert BPE.decode(BPE.encode([text])) == [text]


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_that_looks_like_a_reserved_token_stays_text(kind: str) -> None:
    texts = [f"a {' '.join(SPECIAL_TOKENS)} b", *SPECIAL_TOKENS, "".join(SPECIAL_TOKENS)] * 50
    spec = spec_of(kind, texts)
    encoded = spec.encode(texts)
    assert not {PAD, 1, START, END} & {token for ids in encoded for token in ids}
    assert spec.decode(encoded) == texts


def test_bpe_cuts_the_first_word_like_any_other_and_signs_from_words() -> None:
    (ids,) = BPE.encode(["Mann Mann"])
    assert ids[: len(ids) // 2] == ids[len(ids) // 2 :]
    spec = spec_of("bpe", ["nicht. nicht, nicht! nicht"] * 20)
    assert [spec.tokens(ids) for ids in spec.encode(["nicht.", "nicht"])] == [
        ["nicht", "."],
        ["nicht"],
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_lowercase_is_part_of_the_tokenizer(kind: str) -> None:
    spec = text_spec(train_tokenizer(Text(kind, lowercase=True), TEXTS))
    assert spec.decode(spec.encode(["Zwei MÄNNER"])) == ["zwei männer"] or kind == "char"
    assert spec.encode(["EIN MANN"]) == spec.encode(["ein mann"])


def test_an_unknown_token_is_named_by_what_stands_in_the_text() -> None:
    with pytest.warns(UnknownSymbolWarning, match="'Hund' at character 6$"):
        WORD.encode(["Zwei Hund schläft."])
    with pytest.warns(UnknownSymbolWarning, match="'X' at character 3$"):
        CHAR.encode(["abX"])


def test_unknown_is_written_as_a_word_among_words() -> None:
    spec = TextSpec(WORD.vocab_size, 0, WORD.tokenizer, unk_in_training=True)
    assert spec.decode(spec.encode(["Zwei Hunde schläft."])) == ["Zwei <unk> schläft."]
    assert spec.decode(spec.encode(["Hunde schläft."])) == ["<unk> schläft."]


@pytest.mark.parametrize(("kind", "supported"), [("char", 8), ("word", 6)])
def test_a_vocabulary_larger_than_the_data_supports_is_refused(kind: str, supported: int) -> None:
    texts = ["ab ab", "c"]
    assert spec_of(kind, texts).vocab_size == supported
    assert spec_of(kind, texts, vocab_size=supported).vocab_size == supported
    with pytest.raises(ValueError, match=f"supports no more than {supported} tokens .*=100;"):
        spec_of(kind, texts, vocab_size=100)


def test_the_most_frequent_tokens_stay() -> None:
    spec = spec_of("word", ["b b a c c c d"], vocab_size=6)
    assert spec.tokens(range(4, 6)) == ["c", "b"]
    assert spec_of("word", ["d c b a"], vocab_size=6).tokens(range(4, 6)) == ["a", "b"]


def test_bpe_has_8000_ids_at_most_by_default() -> None:
    assert 260 < BPE.vocab_size < 8000
    assert spec_of("bpe", vocab_size=270).vocab_size == 270
    with pytest.raises(ValueError, match=r"supports no more than [0-9]+ tokens .*=9000"):
        spec_of("bpe", vocab_size=9000)
    with pytest.raises(ValueError, match=r"needs at least 260 tokens .*=100"):
        spec_of("bpe", vocab_size=100)


@pytest.mark.parametrize("kind", ["char", "word"])
def test_texts_without_a_token_make_no_vocabulary(kind: str) -> None:
    with pytest.raises(ValueError, match="got none"):
        spec_of(kind, ["", ""])


def test_training_is_deterministic_also_in_another_process() -> None:
    texts = [f"{a}{b} {c}{a}" for a in "abcäß" for b in "xyz" for c in "uvwxyz"]
    here = [train_tokenizer(Text(kind), texts) for kind in KINDS]
    assert here == [train_tokenizer(Text(kind), iter(texts)) for kind in KINDS]
    code = (
        "import sys; from seqlearn.data import Text; "
        "from seqlearn.data.tokenizers import train_tokenizer; "
        f"sys.stdout.write(ascii([train_tokenizer(Text(kind), {texts!a}) for kind in {KINDS}]))"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True, cwd=ROOT
    )
    assert there.stdout == ascii(here)


def file_with(folder: Path, names: tuple[str, ...]) -> Path:
    """A tokenizer.json as others make it: reserved tokens searched for, and everything else on."""
    vocabulary = {name: number for number, name in enumerate((*names, "a", "b"))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=names[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(list(names))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{names[2]} $A {names[3]}", special_tokens=[(names[2], 2), (names[3], 3)]
    )
    tokenizer.enable_padding()
    tokenizer.enable_truncation(1)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@pytest.mark.parametrize("names", [SPECIAL_TOKENS, ("[PAD]", "[UNK]", "[BOS]", "[EOS]")])
def test_a_tokenizer_file_is_used_without_its_extras(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    spec = text_spec(load_tokenizer(file_with(tmp_path, names)))
    assert spec.vocab_size == 6
    assert spec.encode(["a b a b"]) == [[4, 5, 4, 5]]
    settings = json.loads(spec.tokenizer or "")
    assert (settings["truncation"], settings["padding"], settings["post_processor"]) == (None,) * 3


def test_a_tokenizer_file_must_be_there_and_be_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"'char', 'word', 'bpe' or the path .*'wrod'"):
        load_tokenizer("wrod")
    (tmp_path / "broken.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"broken\.json: expected the JSON of a Hugging Face"):
        load_tokenizer(tmp_path / "broken.json")


def test_a_bpe_file_without_an_unknown_token_gets_one(tmp_path: Path) -> None:
    """Else the library leaves unknown characters out, and nobody notices."""
    tokens = {"<pad>": 0, "<unk>": 1, "<s>": 2, "</s>": 3, "a": 4, "b": 5}
    made = Tokenizer(models.BPE(vocab=tokens, merges=[]))
    made.save(str(tmp_path / "tokenizer.json"))
    assert made.encode("acb").ids == [4, 5]
    spec = TextSpec(6, 4, tokenizer=load_tokenizer(tmp_path / "tokenizer.json"))
    with pytest.warns(UnknownSymbolWarning):
        assert spec.encode(["acb"]) == [[4, 1, 5]]
