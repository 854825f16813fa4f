from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import babel
import lightning as L
import pytest
from babel import Locale
from babel.languages import get_official_languages

import seqlearn as sl
from seqlearn.batch import END, START
from seqlearn.data.sources.recall import FILLER, Recall

SPLITS = ("train", "val", "test")
TASKS = ("sequence-to-vector", "language-modeling")
SMALL = {"languages": ["de", "fr", "es"], "train_examples": 60, "held_out_examples": 12}


def official() -> dict[str, set[str]]:
    """The official languages of each country, by English names, straight from the CLDR."""
    english = Locale("en")
    return {
        name: {english.languages.get(one, one) for one in get_official_languages(code)}
        for code, name in english.territories.items()
    }


@pytest.mark.parametrize("task", TASKS)
def test_the_same_task_at_another_distance(task):
    data = Recall(3, task=task, prefix_length=5, seed=2, **SMALL)
    other = Recall(7, task=task, prefix_length=5, seed=2, **SMALL)
    assert list(data.at_distance(7)) == list(other.examples("test"))


@pytest.mark.parametrize(("distance", "prefix_length"), [(0, 4), (1, 3), (10, 0), (300, 7)])
def test_the_distance_is_exact_and_the_target_right(distance: int, prefix_length: int):
    spoken = official()
    data = Recall(distance, prefix_length=prefix_length)
    assert data.distance == distance
    pattern = re.compile(
        rf"(?:[a-z]+ ){{{prefix_length}}}I grew up in (\w+) "
        rf"((?:[a-z]+ ){{{distance}}})I speak fluent"
    )
    for split in SPLITS:
        for text, language in data.examples(split):
            match = pattern.fullmatch(text)
            assert match, text
            assert spoken[match[1]] == {language}
            assert set(match[2].split()) <= set(FILLER)


def test_a_language_model_gets_the_same_texts_and_the_target():
    classes, language_model = (Recall(3, task=task, **SMALL) for task in TASKS)
    for split in SPLITS:
        expected = [(None, f"{text} {language}") for text, language in classes.examples(split)]
        assert list(language_model.examples(split)) == expected


@pytest.mark.parametrize("distance", [0, 10])
def test_no_two_texts_have_the_same_filler(distance: int):
    fillers = [
        " ".join(word for word in text.split() if word in FILLER)
        for split in SPLITS
        for text, _ in Recall(distance).examples(split)
    ]
    assert len(set(fillers)) == len(fillers) == 5_000
    assert {len(filler.split()) for filler in fillers} == {distance + 4}


def test_scarce_filler_is_not_repeated_either():
    data = Recall(1, prefix_length=1, train_examples=1_500, held_out_examples=250)
    texts = [text for split in SPLITS for text, _ in data.examples(split)]
    assert len({text.split()[0] + text.split()[6] for text in texts}) == len(texts) == 2_000


def test_more_training_leaves_the_held_out_texts_as_they_are():
    few, many = (Recall(5, train_examples=number) for number in (300, 1_000))
    for split in ("val", "test"):
        assert list(few.examples(split)) == list(many.examples(split))


def test_the_filler_names_no_country_no_language_and_nothing_of_the_sentence():
    english = Locale("en")
    named = {*english.territories.values(), *english.languages.values()}
    words = {word for name in named for word in re.findall(r"\w+", name.lower())}
    assert not (words | {"i", "grew", "up", "in", "speak", "fluent"}) & set(FILLER)
    assert len(set(FILLER)) == len(FILLER) == 64


def test_languages_are_balanced_and_every_country_occurs_in_training():
    data = Recall(2)
    assert len(data.countries) == 10
    assert data.countries["German"] == ["Austria", "Germany", "Liechtenstein"]
    for split, count in zip(SPLITS, (400, 50, 50), strict=True):
        assert set(Counter(label for _, label in data.examples(split)).values()) == {count}
    named = {word for text, _ in data.examples("train") for word in text.split()}
    assert named == {
        *FILLER,
        *["I", "grew", "up", "in", "speak", "fluent"],
        *(country for countries in data.countries.values() for country in countries),
    }
    scarce = Recall(2, train_examples=200)
    assert {text.split()[8] for text, _ in scarce.examples("train")} == named & {
        country for countries in data.countries.values() for country in countries
    }


def test_names_are_single_words_and_belong_to_one_language():
    data = Recall(languages=["sv", "th", "en", "pt"])
    spoken = official()
    assert list(data.countries) == ["Swedish", "Thai", "English", "Portuguese"]
    for language, countries in data.countries.items():
        assert countries
        assert all(spoken[country] == {language} for country in countries)
        assert all(re.fullmatch(r"\w+", name) for name in (language, *countries))


def made(task: str) -> str:
    data = Recall(7, task=task, train_examples=300, seed=5)
    return repr([data.fingerprint(), *(list(data.examples(split)) for split in SPLITS)])


def test_another_process_makes_the_same_examples():
    """Nothing depends on how Python hashes strings in this process."""
    code = f"""
import sys
from seqlearn.data.sources.recall import Recall
SPLITS = {SPLITS!r}
{inspect.getsource(made)}
sys.stdout.reconfigure(encoding="utf-8")
for task in {TASKS!r}:
    print(made(task))
"""
    root = str(Path(__file__).resolve().parents[3])
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": root},
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout
    assert said.splitlines() == [made(task) for task in TASKS]


def test_fingerprint_tells_apart_what_differs(monkeypatch: pytest.MonkeyPatch):
    different = [
        Recall(),
        Recall(11),
        Recall(prefix_length=5),
        Recall(task=TASKS[1]),
        Recall(languages=["de", "fr"]),
        Recall(languages=["fr", "de"]),
        Recall(train_examples=500),
        Recall(held_out_examples=400),
        Recall(seed=1),
    ]
    prints = {data.fingerprint() for data in different}
    assert len({next(iter(data.examples("train"))) for data in (Recall(), Recall(seed=1))}) == 2
    monkeypatch.setattr(babel, "__version__", "0")
    assert len({*prints, Recall().fingerprint()}) == len(different) + 1
    assert Recall(batch_tokens=100).fingerprint() == Recall(batch_tokens=200).fingerprint()


def test_a_batch_holds_texts_and_classes():
    data = Recall(20, **SMALL)
    assert data.spec.task == "sequence-to-vector"
    assert data.spec.target.labels == ("French", "German", "Spanish")
    length = 4 + 5 + 20 + 3
    batch = next(iter(data.train_dataloader()))
    assert batch.source.shape == (60, length)
    assert batch.source_lengths.tolist() == [length] * 60
    assert batch.target.shape == (60,)
    assert batch.target_lengths is None
    text = data.spec.source.decode(batch.source[:1].tolist())[0]
    assert (text, data.spec.target.labels[batch.target[0]]) in set(data.examples("train"))


def test_a_batch_for_a_language_model_is_text_with_its_target():
    data = Recall(20, task=TASKS[1], **SMALL)
    assert data.spec.task == "language-modeling"
    length = 4 + 5 + 20 + 3 + 1
    batch = next(iter(data.train_dataloader()))
    assert batch.source is None
    assert batch.target.shape == (60, length + 2)
    assert set(batch.target[:, 0].tolist()) == {START}
    assert set(batch.target[:, -1].tolist()) == {END}
    answers = {text.split()[-1] for text in data.spec.target.decode(batch.target.tolist())}
    assert answers == {"French", "German", "Spanish"}
    assert len(data.val_dataloader().dataset) == 12


@pytest.mark.parametrize("task", TASKS)
def test_a_batch_fits_32_texts_of_any_distance(task: str):
    data = Recall(1_000, task=task, **SMALL)
    assert next(iter(data.train_dataloader())).size >= 30
    assert Recall(10).batch_tokens == 4096
    assert Recall(10, batch_tokens=50).batch_tokens == 50


@pytest.mark.parametrize("task", TASKS)
def test_trains(task: str):
    data = Recall(5, task=task, **SMALL)
    model = sl.Transformer(data.spec, d_model=8, num_layers=1, num_heads=2)
    before = {name: value.clone() for name, value in model.named_parameters()}
    trainer = L.Trainer(fast_dev_run=2, accelerator="cpu", logger=False)
    trainer.fit(model, data)
    assert any(not value.equal(before[name]) for name, value in model.named_parameters())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"distance": -1}, "distance of at least 0 filler words, got -1"),
        ({"prefix_length": -2}, "prefix_length of at least 0 filler words, got -2"),
        ({"held_out_examples": 0}, "held_out_examples of at least 1, got 0"),
        ({"train_examples": 199}, "train_examples of at least 200, .* got 199; increase it"),
        ({"languages": ["de"]}, r"two or more languages, got \['de'\]"),
        ({"languages": ["de", "de"]}, r"two or more languages, got \['de', 'de'\]"),
        ({"languages": ["de", "xx"]}, "got 'xx'; choose from am, ar, "),
        ({"languages": ["de", "sr_Latn"]}, "got 'sr_Latn'"),
        ({"distance": 0, "prefix_length": 2}, "leave 2 filler words, too few to make 5000 texts"),
        ({"batch_tokens": 0}, "batch_tokens of at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments: dict[str, object], said: str):
    with pytest.raises(ValueError, match=said) as caught:
        Recall(**arguments)
    assert "\n" not in str(caught.value)


def test_wrong_shape_names_the_two():
    # Unwrapped: the run-time check of annotations, which only tests have, would speak first.
    with pytest.raises(ValueError, match=f"{', '.join(TASKS)}, got 'vector-to-sequence'"):
        inspect.unwrap(Recall.__init__)(Recall.__new__(Recall), task="vector-to-sequence")


def test_a_larger_test_split_holds_no_text_of_training() -> None:
    """A checkpoint may be measured on more texts than its data module held out."""
    trained, measured = (Recall(5, train_examples=300, held_out_examples=n) for n in (10, 200))
    texts = set(trained.examples("train"))
    assert not texts & set(measured.examples("test"))
    assert list(measured.examples("test"))[:10] == list(trained.examples("test"))
    assert set(measured.examples("train")) == texts
