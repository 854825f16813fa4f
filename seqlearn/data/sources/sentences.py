"""`Sentences`: short English sentences and their German translations, made by a grammar."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from seqlearn.data.fields import Text
from seqlearn.data.module import SequenceDataModule, Split
from seqlearn.data.rng import seeded_rng
from seqlearn.plain_data import check_whole_number

NOUNS = {  # with the gender of the translation
    "bird": ("Vogel", "masculine"),
    "cat": ("Katze", "feminine"),
    "child": ("Kind", "neuter"),
    "dog": ("Hund", "masculine"),
    "horse": ("Pferd", "neuter"),
    "king": ("König", "masculine"),
    "mouse": ("Maus", "feminine"),
    "owl": ("Eule", "feminine"),
}
ADJECTIVES = {"big": "groß", "old": "alt", "small": "klein", "young": "jung"}
VERBS = {  # infinitive and third person
    "find": ("finds", "finden", "findet"),
    "know": ("knows", "kennen", "kennt"),
    "see": ("sees", "sehen", "sieht"),
    "seek": ("seeks", "suchen", "sucht"),
}
MODALS = {"can": "kann", "must": "muss", "will": "wird"}
ADVERBS = {"here": "hier", "now": "jetzt", "today": "heute"}

FORMS = {  # article and ending of the adjective: of the subject, of the object
    ("the", "masculine"): (("der", "e"), ("den", "en")),
    ("the", "feminine"): (("die", "e"), ("die", "e")),
    ("the", "neuter"): (("das", "e"), ("das", "e")),
    ("a", "masculine"): (("ein", "er"), ("einen", "en")),
    ("a", "feminine"): (("eine", "e"), ("eine", "e")),
    ("a", "neuter"): (("ein", "es"), ("ein", "es")),
}

POSSIBLE = 4 * (len(MODALS) + 1) * len(VERBS) * (2 * (len(ADJECTIVES) + 1) * len(NOUNS)) ** 2
"""Number of different sentences."""


class Sentences(SequenceDataModule):
    """Short English sentences and their German translations, word by word, without a download.

    | English | German |
    |---|---|
    | the dog sees a mouse | der Hund sieht eine Maus |
    | the dog can see a mouse | der Hund kann eine Maus sehen |
    | today the dog sees a mouse | heute sieht der Hund eine Maus |
    | a young mouse must know the old dog | eine junge Maus muss den alten Hund kennen |

    A grammar makes them, so every translation is right and the only right one. Still they show what
    makes translation more than a dictionary: with a modal verb the German verb moves to the end,
    after an adverb it changes places with the subject, and articles and adjectives have endings
    that depend on the gender of the noun and on its part in the sentence ("der alte Hund" sees,
    but one sees "den alten Hund"). A sentence has 5 to 9 words; the vocabularies have about 40.

    All sentences of all splits differ. Small models learn the task in seconds.

    Args:
        train_examples: Number of training sentences.
        held_out_examples: Number of validation sentences, and of test sentences.
        batch_tokens: Budget of a batch, see `SequenceDataModule`.
        seed: Determines the sentences and the order of training. Evaluate a checkpoint with the
            seed of its training.
        num_workers: Number of worker processes that slice batches.

    Raises:
        TypeError: If a number is not a whole number.
        ValueError: If a number is below 1, or more than half of all possible sentences are wanted.

    Examples:
        >>> from seqlearn.data import Sentences
        >>> data = Sentences(train_examples=100, held_out_examples=10)
        >>> source, target = next(data.examples("train"))
        >>> 5 <= len(source.split()) <= 9, len(source.split()) == len(target.split())
        (True, True)
    """

    def __init__(
        self,
        train_examples: int = 4_000,
        held_out_examples: int = 500,
        *,
        batch_tokens: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        self.train_examples = check_whole_number(train_examples, "train_examples", 1)
        self.held_out_examples = check_whole_number(held_out_examples, "held_out_examples", 1)
        if (wanted := self.train_examples + 2 * self.held_out_examples) > POSSIBLE // 2:
            raise ValueError(
                f"expected at most {POSSIBLE // 2} sentences in all splits, got {wanted}; lower "
                "train_examples or held_out_examples"
            )
        super().__init__(
            source=Text("word"),
            target=Text("word"),
            batch_tokens=batch_tokens,
            seed=seed,
            num_workers=num_workers,
        )

    def fingerprint(self) -> str:
        """The arguments, which determine the sentences."""
        counts = [self.train_examples, self.held_out_examples]
        return json.dumps(
            {"source": type(self).__qualname__, "examples": counts, "seed": self.seed}
        )

    def examples(self, split: Split) -> Iterator[tuple[str, str]]:
        """Yield an English sentence and its German translation."""
        draw = seeded_rng(f"sentences {self.seed}")
        counts = {"test": self.held_out_examples, "val": self.held_out_examples}
        seen: set[str] = set()
        for part in ("test", "val", "train"):
            wanted = counts.get(part, self.train_examples)
            while wanted:
                english, german = _draw_pair(draw)
                if english in seen:
                    continue
                seen.add(english)
                wanted -= 1
                if part == split:
                    yield english, german
            if part == split:
                return


def _draw_pair(draw: random.Random) -> tuple[str, str]:
    """One sentence and its translation."""
    subject, subjekt = _draw_phrase(draw, part=0)
    noun_phrase, objekt = _draw_phrase(draw, part=1)
    infinitive = draw.choice(list(VERBS))
    finite, infinitiv, finit = VERBS[infinitive]
    modal = draw.choice([None, *MODALS])
    adverb = draw.choice([None, *ADVERBS])
    verbs = [finite] if modal is None else [modal, infinitive]
    verb, last = (finit, []) if modal is None else (MODALS[modal], [infinitiv])
    english = [*subject, *verbs, *noun_phrase]
    if adverb is None:
        return " ".join(english), " ".join([*subjekt, verb, *objekt, *last])
    german = [ADVERBS[adverb], verb, *subjekt, *objekt, *last]
    return " ".join([adverb, *english]), " ".join(german)


def _draw_phrase(draw: random.Random, part: int) -> tuple[list[str], list[str]]:
    """A noun with its article, and often an adjective; its translation as subject or object."""
    article, noun = draw.choice(["the", "a"]), draw.choice(list(NOUNS))
    adjective = draw.choice([None, *ADJECTIVES])
    translated, gender = NOUNS[noun]
    artikel, ending = FORMS[article, gender][part]
    english = [noun] if adjective is None else [adjective, noun]
    german = [translated] if adjective is None else [ADJECTIVES[adjective] + ending, translated]
    if article == "a" and english[0][0] in "aeiou":
        article = "an"
    return [article, *english], [artikel, *german]
