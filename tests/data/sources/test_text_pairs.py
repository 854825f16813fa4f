from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

from seqlearn.data import SequenceDataModule, Text, TextPairs
from seqlearn.data.batching import plan_bucketed

CHARS: dict[str, Any] = {"source": Text(), "target": Text()}
GERMAN = "Ein Hund.\nÄpfel fallen\nja\n"
ENGLISH = "A dog.\nApples fall\nyes\n"
PAIRS = [("Ein Hund.", "A dog."), ("Äpfel fallen", "Apples fall"), ("ja", "yes")]


def write(path: Path, text: str | bytes) -> Path:
    content = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def pair(
    folder: Path, german: str | bytes = GERMAN, english: str | bytes = ENGLISH, suffix: str = ""
) -> tuple[str, str]:
    """Paths of two parallel files."""
    return (
        str(write(folder / f"train.de{suffix}", german)),
        str(write(folder / f"train.en{suffix}", english)),
    )


def read(data: TextPairs) -> list[tuple[str, str]]:
    return list(data.examples("train"))


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["\n", ""])
def test_two_files(suffix: str, end: str, last: str, tmp_path: Path) -> None:
    german = GERMAN.replace("\n", end).removesuffix(end) + last
    data = TextPairs(pair(tmp_path, german, suffix=suffix), **CHARS)
    assert read(data) == PAIRS
    assert list(data.examples("val")) == list(data.examples("test")) == []
    assert data.spec.task == "sequence-to-sequence"
    files = f"{tmp_path / 'train.de'}{suffix} and train.en{suffix}"
    assert data.describe_location("train", 2) == f"{files}, line 3"


blanks = st.sampled_from("\x0b\x0c\x1c\x85\u2028\u2029\xa0\r")


@given(st.lists(st.tuples(st.text("ab"), blanks, st.text("ab")), min_size=2))
def test_only_lf_and_crlf_end_a_line(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[str, str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    lines = [f"x{''.join(part)}x" for part in parts]
    data = TextPairs(pair(folder, "\n".join(lines), "\r\n".join(lines)), **CHARS)
    assert read(data) == list(zip(lines, lines, strict=True))


def test_a_mark_at_the_start_is_no_text(tmp_path: Path) -> None:
    files = pair(tmp_path, b"\xef\xbb\xbf" + GERMAN.encode(), ENGLISH)
    assert read(TextPairs(files, **CHARS)) == PAIRS


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252"])
def test_other_encodings(encoding: str, tmp_path: Path) -> None:
    files = pair(tmp_path, GERMAN.encode(encoding), ENGLISH.encode(encoding))
    assert read(TextPairs(files, encoding=encoding, **CHARS)) == PAIRS


TABLE = "id\tde\ten\n" + "".join(f"{n}\t{de}\t{en}\n" for n, (de, en) in enumerate(PAIRS))


def test_a_table(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", TABLE)
    data = TextPairs(path, columns=("de", "en"), **CHARS)
    assert read(data) == PAIRS
    assert data.describe_location("train", 0) == f"{path}, line 2"
    swapped = TextPairs(str(path), columns=("en", "de"), **CHARS)
    assert read(swapped) == [(en, de) for de, en in PAIRS]
    plain = write(tmp_path / "b.tsv.gz", TABLE.split("\n", 1)[1])
    assert read(TextPairs(plain, columns=(2, 3), **CHARS)) == PAIRS
    assert read(TextPairs(plain, **CHARS))[1] == ("1", "Äpfel fallen")
    assert TextPairs(plain, **CHARS).describe_location("train", 0) == f"{plain}, line 1"


class Rows:
    """What a Hugging Face dataset looks like from here; it is no `Sequence`."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int, /) -> Mapping[str, Any]:
        return self.rows[row]


@pytest.mark.parametrize("kind", [Rows, list])
def test_a_dataset(kind: Any) -> None:
    rows = kind([{"id": 1, "de": de, "en": en} for de, en in PAIRS])
    data = TextPairs(rows, val=rows, columns=("de", "en"), **CHARS)
    assert read(data) == list(data.examples("val")) == PAIRS
    assert data.spec.source.vocab_size > 10
    assert data.describe_location("val", 0) == "val dataset, row 0"


def test_a_hugging_face_dataset() -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list([{"de": de, "en": en} for de, en in PAIRS])
    assert read(TextPairs(rows, columns=("de", "en"), **CHARS)) == PAIRS


def cases() -> Iterator[tuple[str, Any, str]]:
    """Bad files, or options, and what the one line about them says."""
    yield "counts", {"english": ENGLISH + "no\nno\n"}, r"train\.de has 3 lines and .*en has 5;"
    yield "counts the other way", {"german": GERMAN + "nein"}, r"\.de has 4 lines and .*en has 3;"
    yield "empty file", {"english": ""}, r"train\.en: expected lines of text, got an empty file"
    yield "empty target", {"english": "A dog.\n\nyes\n"}, r"train\.en, line 2: .* empty .* remove"
    yield "blank source", {"german": "Ein Hund.\nÄpfel\n \t\r\n"}, r"train\.de, line 3: .* empty"
    yield "both empty", {"german": "a\n\nb", "english": "a\n\nb"}, r"train\.de, line 2: .* empty"
    yield (
        "encoding",
        {"german": "ja\nein Äpfel".encode("latin-1")},
        r"train\.de, line 2, byte 5: b'\\xc4' is not utf-8; pass encoding=",
    )
    yield (
        "encoding far into the file",
        {"german": b"ja\n" * 9000 + b"\xff\n"},
        r"train\.de, line 9001, byte 1: b'\\xff' is not utf-8",
    )
    yield (
        "no gzip",
        {"german": b"ja", "name": "train.de.gz"},
        r"train\.de\.gz: expected a gzip file",
    )
    yield (
        "half a gzip",
        {"german": gzip.compress(GERMAN.encode() * 9)[:-20], "name": "train.de.gz"},
        r"train\.de\.gz: expected a gzip file.*download it again",
    )


@pytest.mark.parametrize(
    ("bad", "message"), [case[1:] for case in cases()], ids=[c[0] for c in cases()]
)
def test_bad_files_are_named(
    bad: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path / "cache"))
    source = tmp_path / bad.get("name", "train.de")
    german = bad.get("german", GERMAN)
    source.write_bytes(german if isinstance(german, bytes) else german.encode())
    target = write(tmp_path / "train.en", bad.get("english", ENGLISH))
    if german[-2:] == b"\xff\n":
        write(target, "yes\n" * 9001)
    with pytest.raises(ValueError, match=message) as caught:
        TextPairs((source, target), **CHARS).setup("fit")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").glob("*/*"))


@pytest.mark.parametrize(
    ("table", "columns", "message"),
    [
        ("a\tb\nc\n", None, r"a\.tsv, line 2: expected 2 columns, as on line 1, got 1"),
        ("de\ten\na\tb\nc\n", ("de", "en"), r"line 3: expected 2 columns, as on line 1, got 1"),
        ("de\ten\na\tb\n", ("de", "fr"), r"expected a column 'fr', got \['de', 'en'\]"),
        ("a\tb\n", (1, 5), r"line 1: expected at least 5 columns, got 2; correct columns=, or the"),
        (
            "a;b\n",
            None,
            r"at least 2 columns, got 1; .* here by ';': pass pandas.read_csv\(file, s",
        ),
        ("de;en\na;b\n", ("de", "en"), r"column 'de', got \['de;en'\]; cells are .* here by ';'"),
        ("a\tb\nc\t\n", None, r"line 2, column 2: expected a text, got an empty one"),
        ("", None, "got an empty file"),
        ("de\ten\n", ("de", "en"), "no training examples"),
    ],
)
def test_bad_tables_are_named(table: str, columns: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        TextPairs(write(tmp_path / "a.tsv", table), columns=columns, **CHARS).setup("fit")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"de": "a"}], r"train dataset, row 0: expected a column 'en', got \['de'\]"),
        ([{"de": "a", "en": "b"}, {"de": " ", "en": "b"}], "row 1, column 'de': .* empty"),
        ([{"de": "a", "en": 3}], "train dataset, row 0: target: expected a string, got int"),
    ],
)
def test_bad_datasets_are_named(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextPairs(rows, columns=("de", "en"), **CHARS).setup("fit")


def test_a_missing_file(tmp_path: Path) -> None:
    (files,) = [pair(tmp_path)]
    data = TextPairs(files, val=(files[0], str(tmp_path / "val.en")), **CHARS)
    with pytest.raises(FileNotFoundError, match=r"val: expected a file at .*val\.en"):
        data.setup("fit")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": ("a", "b", "c")}, "train: expected two parallel files .* got 3 files"),
        ({"train": ("a", "b"), "columns": ("de", "en")}, "remove columns"),
        ({"train": "a.tsv", "columns": (0, 1)}, "column numbers from 1"),
        ({"train": [{"de": "a"}]}, r"needs the names of its columns.*\['de'\]"),
        ({"train": "a.tsv", "encoding": "utf-9"}, "expected an encoding that Python supports"),
        ({"train": "a.tsv", "joint": True, "target": Text("word")}, "remove target"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any], message: str) -> None:
    if len(arguments["train"]) == 3:
        arguments["train"] = list(arguments["train"])
    with pytest.raises(ValueError, match=message):
        TextPairs(**arguments)


def test_joint_is_one_vocabulary(tmp_path: Path) -> None:
    data = TextPairs(pair(tmp_path), source=Text(), joint=True)
    assert data.spec.joint_vocabulary
    assert data.spec.target.decode(data.spec.target.encode(["Äyes"])) == ["Äyes"]


def test_the_cache_follows_the_files(tmp_path: Path) -> None:
    def folder(**changes: Any) -> Path:
        return TextPairs(**{"train": files, **CHARS, **changes}).dataset("train").folder

    files = pair(tmp_path)
    first = folder()
    assert folder() == first
    assert folder(encoding="latin-1") != first
    assert folder(val=files) != first
    pair(tmp_path, english=ENGLISH.replace("dog", "cat"))
    assert folder() != first


@pytest.mark.parametrize(
    ("text", "train", "columns", "joint"),
    [
        (
            "{train: [a.de, a.en], source: {tokenizer: bpe, vocab_size: 900}, joint: true}",
            ("a.de", "a.en"),
            None,
            True,
        ),
        (
            """
            train: a.tsv
            columns: [de, en]
            source: {class_path: seqlearn.data.Text, init_args: {tokenizer: bpe, vocab_size: 900}}
            """,
            "a.tsv",
            ("de", "en"),
            False,
        ),
        (
            "{train: a.tsv, columns: [3, 1], source: {tokenizer: bpe, vocab_size: 900}}",
            "a.tsv",
            (3, 1),
            False,
        ),
    ],
)
def test_a_configuration_file_can_say_it(text: str, train: Any, columns: Any, joint: bool) -> None:
    parser = ArgumentParser()
    parser.add_subclass_arguments(SequenceDataModule, "data")
    given_ = {"data": {"class_path": "seqlearn.data.TextPairs", "init_args": yaml.safe_load(text)}}
    configuration = parser.parse_object(given_)
    # What is saved beside a run reads back as the same.
    again = parser.parse_object(yaml.safe_load(parser.dump(configuration)))
    for one in (configuration, again):
        assert one.data.init_args.train == train
        data = parser.instantiate(one).data
        assert data.source == Text("bpe", vocab_size=900)
        assert data.columns == columns
        assert (data.source is data.target) == joint


@pytest.mark.slow
def test_multi30k_pads_little(real_data: Path) -> None:
    def files(name: str) -> tuple[Path, Path]:
        folder = real_data / "multi30k"
        return folder / f"{name}.en.gz", folder / f"{name}.de.gz"

    data = TextPairs(
        files("train"),
        files("val"),
        files("test_2016_flickr"),
        Text("bpe", vocab_size=8000),
        joint=True,
    )
    assert data.spec.source.vocab_size == 8000
    for split, pairs in (("train", 29000), ("val", 1014), ("test", 1000)):
        assert len(data.dataset(split)) == pairs
    train = data.dataset("train")
    batches = plan_bucketed(train.source_lengths, train.target_lengths, 4096).epoch(0, 0)
    for lengths in (train.source_lengths, train.target_lengths):
        padded = sum(len(batch) * lengths[batch].max() for batch in batches)
        assert 1 - lengths.sum() / padded <= 0.06
    texts = list(data.examples("test"))
    assert data.spec.target.decode(data.spec.target.encode([de for _, de in texts])) == [
        de for _, de in texts
    ]
