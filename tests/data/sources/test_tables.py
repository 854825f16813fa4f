"""Tables in memory, of whatever kind, give what a file gives."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import yaml
from jsonargparse import ArgumentParser

from seqlearn.data import LabelledText, PlainText, SequenceDataModule, Text, TextPairs, Vectors
from seqlearn.data.columns import looks_like_header
from seqlearn.data.sources.tables import MemoryTable

PAIRS = [("ein Hund", "a dog"), ("ja", "yes"), ("nein", "no"), ("gut", "good")]
ROWS = [{"de": de, "en": en} for de, en in PAIRS]
COLUMNS = {"de": [de for de, _ in PAIRS], "en": [en for _, en in PAIRS]}
CHARS = {"source": Text(), "target": Text()}
NESTED = [{"translation": row} for row in ROWS]

TABLES: dict[str, Any] = {
    "DataFrame": pd.DataFrame(ROWS),
    "DataFrame with another index": pd.DataFrame(ROWS, index=[7, 7, 1, 0]),
    "dict of lists": COLUMNS,
    "dict of arrays": {name: np.array(cells) for name, cells in COLUMNS.items()},
    "Dataset": datasets.Dataset.from_list(ROWS),
    "list of dicts": ROWS,
    "nested list": NESTED,
    "nested Dataset": datasets.Dataset.from_list(NESTED),
    "nested DataFrame": pd.DataFrame(NESTED),
    "translation feature": datasets.Dataset.from_list(
        NESTED,
        features=datasets.Features({"translation": datasets.Translation(languages=["de", "en"])}),
    ),
}


def examples(data: Any, split: str = "train") -> list[Any]:
    return list(data.examples(split))


@pytest.mark.parametrize("kind", TABLES)
def test_every_kind_of_table(kind: str) -> None:
    data = TextPairs(TABLES[kind], TABLES[kind], **CHARS)
    assert examples(data) == examples(data, "val") == PAIRS
    assert {type(text) for pair in examples(data) for text in pair} == {str}
    assert examples(TextPairs(TABLES[kind], columns=("en", "de"), **CHARS)) == [
        (en, de) for de, en in PAIRS
    ]
    assert data.describe_location("val", 2) == "val dataset, row 2"
    assert len(data.dataset("train")) == 4


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("rows", [list, np.array])
def test_a_list_of_pairs(kind: Any, rows: Any) -> None:
    data = TextPairs(rows([kind(pair) for pair in PAIRS]), **CHARS)
    assert examples(data) == PAIRS
    assert {type(text) for pair in examples(data) for text in pair} == {str}
    assert examples(TextPairs(PAIRS[:2], columns=(2, 1), **CHARS)) == [
        (en, de) for de, en in PAIRS[:2]
    ]


def test_numbers_name_columns_of_a_table_too() -> None:
    frame = pd.DataFrame({"id": range(4), **COLUMNS})
    for table in (frame, frame.to_dict("list"), frame.to_dict("records")):
        assert examples(TextPairs(table, columns=(2, 3), **CHARS)) == PAIRS
        with pytest.raises(ValueError, match=r"columns=\(source, target\).*'id', 'de', 'en'"):
            TextPairs(table, **CHARS)
        with pytest.raises(ValueError, match=r"expected at least 5 columns, got 3"):
            examples(TextPairs(table, columns=(5, 1), **CHARS))


def test_usual_names_are_taken() -> None:
    frame = pd.DataFrame({"id": range(4), "target": COLUMNS["en"], "source": COLUMNS["de"]})
    assert examples(TextPairs(frame, **CHARS)) == PAIRS
    labelled = pd.DataFrame({"label": [1, 0, 1, 0], "text": COLUMNS["de"]})
    assert examples(LabelledText(labelled))[0] == ("ein Hund", "1")


@pytest.mark.parametrize("names", [("validation", "test"), ("dev", "test"), ("valid", "test")])
@pytest.mark.parametrize("kind", ["DatasetDict", "dict"])
def test_the_splits_of_a_dataset_dict(names: tuple[str, str], kind: str) -> None:
    parts = {"train": ROWS, names[0]: ROWS[:1], names[1]: ROWS[1:3], "unsupervised": ROWS[3:]}
    splits: Any = parts
    if kind == "DatasetDict":
        rows = {name: datasets.Dataset.from_list(part) for name, part in parts.items()}
        splits = datasets.DatasetDict(rows)
    data = TextPairs(splits, columns=("de", "en"), **CHARS)
    assert examples(data) == PAIRS
    assert (examples(data, "val"), examples(data, "test")) == (PAIRS[:1], PAIRS[1:3])
    with pytest.raises(ValueError, match=f"val: train already has a split '{names[0]}'"):
        TextPairs(splits, 0.25, columns=("de", "en"), **CHARS)


def test_a_column_of_dictionaries_in_a_dictionary_of_columns() -> None:
    """What `dataset[:]` of Hugging Face is."""
    table = {"translation": [{"de": de, "en": en} for de, en in PAIRS]}
    for columns in (None, ("de", "en")):
        assert examples(TextPairs(table, columns=columns, **CHARS)) == PAIRS


def test_splits_of_unknown_names_are_no_columns() -> None:
    """The rows of the first would be trained on, as nested columns."""
    for names in (("testing", "training"), ("training", "testing")):
        with pytest.raises(ValueError, match=r"train: expected a split 'train' in it, got \['t"):
            TextPairs(dict.fromkeys(names, ROWS), columns=("de", "en"), **CHARS)


def test_splits_whose_rows_are_lists() -> None:
    splits = {"train": [list(pair) for pair in PAIRS], "val": [list(PAIRS[0])]}
    data = TextPairs(splits, **CHARS)
    assert (examples(data), examples(data, "val")) == (PAIRS, PAIRS[:1])


def test_a_dictionary_of_texts_is_no_table_of_columns() -> None:
    """The characters would be its cells."""
    with pytest.raises(TypeError, match=r"column 'one', got str 'eins'; .* as list"):
        examples(TextPairs({"one": "eins", "two": "zwei"}, **CHARS))
    mapping = {"one": "eins", "two": "zwei"}
    assert examples(TextPairs(list(mapping.items()), **CHARS)) == list(mapping.items())


def test_a_dataset_dict_without_a_training_split() -> None:
    splits = datasets.DatasetDict({"test": datasets.Dataset.from_list(ROWS)})
    with pytest.raises(ValueError, match=r"train: expected a split 'train' in it, got \['test'\]"):
        TextPairs(splits, **CHARS)


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan, pd.NA, pd.NaT])
def test_missing_cells_are_named(missing: Any) -> None:
    frame = pd.DataFrame({"de": ["a", "b"], "en": ["x", missing]}, dtype=object)
    message = r"train dataset, row 1, column 'en': expected a value, got"
    for table in (frame, {"de": ["a", "b"], "en": ["x", missing]}, frame.to_dict("records")):
        with pytest.raises(ValueError, match=message):
            examples(TextPairs(table, **CHARS))
    with pytest.raises(ValueError, match=message):
        examples(LabelledText(frame, columns=("de", "en")))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"a": ["x"], "b": ["y", "z"]}, "expected columns of one length, got {'a': 1, 'b': 2}"),
        ([("a", "b"), ("c",)], "row 1: expected 2 cells, got 1"),
        ((["a", "b"], ["c", "d"]), r"train: expected a list of rows, got a tuple of 2 lists"),
        ([], "no training examples"),
        ({"de": [], "en": []}, "no training examples"),
        ([("a", " ")], "train dataset, row 0, column 2: expected a text, got an empty one"),
        ([{"de": "a", "en": b"b"}], "train dataset, row 0: target: expected a string, got bytes"),
    ],
)
def test_bad_tables(table: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextPairs(table, **CHARS).setup("fit")


def unchecked(*args: Any) -> None:
    """Construct it without the types being checked first, as a user does."""
    inspect.unwrap(TextPairs.__init__)(TextPairs.__new__(TextPairs), *args)


def test_what_is_no_table() -> None:
    stream = datasets.Dataset.from_list(ROWS).to_iterable_dataset()
    for given in (stream, iter(ROWS), 7, None):
        with pytest.raises(TypeError, match=r"train: expected .* a table \(a DataFrame, .*, got"):
            unchecked(given)
    with pytest.raises(
        TypeError, match="row 0: expected a dictionary or a tuple of cells, got int"
    ):
        TextPairs([1, 2], **CHARS)


def test_labels_of_numpy() -> None:
    table = {"text": np.array(["ja", "nein"]), "label": np.array([1, 0])}
    data = LabelledText(table)
    assert [type(label) for _, label in examples(data)] == [str, str]
    assert data.spec.target.labels == ("0", "1")
    assert {type(label) for label in data.spec.target.labels} == {str}


@pytest.mark.filterwarnings("ignore:the (source|target) has tokens")
def test_a_share_of_train_is_drawn_from_pairs(tmp_path: Path) -> None:
    pairs = [(f"Satz {n}", f"sentence {n}") for n in range(40)]
    (tmp_path / "a.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
    for train in (pairs, str(tmp_path / "a.tsv")):
        data = TextPairs(train, 0.25, pairs[:3], **CHARS)
        assert (len(examples(data)), len(examples(data, "val"))) == (30, 10)
        assert sorted(examples(data) + examples(data, "val")) == sorted(pairs)
        assert examples(data, "test") == pairs[:3]
        again = TextPairs(train, 0.25, **CHARS)
        assert examples(again, "val") == examples(data, "val")
        other = TextPairs(train, 0.25, seed=1, **CHARS)
        assert examples(other, "val") != examples(data, "val")
        assert other.fingerprint() != again.fingerprint()
        row = pairs.index(examples(data, "val")[4])
        assert data.describe_location("val", 4).endswith((f"row {row}", f"line {row + 1}"))
        assert len(data.dataset("val")) == 10
    for share in (0.01, 0.99):
        with pytest.raises(ValueError, match=r"val=.* of 40 .*, and both splits need some"):
            examples(TextPairs(pairs, share, **CHARS))
    with pytest.raises(ValueError, match="a fraction of train above 0 and below 1, got 1"):
        TextPairs(pairs, 1, **CHARS)


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("line", ["c\td\te", "c\td\t", "c"])
def test_a_stray_tab_is_named(line: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", f"a\tb\n{line}\n")
    cells = len(line.split("\t"))
    message = f"a.tsv, line 2: expected 2 columns, as on line 1, got {cells}; correct or remove"
    with pytest.raises(ValueError, match=message):
        TextPairs(path, **CHARS).setup("fit")


@pytest.mark.parametrize(
    "header", ["source\ttarget", "English\tGerman", "text\tlabel", "de\ten", "sentence_en\tsrc 1"]
)
def test_a_header_is_no_example(header: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", f"{header}\r\nein Hund\ta dog\r\n")
    names = tuple(header.split("\t"))
    with pytest.raises(ValueError, match=r"a\.tsv, line 1: .* look like .* pass columns=\('"):
        TextPairs(path, **CHARS).setup("fit")
    assert examples(TextPairs(path, columns=names, **CHARS)) == [("ein Hund", "a dog")]
    with pytest.warns(UserWarning, match=r"line 1: .* are read as an example.* pass columns=\('"):
        assert examples(TextPairs(path, columns=(1, 2), **CHARS))[0] == names
    with pytest.warns(UserWarning, match=r"line 1: .* are read as an example"):
        assert examples(LabelledText(path, columns=(1, 2)))[0] == names


def test_a_header_where_it_cannot_be_named_is_warned_of(tmp_path: Path) -> None:
    lines = write(tmp_path / "a.txt", "label text\nx a b\ny c d\n")
    files = (write(tmp_path / "a.de", "German\nja\n"), write(tmp_path / "a.en", "English\nyes\n"))
    cases = [
        (LabelledText(lines), r"a\.txt, line 1: 'label', 'text' look like"),
        (TextPairs(files, **CHARS), r"a\.en, line 1: 'German', 'English' look like"),
        (TextPairs([("de", "en"), *PAIRS], **CHARS), "train dataset, row 0: 'de', 'en' look like"),
    ]
    for data, message in cases:
        with pytest.warns(UserWarning, match=message) as warned:
            data.setup("fit")
        assert len(warned) == 1


def test_examples_are_no_header() -> None:
    for cells in (
        ["eng", "deu"],
        ["name", "value"],
        ["en_US", "de-DE"],
        ["word", "phonemes"],
        ["article", "title"],
    ):
        assert looks_like_header(cells)
    for cells in (["ein Hund", "a dog"], ["Ja.", "Yes."], ["Haus", "house"], ["", "text"]):
        assert not looks_like_header(cells)


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl"])
def test_text_pairs_read_every_kind_of_file(name: str, tmp_path: Path) -> None:
    text = {
        "a.tsv": "de\ten\nein Hund\ta dog\n",
        "a.csv": '\ufeffde,en\r\n"ein Hund","a dog"\r\n',
        "a.jsonl": '{"id": 1, "translation": {"de": "ein Hund", "en": "a dog"}}\r\n',
    }[name]
    path = write(tmp_path / name, text)
    assert examples(TextPairs(path, columns=("de", "en"), **CHARS)) == [("ein Hund", "a dog")]
    if name == "a.jsonl":
        assert examples(TextPairs(path, **CHARS)) == [("ein Hund", "a dog")]
        write(tmp_path / name, '{"a": "x", "b": "y", "c": "z"}')
        with pytest.raises(ValueError, match=r"line 1: select the columns with .*'a', 'b', 'c'"):
            examples(TextPairs(path, **CHARS))


def test_blanks_around_labels_are_removed_and_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\nja,good\nnein, bad\nso,bad \n")
    data = LabelledText(path, columns=("text", "label"))
    with pytest.warns(UserWarning, match=r"a\.csv, line 3: .* ' bad' has whitespace") as warned:
        assert data.spec.target.labels == ("bad", "good")
    assert len(warned) == 1
    rows = [{"text": "a", "label": "x "}, {"text": "b", "label": "y"}, {"text": "c", "label": "x"}]
    with pytest.warns(UserWarning, match="train dataset, row 0: the label 'x ' has whitespace"):
        assert LabelledText(rows).spec.target.labels == ("x", "y")


def test_a_table_without_names_has_no_named_columns() -> None:
    table = MemoryTable("val", PAIRS, ("de", "en"), ("source", "target"), any_two=True)
    with pytest.raises(ValueError, match=r"val dataset, row 0: expected a dictionary.*\(1, 2\)"):
        list(table.rows())


VECTORS = [[0.5, 1.0], [0.0, -1.0], [2.0, 3.0], [1.0, 0.0]]
TEXTS = ["eins", "zwei", "drei", "vier"]
SPREAD = pd.DataFrame({"x": [v[0] for v in VECTORS], "y": [v[1] for v in VECTORS], "t": TEXTS})
WHOLE = {"vector": VECTORS, "text": TEXTS}


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        (SPREAD, (["x", "y"], "t")),
        (pd.DataFrame(WHOLE), None),
        (WHOLE, ("vector", "text")),
        ({"id": TEXTS, **WHOLE}, None),
        (datasets.Dataset.from_dict(WHOLE), None),
        (list(zip(VECTORS, TEXTS, strict=True)), None),
        (list(zip(map(np.array, VECTORS), np.array(TEXTS), strict=True)), None),
        (pd.DataFrame(WHOLE).to_dict("records"), None),
    ],
)
@pytest.mark.parametrize("task", ["vector-to-sequence", "sequence-to-vector"])
def test_vectors_from_tables(table: Any, columns: Any, task: Any) -> None:
    data = Vectors(table, 0.25, table, task=task, columns=columns)
    pairs = [pair[:: 1 if task == "vector-to-sequence" else -1] for pair in examples(data, "test")]
    assert [list(vector) for vector, _ in pairs] == VECTORS
    assert [text for _, text in pairs] == TEXTS
    assert {type(text) for _, text in pairs} == {str}
    assert (len(examples(data)), len(examples(data, "val"))) == (3, 1)
    drawn = [str(pair) for pair in examples(data, "val")]
    row = [str(pair) for pair in examples(data, "test")].index(drawn[0])
    place = f"train vectors, row {row} (from 0), with train texts, row {row} (from 0)"
    assert data.describe_location("val", 0) == place


@pytest.mark.parametrize("rows", [2, 3])
def test_two_pairs_are_a_table_and_two_lists_a_pair(rows: int) -> None:
    pairs = list(zip(VECTORS, TEXTS, strict=True))[:rows]
    for given in (pairs, (VECTORS[:rows], TEXTS[:rows]), [VECTORS[:rows], TEXTS[:rows]]):
        found = examples(Vectors(given))
        assert [([float(x) for x in vector], text) for vector, text in found] == pairs


def test_vectors_with_a_share(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(40.0).reshape(20, 2))
    text = write(tmp_path / "t.txt", "".join(f"t {n}\n" for n in range(20)))
    data = Vectors((tmp_path / "x.npy", text), 0.2, task="sequence-to-vector")
    both = sorted(examples(data) + examples(data, "val"), key=lambda pair: int(pair[0][2:]))
    assert [label for label, _ in both] == [f"t {n}" for n in range(20)]
    assert [vector.tolist() for _, vector in both] == np.arange(40.0).reshape(20, 2).tolist()
    assert len(examples(data, "val")) == 4
    assert data.fingerprint() != Vectors((tmp_path / "x.npy", text), 0.2, seed=1).fingerprint()
    assert len(data.dataset("train")) == 16


@pytest.mark.parametrize(
    ("table", "columns", "message"),
    [
        ({"vector": VECTORS, "text": [1, 2, 3, 4]}, None, "row 0: expected a text, got int '1'"),
        (SPREAD, None, r"columns=\(vector, text\); it has \['x', 'y', 't'\]"),
        (SPREAD, (["x", "z"], "t"), r"expected a column 'z', got \['x', 'y', 't'\]"),
        ((VECTORS, TEXTS), ("a", "b"), r"train is a pair \(vectors, texts\); remove columns"),
        (pd.DataFrame({"x": [1.0, None], "t": ["a", "b"]}), (["x"], "t"), "row 1, column 'x': exp"),
    ],
)
def test_bad_tables_of_vectors(table: Any, columns: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Vectors(table, columns=columns)


@pytest.mark.filterwarnings("ignore:the target has tokens")
@pytest.mark.parametrize("kind", ["DataFrame", "dict", "Dataset", "list", "two columns"])
def test_plain_text_from_tables(kind: str) -> None:
    texts = ["Es war einmal", "ein kleiner Hund,", "der bellte."]
    table: Any = {
        "DataFrame": pd.DataFrame({"line": texts}),
        "dict": {"text": texts},
        "Dataset": datasets.Dataset.from_dict({"id": [1, 2, 3], "text": texts}),
        "list": [{"text": text} for text in texts],
        "two columns": pd.DataFrame({"a": texts, "b": [1, 2, 3]}),
    }[kind]
    column = "a" if kind == "two columns" else None
    data = PlainText(table, 0.25, table, window=4, batch_tokens=8, column=column)
    assert [text for _, text in examples(data, "test")] == texts
    parts = [text for split in ("train", "val") for _, text in examples(data, split)]
    assert "".join(parts) == "".join(texts)
    assert data.describe_location("test", 1) == "test dataset, row 1"
    assert len(data.dataset("train")) == 3
    splits = {"train": table, "validation": table}
    assert len(examples(PlainText(splits, window=4, column=column), "val")) == 3
    with pytest.raises(ValueError, match="val: train already has a split 'validation'"):
        PlainText(splits, 0.5, window=4, column=column)


def test_bad_tables_of_plain_text() -> None:
    for cell, message in ((" ", "expected a text, got an empty one; filter"), (3, "got int '3'")):
        with pytest.raises(ValueError, match=f"train dataset, row 1: .*{message}"):
            PlainText({"text": ["a", cell]}, window=4).setup("fit")
    with pytest.raises(ValueError, match=r"columns=\(text\); it has \['a', 'b'\]"):
        PlainText({"a": ["x"], "b": ["y"]}, window=4)


@pytest.mark.parametrize(
    "text",
    [
        """{class_path: seqlearn.data.LabelledText, init_args: {train: a.txt, val: 0.1,
            class_weights: balanced, text: {max_length: 9, overflow: drop}}}""",
        """{class_path: seqlearn.data.LabelledText, init_args: {train: a.txt,
            class_weights: {a: 1, b: 2.5}}}""",
        """{class_path: seqlearn.data.PlainText, init_args: {train: [a.txt, b.txt], val: 0.1,
            column: text}}""",
        """{class_path: seqlearn.data.TextPairs, init_args: {train: [a.de, a.en], val: 0.1,
            source: {max_length: 5, overflow: truncate}}}""",
    ],
)
def test_a_configuration_file_can_say_it(text: str) -> None:
    parser = ArgumentParser()
    parser.add_subclass_arguments(SequenceDataModule, "data")
    configuration = parser.parse_object({"data": yaml.safe_load(text)})
    again = parser.parse_object(yaml.safe_load(parser.dump(configuration)))
    assert again.as_dict() == configuration.as_dict()
    given = yaml.safe_load(text)["init_args"]
    data = parser.instantiate(again).data
    assert data.val_fraction == given.get("val")
    if "class_weights" in given:
        assert data.target.weights == given["class_weights"]
    if "source" in given:
        assert data.source == Text(**{"tokenizer": "bpe", **given["source"]})


def test_lists_side_by_side_are_no_rows() -> None:
    """`(sources, targets)` was read as two rows, of which the first two cells were taken."""
    texts = ["a b", "c d", "e f"]
    for source, table in (
        (TextPairs, (texts, texts)),
        (LabelledText, (texts, ["x", "y", "x"])),
        (TextPairs, (texts[:2], texts[:2])),  # of two, even the numbers of cells fit
    ):
        with pytest.raises(ValueError, match=r"train: .* got a tuple of 2 lists, .*list\(zip\("):
            source(table)
    with pytest.raises(ValueError, match=r"row 0: expected 2 cells, got 3; .*columns=\(1, 2\)"):
        list(TextPairs([("a", "b", "c")]).examples("train"))
    named = TextPairs([("a", "b", "c")], columns=(1, 3))
    assert list(named.examples("train")) == [("a", "c")]
