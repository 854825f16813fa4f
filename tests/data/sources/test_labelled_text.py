from __future__ import annotations

import gzip
import inspect
from collections import Counter
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import yaml
from jsonargparse import ArgumentParser

import seqlearn as sl
from seqlearn.data.fields import Text
from seqlearn.data.module import SequenceDataModule
from seqlearn.data.sources.labelled_text import LabelledText

ROWS = [("Wie alt ist der Hund ?", "NUM:age"), ("Wo ist er ?", "LOC:city"), ("Äh ?", "NUM:other")]
LINES = "".join(f"{label} {text}\n" for text, label in ROWS)
NAMED = {"columns": ("text", "label")}


def write(path: Path, text: str | bytes) -> str:
    content = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return str(path)


def read(data: LabelledText, split: Any = "train") -> list[tuple[str, str]]:
    return list(data.examples(split))


def unchecked(*args: Any, **arguments: Any) -> None:
    """Construct it without the types being checked first, as a user does."""
    inspect.unwrap(LabelledText.__init__)(LabelledText.__new__(LabelledText), *args, **arguments)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_label_at_the_start_of_each_line(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"train.txt{suffix}", LINES.replace("LOC:city ", "LOC:city\t"))
    data = LabelledText(path, test=path)
    assert read(data) == read(data, "test") == ROWS
    assert read(data, "val") == []
    assert data.describe_location("test", 2) == f"{path}, line 3"
    assert data.spec.task == "sequence-to-vector"
    assert data.spec.target.labels == ("LOC:city", "NUM:age", "NUM:other")
    coarse = LabelledText(path, label_separator=":")
    assert [label for _, label in read(coarse)] == ["NUM", "LOC", "NUM"]
    assert coarse.spec.target.labels == ("LOC", "NUM")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_other_encodings(encoding: str, tmp_path: Path) -> None:
    path = write(tmp_path / "train", LINES.encode(encoding))
    assert read(LabelledText(path, encoding=encoding)) == ROWS


QUOTED = [(f'"{text}', label) for text, label in ROWS]
TSV = "id\ttext\tlabel\n" + "".join(f"7\t{text}\t{label}\n" for text, label in QUOTED)
JSON_LINES = '{"label": 3, "text": "ja"}\r\n{"text": "n\\u00e4\\n", "label": "no", "more": []}\n'


def test_a_tsv_takes_quotes_as_they_stand(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", TSV)
    data = LabelledText(path, **NAMED)
    assert read(data) == QUOTED
    assert data.describe_location("train", 0) == f"{path}, line 2"
    plain = write(tmp_path / "b.tsv.gz", TSV.split("\n", 1)[1])
    data = LabelledText(plain, columns=(2, 3))
    assert read(data) == QUOTED
    assert data.describe_location("train", 0) == f"{plain}, line 1"
    swapped = LabelledText(plain, columns=(3, 2), label_separator=" ")
    assert read(swapped)[1] == ("LOC:city", '"Wo')


CSV = 'label,text\r\na,"one, ""1""\r\nand a half"\r\nb,two\r\na,three\r\n'


def test_a_csv_with_quotes_commas_and_line_breaks(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", CSV)
    data = LabelledText(path, **NAMED)
    assert read(data) == [('one, "1"\nand a half', "a"), ("two", "b"), ("three", "a")]
    assert [data.describe_location("train", row) for row in range(3)] == [
        f"{path}, line {line}" for line in (2, 4, 5)
    ]
    plain = write(tmp_path / "b.csv.gz", CSV.split("\n", 1)[1])
    data = LabelledText(plain, columns=(2, 1))
    assert len(read(data)) == 3
    assert data.describe_location("train", 1) == f"{plain}, line 3"


def test_json_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl.gz", JSON_LINES)
    data = LabelledText(path, **NAMED)
    assert read(data) == [("ja", "3"), ("nä\n", "no")]
    assert data.describe_location("train", 1) == f"{path}, line 2"


def test_datasets(tmp_path: Path) -> None:
    rows = [{"text": text, "label": label, "id": 1} for text, label in ROWS]
    data = LabelledText(rows, rows[:1], write(tmp_path / "a.tsv", TSV), **NAMED)
    assert read(data) == ROWS
    assert read(data, "val") == ROWS[:1]
    assert len(read(data, "test")) == 3
    assert data.describe_location("val", 0) == "val dataset, row 0"


def test_a_hugging_face_dataset_knows_the_names_of_labels() -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    rows = [{"text": "ja", "label": 1}, {"text": "nein", "label": 0}]
    dataset = datasets.Dataset.from_list(rows, features=features)
    assert read(LabelledText(dataset, **NAMED)) == [("ja", "good"), ("nein", "bad")]
    numbers = dataset.cast_column("label", datasets.Value("int64"))
    assert read(LabelledText(numbers, **NAMED)) == [("ja", "1"), ("nein", "0")]
    none = datasets.Dataset.from_list([{"text": "ja", "label": -1}], features=features)
    with pytest.raises(ValueError, match=r"test dataset, row 0: expected a label from 0 to 1, got"):
        LabelledText(dataset, test=none, **NAMED).setup("fit")


MANY = "".join(f"{'abc'[n % 3]}:x text {n}\n" for n in range(60)) + "d:x lonely\n"


@pytest.mark.filterwarnings("ignore:the source has tokens")
def test_a_share_of_train_is_drawn(tmp_path: Path) -> None:
    path = write(tmp_path / "train.txt", MANY)
    data = LabelledText(path, 0.25, label_separator=":")
    train, val = read(data), read(data, "val")
    assert (len(train), len(val)) == (46, 15)
    whole = read(LabelledText(path, label_separator=":"))
    assert sorted(train + val) == sorted(whole)
    assert train == [row for row in whole if row in train]
    assert {label for _, label in train} == set("abcd")
    for split, rows in (("train", train), ("val", val)):
        line = whole.index(rows[7]) + 1
        assert data.describe_location(split, 7) == f"{path}, line {line}"
        assert data.dataset(split)[[0]].indices.tolist() == [0]
        assert len(data.dataset(split)) == len(rows)
    again = LabelledText(path, 0.25, label_separator=":")
    assert (read(again), read(again, "val")) == (train, val)
    other = LabelledText(path, 0.25, label_separator=":", seed=1)
    assert set(read(other, "val")) != set(val)
    assert other.fingerprint() != data.fingerprint()
    assert LabelledText(path, seed=1).fingerprint() == LabelledText(path).fingerprint()


@pytest.mark.filterwarnings("ignore:the source has tokens")
@pytest.mark.parametrize("seed", range(5))
def test_every_label_stays_in_training(seed: int) -> None:
    rows = [{"text": f"t{n}", "label": f"{n // 2}"} for n in range(20)]
    data = LabelledText(rows, 0.5, seed=seed, **NAMED)
    assert Counter(label for _, label in read(data)) == {str(n): 1 for n in range(10)}
    assert len(data.spec.target.labels) == len(read(data, "val")) == 10


def test_the_cache_follows_the_files_and_how_they_are_read(tmp_path: Path) -> None:
    def key(**changes: Any) -> str:
        return LabelledText(**{"train": path, **changes}).fingerprint()

    path = write(tmp_path / "train.txt", MANY)
    keys = [key(), key(label_separator=":"), key(encoding="latin-1"), key(val=path), key(test=path)]
    keys += [key(val=0.1), key(val=0.2), key(val=0.1, seed=1)]
    write(tmp_path / "train.txt", MANY + "e:x more\n")
    keys += [key()]
    rows = [{"text": "a", "label": 1}, {"text": "b", "label": "c"}]
    keys += [key(train=rows, **NAMED), key(train=rows[:1], **NAMED)]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.txt",
            "A one\nB\n",
            r"line 2: expected a label, whitespace and a text, got 'B'",
        ),
        ("a.txt", "A one\n\nB b\n", r"a\.txt, line 2: expected a label, .* got ''"),
        ("a.txt", "A one\n two three\n", "line 2: expected a label, .* got ' two three'"),
        ("a.txt", "A \n", "line 1: expected a label, whitespace and a text"),
        ("a.txt", "", r"a\.txt: expected lines of text, got an empty file"),
        (
            "a.txt",
            "A one\nB Ä\n".encode("latin-1"),
            r"a\.txt, line 2, byte 3: .* is not utf-8; pass encoding=, for .*'latin-1'",
        ),
        ("a.txt.gz", gzip.compress(b"A one", mtime=0), "expected a gzip file"),
        ("a.tsv", b"one\ta\rtwo\tb\r", "expected lines that end in LF or CR LF, got 2 CR"),
        ("a.tsv", "text\tlabels\nx\ty\n", r"line 1: expected a column 'label', got \['text',"),
        ("a.tsv", "text\tlabel\nx\ty\nz\n", "line 3: expected 2 columns, as on line 1, got 1"),
        ("a.tsv", "text\tlabel\nx\ty\n\n", "line 3: expected 2 columns, as on line 1, got 1"),
        ("a.tsv", "text\tlabel\n \ty\n", "line 2: expected a text, got an empty one; fill it in"),
        ("a.tsv", "text\tlabel\nx\t\n", "line 2: expected a label, got an empty one; fill it in"),
        ("a.tsv", "text\tlabel\n", "no training examples"),
        ("a.csv", "text,label\nI, too,y\n", "line 2: expected 2 columns, as on line 1, got 3"),
        ("a.csv", 'text,label\n"a\nb",y\n"x,y\nz', r"a\.csv, line 4: expected a record .* unexp"),
        ("a.csv", 'text,label\n"x"y,z\n', r"line 2: expected a record of a CSV file, but"),
        ("a.csv", "", "got an empty file"),
        ("a.jsonl", '{"text": "x", "label": 1}\nnot\n', "line 2: .* JSON object, but at char"),
        ("a.jsonl", "[]\n", r"line 1: expected a JSON object, got list"),
        ("a.jsonl", '{"text": "x"}\n', r"line 1: expected a column 'label', got \['text'\]"),
        ("a.jsonl", '{"text": 3, "label": "x"}', "line 1: source: expected a string, got int"),
        ("a.jsonl", '{"text": "x", "label": true}', "line 1: target: expected a label .* bool"),
        ("a.jsonl", '{"text": "x", "label": 1.5}', "line 1: target: expected a label .* float"),
        ("a.jsonl", '{"text": "x", "label": null}', "line 1: target: expected a label .* None"),
    ],
)
def test_bad_files_are_named(name: str, content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if name == "a.txt.gz":
        path.write_bytes(b"A one\n")
    with pytest.raises(ValueError, match=message) as caught:
        LabelledText(str(path), **({} if ".txt" in name else NAMED)).setup("fit")
    assert "\n" not in str(caught.value)


def test_a_label_without_the_sign_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "A:b one\nHow are you\n")
    message = r"line 2: expected a label with ':' in it, as label_separator requires, got 'How'"
    with pytest.raises(ValueError, match=message):
        LabelledText(path, label_separator=":").setup("fit")
    path = write(tmp_path / "a.txt", "A:b one\n:b are you\n")
    with pytest.raises(ValueError, match="line 2: expected a label, got an empty one"):
        LabelledText(path, label_separator=":").setup("fit")


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_label_never_seen_in_training(split: str, tmp_path: Path) -> None:
    train = write(tmp_path / "train.txt", "A one\nB two\n")
    other = write(tmp_path / "other.txt", "A one\nC two\n")
    message = r"other\.txt, line 2: the label 'C' does not occur in the training split, .*'A', 'B'"
    with pytest.raises(ValueError, match=message):
        LabelledText(train, **{split: other}).setup("fit")


def test_one_label_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected two or more distinct labels, got \['A'\]"):
        LabelledText(write(tmp_path / "a.txt", "A one\nA two\n")).setup("fit")


def test_missing_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", LINES)
    with pytest.raises(FileNotFoundError, match=r"val: expected a file at .*b\.txt"):
        LabelledText(path, str(tmp_path / "b.txt")).setup("fit")


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.csv", 'review,"a, b"\ngood,pos\n', ["review", "a, b"]),
        ("a.tsv", "review\tsentiment\n", ["review", "sentiment"]),
        ("a.jsonl", '{"review": "\\"no\\": x", "sentiment": "pos"}\n', ["review", "sentiment"]),
    ],
)
def test_the_columns_of_a_file_are_listed(
    name: str, content: str, found: list[str], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="needs columns=") as raised:
        sl.data.LabelledText(tmp_path / name)
    assert str(raised.value).endswith(f"two names or numbers; its first line has {found}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": "a.csv"}, r"train: a\.csv needs columns=\(text, label\)"),
        ({"train": "a.txt", "test": "a.jsonl.gz"}, r"test: a\.jsonl\.gz needs columns"),
        ({"train": "a.txt", **NAMED}, r"train: columns=.* are for files that end in \.csv, .*a\.t"),
        ({"train": "a.jsonl", "columns": (1, 2)}, "train: .* needs the names of its columns"),
        ({"train": "a.csv", "columns": (1, "x")}, r"expected columns=\(text, label\), two names"),
        ({"train": "a.csv", "columns": (0, 1)}, "expected column numbers from 1"),
        ({"train": [{"text": "a"}]}, r"needs the names of its columns.*\['text'\]"),
        ({"train": "a.txt", "encoding": "utf-9"}, "expected an encoding that Python supports"),
        ({"train": "a.txt", "label_separator": ""}, "expected a label_separator"),
        ({"train": "a.txt", "val": 0}, "a fraction of train above 0 and below 1, got 0"),
        ({"train": "a.txt", "val": 1.0}, "a fraction of train above 0 and below 1, got 1.0"),
        ({"train": "a.txt", "val": float("nan")}, "a fraction of train .* got nan"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unchecked(**arguments)


def test_a_split_that_is_nothing() -> None:
    with pytest.raises(TypeError, match=r"test: expected a file or a table .*, got object"):
        unchecked("a.txt", test=object())


@pytest.mark.parametrize(
    ("share", "message"),
    [(0.01, "is 0 examples"), (0.9, "is 3 examples, and at most 1 can be drawn")],
)
def test_a_share_that_cannot_be_drawn(share: float, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "A one\nB two\nB three\n")
    with pytest.raises(ValueError, match=message):
        LabelledText(path, share).setup("fit")


def test_a_configuration_file_can_say_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", LINES)
    text = f"""
        train: {path}
        val: 0.34
        text: {{tokenizer: word, lowercase: true}}
        label_separator: ":"
        encoding: latin-1
    """
    parser = ArgumentParser()
    parser.add_subclass_arguments(SequenceDataModule, "data")
    name = "seqlearn.data.sources.labelled_text.LabelledText"
    given = {"data": {"class_path": name, "init_args": yaml.safe_load(text)}}
    configuration = parser.parse_object(given)
    # What is saved beside a run reads back as the same.
    again = parser.parse_object(yaml.safe_load(parser.dump(configuration)))
    for one in (configuration, again):
        data = parser.instantiate(one).data
        assert (data.val_fraction, data.encoding, data.label_separator) == (0.34, "iso8859-1", ":")
        assert data.source == Text("word", lowercase=True)
        assert [len(read(data, split)) for split in ("train", "val", "test")] == [2, 1, 0]


@pytest.mark.filterwarnings("ignore:the source has tokens")
def test_a_model_is_fitted(tmp_path: Path) -> None:
    data = LabelledText(write(tmp_path / "a.txt", MANY), 0.2, label_separator=":")
    model = sl.Transformer(data.spec, d_model=8, num_layers=1, num_heads=2)
    trainer = L.Trainer(fast_dev_run=2, accelerator="cpu", logger=False)
    trainer.fit(model, data)
    assert {"train/loss", "val/loss"} <= set(trainer.callback_metrics)


@pytest.mark.parametrize(("until", "labels", "tested"), [(":", 6, 6), (None, 50, 42)])
def test_trec(until: str | None, labels: int, tested: int, real_data: Path) -> None:
    folder = real_data / "trec"
    if not folder.is_dir():
        pytest.skip(f"no TREC in {real_data}")
    text = Text("word", vocab_size=5000, lowercase=True)
    files = {"train": folder / "train.txt", "test": folder / "test.txt"}
    data = LabelledText(val=0.1, text=text, label_separator=until, encoding="latin-1", **files)
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == [4907, 545, 500]
    assert len(data.spec.target.labels) == labels
    assert len({label for _, label in data.examples("test")}) == tested
    assert next(data.examples("test"))[0] == "How far is it from Denver to Aspen ?"
    with pytest.raises(ValueError, match=r"train\.txt, line 66, byte 60: .*encoding='latin-1'"):
        LabelledText(**files).setup("fit")


def test_a_long_cell_of_a_csv_file_is_read(tmp_path: Path) -> None:
    """Python refuses cells above 131,072 characters by default."""
    path = tmp_path / "train.csv"
    path.write_text(f'text,label\n"{"word " * 40_000}",a\n', encoding="utf-8")
    ((text, label),) = sl.data.LabelledText(path, columns=("text", "label")).examples("train")
    assert (len(text), label) == (200_000, "a")
