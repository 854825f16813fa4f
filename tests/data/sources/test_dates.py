from __future__ import annotations

import datetime as dt
import inspect
import os
import subprocess
import sys
from pathlib import Path

import babel
import pytest
from babel import Locale, localedata
from babel.dates import DateTimeFormat, format_date, get_date_format, tokenize_pattern
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlearn.data.sources.date_formats import (
    DateFormat,
    find_locale,
    formats_showing,
    full_format,
)
from seqlearn.data.sources.dates import Dates, date_vector
from seqlearn.spec.raw_inputs import UnknownSymbolWarning

SPLITS = ("train", "val", "test")
PAIRS = [("en", "de"), ("fr", "ja"), ("ar", "fa"), ("he", "th"), ("zh-Hant", "hi"), ("pt_BR", "ne")]
TASKS = ("sequence-to-sequence", "sequence-to-vector", "vector-to-sequence", "tagging")


def days_of(year: int, count: int = 365) -> list[dt.date]:
    return [dt.date(year, 1, 1) + dt.timedelta(i) for i in range(count)]


def test_translates_as_the_design_says():
    day = dt.date(2026, 11, 22)
    english, german = Locale("en"), full_format(Locale("de"))
    texts = [style.write(day) for style in formats_showing(german.shows, english)]
    assert texts == ["Sunday, November 22, 2026", "Sun, Nov 22, 2026", "Sun, 11/22/2026"]
    assert german.write(day) == "Sonntag, 22. November 2026"


def test_no_date_is_in_two_splits_nor_twice_in_one():
    for data in (Dates(), Dates(first_year=2026, last_year=2026)):
        dates = [day for split in SPLITS for day in data.dates(split)]
        assert len(set(dates)) == len(dates)
    assert [len(Dates().dates(split)) for split in SPLITS] == [20_000, 1_000, 1_000]
    assert len(dates) == 365


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_both_sides_are_of_the_same_date(source: str, target: str):
    data = Dates(source, target, first_year=1996, last_year=2003)
    wide = [day for year in (1896, 1996) for day in days_of(year, 8 * 366)]
    full = full_format(find_locale(target))
    reads = {full.write(day): day for day in wide}
    assert len(reads) == len(wide)
    understands: dict[str, dt.date] = {}
    for style in formats_showing(full.shows, find_locale(source)):
        for day in wide:
            assert understands.setdefault(style.write(day), day) == day
    for split in SPLITS:
        for (text, translation), day in zip(data.examples(split), data.dates(split), strict=True):
            assert understands[text] == reads[translation] == day


@pytest.mark.parametrize("name", ["en", "de", "ja", "ar", "fa", "he", "th", "zh_Hant", "fi", "ak"])
def test_writes_what_babel_writes(name: str):
    style = full_format(Locale.parse(name))
    for day in days_of(2023, 800):
        assert style.write(day) == format_date(day, "full", locale=name)


def test_source_formats_determine_the_target():
    """In every locale: no two-digit year, no missing weekday, no name that stands for two."""
    german = full_format(Locale("de"))
    assert german.shows == {"year", "month", "day", "weekday"}
    for name in localedata.locale_identifiers():
        styles = formats_showing(german.shows, Locale.parse(name))
        assert len(styles) >= 2, name
        assert all(style.shows >= german.shows for style in styles), name


def test_formats_without_weekday_serve_a_target_without_weekday():
    malay = full_format(Locale.parse("ms_Arab_BN"))
    assert malay.shows == {"year", "month", "day"}
    english = formats_showing(malay.shows, Locale("en"))
    texts = [style.write(dt.date(2026, 11, 22)) for style in english]
    assert "November 22, 2026" in texts
    assert "11/22/26" not in texts


def test_every_locale_builds_examples():
    for name in localedata.locale_identifiers():
        data = Dates(name, name, first_year=2026, last_year=2026)
        examples = list(data.examples("val"))
        assert len(examples) == 36, name
        for text, translation in examples:
            assert text.strip() == text, name
            assert "2026" in text, name
            assert "2026" in translation, name


def made(task: str) -> str:
    data = Dates(task=task, first_year=2000, last_year=2003, seed=5)
    return repr([data.fingerprint(), *(list(data.examples(split)) for split in SPLITS)])


def test_another_process_makes_the_same_examples():
    """Nothing depends on how Python hashes strings in this process."""
    code = f"""
import sys
from seqlearn.data.sources.dates import Dates
SPLITS = {SPLITS!r}
{inspect.getsource(made)}
sys.stdout.reconfigure(encoding="utf-8")
for task in {TASKS!r}:
    print(made(task))
"""
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "PYTHONHASHSEED": "1",
            "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
        },
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout
    assert said.splitlines() == [made(task) for task in TASKS]


def test_the_seed_decides_on_splits_and_formats():
    short = {"first_year": 2000, "last_year": 2003}
    first, second = Dates(seed=1, **short), Dates(seed=2, **short)
    assert first.dates("test") != second.dates("test")
    assert first.fingerprint() != second.fingerprint()
    assert list(first.examples("train")) == list(Dates(seed=1, **short).examples("train"))


def test_fingerprint_tells_apart_what_differs(monkeypatch: pytest.MonkeyPatch):
    different = [
        Dates(),
        Dates("fr"),
        Dates("en", "fr"),
        Dates(last_year=2100),
        *(Dates(task=task) for task in TASKS[1:]),
        Dates(task=TASKS[1], locales=["en", "de"]),
    ]
    prints = [data.fingerprint() for data in different]
    monkeypatch.setattr(babel, "__version__", "0")
    assert len({*prints, Dates().fingerprint()}) == len(different) + 1
    assert Dates(batch_tokens=1).fingerprint() == Dates(batch_tokens=2).fingerprint()


def test_a_date_as_numbers():
    vector = date_vector(dt.date(2026, 11, 22))
    hot = [position for position, number in enumerate(vector) if number]
    assert hot == [2, 10, 22, 36, 50, 73, 89]
    assert len(vector) == 90
    assert {len(date_vector(day)) for day in days_of(1)} == {90}
    assert len({date_vector(day) for day in days_of(1999, 1000)}) == 1000


def test_recognised_texts_belong_to_one_locale():
    danish_like = ["nb", "nn", "da"]  # nb and nn write most weekdays, but not all, alike
    data = Dates(task="sequence-to-vector", locales=danish_like)
    styles = {name: full_format(Locale(name)) for name in danish_like}
    shared, seen = 0, set()
    days = data.dates("train")
    written = {}
    for day in days:
        for name, style in styles.items():
            written.setdefault(style.write(day), set()).add(name)
    shared = sum(len(names) > 1 for names in written.values())
    assert shared > 0
    for text, label in data.examples("train"):
        assert written[text] == {label}
        seen.add(label)
    assert seen == set(danish_like)


def test_default_locales_take_in_source_and_target_once():
    labels = {label for _, label in Dates("pt-BR", "sw", task=TASKS[1]).examples("val")}
    assert labels == {"pt_BR", "sw", "en", "de", "fr", "es", "it", "nl", "pl", "ru", "ja"}


def test_two_locales_that_write_alike_are_refused():
    data = Dates(task=TASKS[1], locales=["en", "en_US", "de"])
    with pytest.raises(ValueError, match="every date in en, en_US has the same text in another"):
        list(data.examples("val"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("de_tsch", "closest: de_"),
        ("english", "got 'english'"),
        ("", "got ''"),
        ("pt-BX", r"closest: pt(_\w+)?, "),
        ("zh_Hanx", "closest: zh_Han[st]"),
        ("e n", "pybabel --list-locales"),
    ],
)
def test_unknown_locale_is_one_line_with_what_is_close(name: str, said: str):
    for arguments in ((name,), ("en", name)):
        with pytest.raises(ValueError, match=said) as caught:
            Dates(*arguments)
        assert "\n" not in str(caught.value)


def test_aliases_are_known():
    assert str(find_locale("zh_TW")) == "zh_Hant_TW"
    assert find_locale("no").language == "no"


def test_dashes_and_case_are_free():
    assert Dates("PT-br", "ZH-hant").fingerprint() == Dates("pt_BR", "zh_Hant").fingerprint()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"first_year": 2000, "last_year": 1999}, "first_year=2000, last_year=1999"),
        ({"first_year": 0}, "1 <= first_year"),
        ({"last_year": 10_000}, "9999"),
        ({"locales": ["en", "de"]}, "belong to task='sequence-to-vector'"),
        ({"task": TASKS[1], "locales": ["en", "en"]}, "two or more locales"),
        ({"task": TASKS[1], "locales": ["en", "xx"]}, "got 'xx'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], said: str):
    with pytest.raises(ValueError, match=said):
        Dates(**arguments)


def test_a_wrong_task_names_all():
    # Unwrapped: the run-time check of annotations, which only tests have, would speak first.
    with pytest.raises(ValueError, match=f"{', '.join(TASKS)}, got 'seq2seq'"):
        inspect.unwrap(Dates.__init__)(Dates.__new__(Dates), task="seq2seq")


@pytest.mark.parametrize("task", TASKS)
def test_prepares_a_spec_and_batches(task: str):
    data = Dates(task=task, first_year=2000, last_year=2003)
    assert data.spec.task == task
    if task == "tagging":
        parts = ("day", "month", "weekday", "year")
        assert data.spec.target.span_types == parts
        assert data.spec.target.labels == (*(f"{p}-{n}" for p in "BI" for n in parts), "O")
        assert data.spec.target.unit == "character"
    batch = next(iter(data.val_dataloader()))
    assert batch.size > 1
    if task == "sequence-to-sequence":
        assert not data.spec.joint_vocabulary
        source = data.spec.source.decode([batch.source[0].tolist()])[0]
        target = data.spec.target.decode([batch.target[0].tolist()])[0]
        assert (source, target) in set(data.examples("val"))
        assert not data.spec.source.unk_in_training


FIELDS = {"y": "year", "M": "month", "L": "month", "d": "day"} | dict.fromkeys("Eec", "weekday")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(localedata.locale_identifiers())),
    st.dates(),
    st.sampled_from(["full", "long", "medium", "short", "yMMMEd", "yMEd"]),
)
def test_spans_of_tags_are_the_parts_of_the_date(name: str, day: dt.date, format_name: str):
    """In every locale and format, also those that `Dates` does not use."""
    locale = Locale.parse(name)
    if format_name.startswith("y"):
        pattern = locale.datetime_skeletons.get(format_name, get_date_format("full", locale))
    else:
        pattern = get_date_format(format_name, locale)
    expected, written, parts = [], "", DateTimeFormat(day, locale)
    for kind, value in tokenize_pattern(pattern.pattern):
        text = value if kind == "chars" else parts[value[0] * value[1]]
        part = None if kind == "chars" else FIELDS.get(value[0])
        if part is not None and text:
            expected.append((part, len(written), text))
        written += text
    text, tags = DateFormat(pattern, locale).tag(day)
    assert text == written == pattern.apply(day, locale)
    assert len(tags) == len(text)
    found: list[tuple[str, int, str]] = []
    for place, (character, tag) in enumerate(zip(text, tags, strict=True)):
        if tag.startswith("B-"):
            found.append((tag[2:], place, character))
        elif tag != "O":
            part, begin, read = found.pop()
            assert tag == f"I-{part}"
            assert place == begin + len(read)
            found.append((part, begin, read + character))
    assert found == expected


@pytest.mark.parametrize("name", ["en", "fr_CA", "ja", "pt_PT"])
def test_formats_of_tagging_belong_to_one_date_each_and_have_one_tagging(name: str):
    tags: dict[str, list[str]] = {}
    data = Dates(name, task="tagging", first_year=1999, last_year=2000)
    split_of: dict[str, str] = {}
    for split in SPLITS:
        for text, expected in data.examples(split):
            assert tags.setdefault(text, expected) == expected
            assert split_of.setdefault(text, split) == split
            spans = [tag for tag in expected if tag.startswith("B-")]
            assert sorted(set(spans) - {"B-weekday"}) == ["B-day", "B-month", "B-year"]
            assert len(set(spans)) == len(spans)
    weekdays = {"B-weekday" in each for each in tags.values()}
    assert weekdays == {False, True}


def test_a_character_that_no_date_holds_is_unknown():
    spec = Dates(first_year=2000, last_year=2003).spec
    with pytest.warns(UnknownSymbolWarning, match="';' at character 7"):
        spec.source.encode(["Sunday; November 22, 2026"])
