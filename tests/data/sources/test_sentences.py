"""`Sentences`: grammar, splits, reproducibility, and that a small model learns it."""

from __future__ import annotations

import random

import lightning as L
import pytest

import seqlearn as sl
from seqlearn.data import Sentences
from seqlearn.data.sources import sentences

SPLITS = ("train", "val", "test")


class Script(random.Random):
    """Draws what it is told."""

    def __init__(self, *drawn: str | None) -> None:
        super().__init__(0)
        self.left = list(drawn)

    def choice(self, seq):
        chosen = self.left.pop(0)
        assert chosen in seq
        return chosen


@pytest.mark.parametrize(
    ("subject", "thing", "others", "english", "german"),
    [
        ("the dog", "a mouse", "see - -", "the dog sees a mouse", "der Hund sieht eine Maus"),
        ("the dog", "a mouse", "see can -",
         "the dog can see a mouse", "der Hund kann eine Maus sehen"),
        ("the dog", "a mouse", "see - today", "today the dog sees a mouse",
         "heute sieht der Hund eine Maus"),
        ("a mouse young", "the dog old", "know must -", "a young mouse must know the old dog",
         "eine junge Maus muss den alten Hund kennen"),
        ("a king old", "a owl", "seek will -", "an old king will seek an owl",
         "ein alter König wird eine Eule suchen"),
        ("the child", "a horse small", "find - -", "the child finds a small horse",
         "das Kind findet ein kleines Pferd"),
        ("a bird", "the king big", "know - now", "now a bird knows the big king",
         "jetzt kennt ein Vogel den großen König"),
        ("the horse big", "a bird big", "find can here", "here the big horse can find a big bird",
         "hier kann das große Pferd einen großen Vogel finden"),
    ],
)  # fmt: skip
def test_translations_are_right(subject, thing, others, english, german):
    """Written by hand."""

    def phrase(words):
        return [*words.split(), None][:3]

    verb, modal, adverb = (None if each == "-" else each for each in others.split())
    drawn = Script(*phrase(subject), *phrase(thing), verb, modal, adverb)
    assert sentences._draw_pair(drawn) == (english, german)
    assert not drawn.left


def test_all_sentences_differ_and_have_as_many_words_as_their_translations():
    data = Sentences(3_000, 200)
    pairs = {split: list(data.examples(split)) for split in SPLITS}
    assert [len(pairs[split]) for split in SPLITS] == [3_000, 200, 200]
    sources = [source for split in SPLITS for source, _ in pairs[split]]
    assert len(set(sources)) == 3_400
    for source, target in pairs["train"]:
        assert 5 <= len(source.split()) <= 9
        assert len(source.split()) == len(target.split())
    train = {word for source, target in pairs["train"] for word in f"{source} {target}".split()}
    assert {w for s in SPLITS for x, y in pairs[s] for w in f"{x} {y}".split()} == train


def test_the_seed_determines_the_sentences():
    one, same, other = (list(Sentences(50, 5, seed=s).examples("train")) for s in (1, 1, 2))
    assert one == same != other
    fingerprints = {Sentences(50, 5, seed=s).fingerprint() for s in (1, 1, 2)}
    assert len(fingerprints) == 2


def test_a_small_model_learns_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path))
    data = Sentences(batch_tokens=1024)
    L.seed_everything(0, verbose=False)
    recipe = sl.Recipe(lr=6e-3, warmup_steps=50, schedule="cosine")
    model = sl.AttentionSeq2Seq(data.spec, d_model=48, dropout=0.0, recipe=recipe)
    trainer = L.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        gradient_clip_val=1.0,
        limit_val_batches=0,
    )
    trainer.fit(model, data)
    (figures,) = trainer.test(model, data, verbose=False)
    assert figures["test/exact_match"] > 0.8
    assert model.generate(["today the dog can see a small mouse"]) == [
        "heute kann der Hund eine kleine Maus sehen"
    ]


@pytest.mark.parametrize("sizes", [(0, 5), (5, 0), (sentences.POSSIBLE, 5)])
def test_sizes_that_cannot_be_are_refused(sizes):
    with pytest.raises(ValueError, match="expected"):
        Sentences(*sizes)
