"""`TaggedText`: files, tables, and what is wrong in them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

import seqlearn as sl
from seqlearn.data import TaggedText, Tags, Text
from seqlearn.data.sources.tagged_text import to_iob2

ROWS = [
    (["Ada", "is", "in", "New", "York"], ["B-name", "O", "O", "B-city", "I-city"]),
    (["It", "rains"], ["O", "O"]),
    (["Rome", "waits"], ["B-city", "O"]),
]
EXAMPLES = [(" ".join(words), tags) for words, tags in ROWS]
CONLL = """\
-DOCSTART- -X- O

Ada NNP B-name
is VBZ O
in IN O
New NNP B-city
York NNP I-city

It PRP O
rains VBZ O


Rome NNP B-city
waits VBZ O
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path / "cache"))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_of_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "train.conll", CONLL)
    assert list(TaggedText(path).examples("train")) == EXAMPLES
    tabs = write(tmp_path / "train.tsv", CONLL.replace(" ", "\t"))
    assert list(TaggedText(tabs).examples("train")) == EXAMPLES
    parts = list(TaggedText(path, columns=(1, 2)).examples("train"))
    assert parts[1] == ("It rains", ["PRP", "VBZ"])
    packed = tmp_path / "train.txt.gz"
    packed.write_bytes(gzip.compress(CONLL.replace("\n", "\r\n").encode()))
    assert list(TaggedText(packed).examples("train")) == EXAMPLES
    data = TaggedText(path)
    assert data.describe_location("train", 1) == f"{path}, line 9"
    assert data.spec.target == sl.TagsSpec(("B-city", "B-name", "I-city", "O"))
    assert data.spec.task == "tagging"
    assert data.fingerprint() != TaggedText(path, columns=(1, 2)).fingerprint()


def test_universal_dependencies(tmp_path: Path) -> None:
    lines = [
        "# text = vámonos al 10\u00a0000",
        "1-2\tvámonos\t_\t_",
        "1\tvamos\tir\tVERB",
        "2\tnos\tnosotros\tPRON",
        "2.1\tx\tx\tX",
        "3\t10\u00a0000\t10000\tNUM",
        "",
    ]
    path = write(tmp_path / "train.conllu", "\n".join(lines))
    expected = [("vamos nos 10\u00a0000", ["VERB", "PRON", "NUM"])]
    assert list(TaggedText(path).examples("train")) == expected


def test_json_lines_and_tables(tmp_path: Path) -> None:
    records = [{"id": n, "words": words, "tags": tags} for n, (words, tags) in enumerate(ROWS)]
    path = write(tmp_path / "train.jsonl", "".join(json.dumps(row) + "\n" for row in records))
    frame = pd.DataFrame(records)
    arrays = frame.assign(words=frame["words"].map(np.array), tags=frame["tags"].map(np.array))
    strings = [{"tokens": " ".join(words), "ner": " ".join(tags)} for words, tags in ROWS]
    for data in (
        TaggedText(path),
        TaggedText(frame),
        TaggedText(arrays),
        TaggedText(records),
        TaggedText(ROWS),
        TaggedText({"words": [words for words, _ in ROWS], "tags": [tags for _, tags in ROWS]}),
        TaggedText(strings, columns=("tokens", "ner")),
        TaggedText(sl.data.Stream(iter(records), name="tags 1")),
    ):
        assert list(data.examples("train")) == EXAMPLES
    changed = arrays.assign(tags=[["O"] * len(words) for words, _ in ROWS])
    assert TaggedText(arrays).fingerprint() != TaggedText(changed).fingerprint()


def test_names_of_a_dataset() -> None:
    names = ["O", "B-city", "B-name", "I-city"]
    features = datasets.Features(
        {
            "tokens": datasets.List(datasets.Value("string")),
            "ner_tags": datasets.List(datasets.ClassLabel(names=names)),
        }
    )
    rows = {
        "tokens": [words for words, _ in ROWS],
        "ner_tags": [[names.index(tag) for tag in tags] for _, tags in ROWS],
    }
    data = TaggedText(
        datasets.Dataset.from_dict(rows, features=features), columns=("tokens", "ner_tags")
    )
    assert list(data.examples("train")) == EXAMPLES
    plain = TaggedText({"words": [["a", "b"]], "tags": [[1, 0]]})
    assert list(plain.examples("train")) == [("a b", ["1", "0"])]


def test_iob1_becomes_iob2() -> None:
    tags = ["I-x", "I-x", "B-x", "I-x", "O", "I-y", "I-x"]
    assert to_iob2(tags) == ["B-x", "I-x", "B-x", "I-x", "O", "B-y", "B-x"]
    rows = [(["a", "b"], ["I-x", "B-x"]), (["c"], ["O"])]
    assert [tags for _, tags in TaggedText(rows, scheme="iob1").examples("train")] == [
        ["B-x", "B-x"],
        ["O"],
    ]


def test_bioes_and_bilou_become_iob2() -> None:
    rows = [(list("abcd"), ["S-x", "B-y", "I-y", "E-y"]), (list("abc"), ["U-x", "B-y", "L-y"])]
    data = TaggedText(rows, scheme="bioes")
    assert [tags for _, tags in data.examples("train")] == [
        ["B-x", "B-y", "I-y", "I-y"],
        ["B-x", "B-y", "I-y"],
    ]
    assert data.spec.target.span_types == ("x", "y")
    with pytest.raises(ValueError, match="word 2: 'I-y' follows 'B-x'"):
        _ = TaggedText([(["a", "b"], ["S-x", "E-y"])], scheme="bioes").spec


@pytest.mark.parametrize(("tags", "scheme"), [(["S-x", "O"], "bioes"), (["I-x", "O"], "iob1")])
def test_spans_in_another_scheme_are_noticed(tags: list[str], scheme: str) -> None:
    with pytest.warns(UserWarning, match=f"look like spans .*pass scheme='{scheme}'"):
        assert TaggedText([(["a", "b"], tags)]).spec.target.span_types == ()


def test_sentences_of_pairs_are_refused() -> None:
    sentences = [[("a", "X"), ("b", "Y")], [("a", "X"), ("b", "Y"), ("c", "Y")]]
    with pytest.raises(ValueError, match=r"pairs \(word, tag\); pass \[tuple\(zip"):
        TaggedText(sentences)  # type: ignore[arg-type]
    rows: Any = [tuple(zip(*sentence, strict=True)) for sentence in sentences]
    assert list(TaggedText(rows).examples("train"))[1] == ("a b c", ["X", "Y", "Y"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a O\nb\n", "line 2: expected 2 columns, as on the first line with a word, got 1: 'b'"),
        ("a\nb\n", "line 1: expected at least 2 columns, with a word and its tag, got 1"),
        ("a\tO\n\tO\n", "line 2: expected one word, got an empty text"),
        ("a b\tO\n", "line 1: expected one word, got white space in 'a b'"),
        ("a\tO\n\nb\tO\nc\t\n", "line 3: target: word 2: expected a label .*got str ''"),
        ("\n\n", "expected lines with a word and its tag, got none"),
        ("a O\nb B-x\n\nc O\nd I-x\n", "line 4, word 2: 'I-x' follows 'O', and in IOB2 a span"),
        ("a O\nb B-x\n\nc I-x\n", "line 4, word 1: 'I-x' is the first tag, .*pass scheme='iob1'"),
        ("a B-y\nb B-x\n\nc B-y\nd I-x\n", "line 4, word 2: 'I-x' follows 'B-y'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "train.conll", text)
    with pytest.raises(ValueError, match=f"train.conll.*{message}"):
        _ = TaggedText(path).spec


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"words": ["a", "b"], "tags": ["x"]},
            "line 2: expected one tag for each word, got 2 words",
        ),
        ({"words": [], "tags": []}, "line 2: target: expected at least one word, got an empty sen"),
        (
            {"words": ["a", ""], "tags": ["x", "x"]},
            "line 2, word 2: expected one word, got an empty",
        ),
        ({"words": "a b", "tags": 5}, "line 2, tags: expected a list or a text, got int 5"),
        ({"words": ["a"], "tags": [None]}, "line 2: target: word 1: expected a label .*NoneType"),
        ({"words": ["a"]}, r"line 2: expected a column 'tags', got \['words'\]"),
    ],
)
def test_a_wrong_object_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    rows = [{"words": ["a", "b"], "tags": ["x", "y"]}, row]
    path = write(tmp_path / "train.jsonl", "".join(json.dumps(each) + "\n" for each in rows))
    with pytest.raises(ValueError, match=f"train.jsonl, {message}"):
        _ = TaggedText(path).spec


def test_a_tag_that_training_lacks_is_named(tmp_path: Path) -> None:
    train = write(tmp_path / "train.conll", "a x\nb y\n")
    test = write(tmp_path / "test.conll", "a x\n\na x\nb z\n")
    message = r"test.conll, line 3, word 2: the tag 'z' does not occur in the training split"
    with pytest.raises(ValueError, match=message):
        _ = TaggedText(train, test=test).spec
    with pytest.raises(ValueError, match="expected two or more distinct labels"):
        _ = TaggedText([(["a"], ["x"])]).spec


def test_labels_of_a_trained_model_are_used() -> None:
    trained = TaggedText(ROWS)
    other = TaggedText([(["Oslo", "Rome"], ["B-city", "O"])])
    other.use_spec(trained.spec)
    assert other.spec.diff(trained.spec) == []
    assert other.dataset("train")[[0]].target.tolist() == [[[0, 1], [1, 4]]]
    wrong = TaggedText([(["Oslo"], ["B-lake"])])
    wrong.use_spec(trained.spec)
    with pytest.raises(ValueError, match="row 0, word 1: the tag 'B-lake' is not one of"):
        _ = wrong.spec
    weighted = TaggedText([(["Oslo"], ["O"])], class_weights="balanced")
    weighted.use_spec(trained.spec)
    with pytest.raises(ValueError, match="no word with the tag 'B-city'; leave weights out"):
        _ = weighted.spec
    assert Tags.from_spec(trained.spec.target) == Tags(labels=trained.spec.target.labels)
    with pytest.raises(ValueError, match="expected a TagsSpec"):
        Tags().with_spec(trained.spec.source)


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a CSV file, which has no lists"):
        TaggedText(tmp_path / "a.csv")
    with pytest.raises(ValueError, match="has no names of columns; pass numbers from 1"):
        TaggedText(tmp_path / "a.conll", columns=("word", "tag"))
    with pytest.raises(ValueError, match="expected weights above 0"):
        Tags({"x": 0.0})
    with pytest.raises(ValueError, match="expected a list of tags, one for each word, got str 'x'"):
        Tags().check("x")


def test_long_sentences_follow_the_option() -> None:
    rows = [(["aa", "bb", "cc"], ["x", "y", "z"]), (["a", "c", "b"], ["x", "z", "y"])]
    with pytest.raises(
        ValueError, match="train dataset, row 0: source: expected at most max_length=7"
    ):
        _ = TaggedText(rows, text=Text("char", max_length=7)).spec
    cut = TaggedText(rows, rows, text=Text("char", max_length=7, overflow="truncate"))
    with pytest.warns(UserWarning, match="the source of 1 of 2 examples is truncated"):
        batch = cut.dataset("train")[[0, 1]]
    assert batch.source_lengths.tolist() == [7, 5]
    assert batch.target.tolist()[0] == [[0, 1], [3, 2], [6, 3]]  # the last word keeps one character
    assert cut.dataset("val")[[0]].source_lengths.tolist() == [8]
    shorter = TaggedText(rows, rows, text=Text("char", max_length=5, overflow="truncate"))
    with pytest.warns(UserWarning, match="truncated"):
        batch = shorter.dataset("train")[[0, 1]]
    assert batch.target.tolist() == [[[0, 1], [3, 2], [0, 0]], [[0, 1], [2, 3], [4, 2]]]
    assert batch.target_lengths.tolist() == [2, 3]
    assert shorter.dataset("train").counted([[0], [1], [0, ~1]]).tolist() == [2, 3, 2]
    lost = TaggedText(rows[:1], text=Text("char", max_length=5, overflow="truncate"))
    with pytest.raises(ValueError, match="all training words with the tag 'z' are in parts"):
        _ = lost.spec


def test_any_data_module_of_texts_can_have_tags() -> None:
    class Vowels(sl.data.SequenceDataModule):
        def __init__(self) -> None:
            super().__init__(Text("char"), Tags())

        def examples(self, split: str) -> list[tuple[str, list[str]]]:
            words = ["at", "be", "cd", "on"]
            return [(" ".join(words), ["yes" if set(w) & set("aeo") else "no" for w in words])]

    data = Vowels()
    assert data.dataset("train")[[0]].target.tolist() == [[[0, 2], [3, 2], [6, 1], [9, 2]]]
    assert "Tags()" in repr(data)
    assert data.spec.target.decode_labels(data.dataset("train")[[0]].target) == [
        ["yes", "yes", "no", "yes"]
    ]


@pytest.mark.parametrize("names", ["token\ttag", "Words\tLabels"])
def test_a_line_of_names_is_said(tmp_path: Path, names: str) -> None:
    path = write(tmp_path / "train.tsv", f"{names}\na\tN\nb\tV\n\nc\tN\n")
    message = r"train\.tsv, line 1: .* look like column names .* remove the line"
    with pytest.warns(UserWarning, match=message):
        assert len(list(TaggedText(path).examples("train"))) == 2
