"""`Recall`: a long-range dependency, "I grew up in Germany … I speak fluent German".

This is the textbook example for the effect of vanishing gradients. Nothing is downloaded:
territories and their official languages come with Babel from the Unicode Common Locale Data
Repository (https://cldr.unicode.org).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Literal

import babel
from babel import Locale
from babel.languages import get_official_languages

from seqlearn.data.fields import Classes, Text
from seqlearn.data.module import SPLITS, SequenceDataModule, Split
from seqlearn.data.rng import seeded_rng

RecallTask = Literal["sequence-to-vector", "language-modeling"]

_TASKS = ("sequence-to-vector", "language-modeling")
_LANGUAGES = ("en", "fr", "es", "ar", "pt", "de", "nl", "it", "ru", "ja")
_FACT = ("I", "grew", "up", "in")
_QUESTION = ("I", "speak", "fluent")

_FILLER = (
    "the our and but then so when while after before with without near under over through we they "
    "she he it was were had went came saw made took gave found kept left said house river garden "
    "street morning evening summer winter rain snow music bread water window table letter train "
    "friend dog cold warm small large green quiet slowly again often always never"
)
FILLER = tuple(_FILLER.split())
"""The 64 filler words; none occurs in the name of a country or a language."""


class Recall(SequenceDataModule):
    """A task with a dependency over an exact distance: the country determines the language.

    A text is `prefix_length` filler words, "I grew up in" and a country, exactly `distance` filler
    words, and the question "I speak fluent". Filler words are drawn for each text, uniformly from
    64 words, and carry no information about the language.

    - `"sequence-to-vector"`: from the text to the language, as a class.
    - `"language-modeling"`: the same text with the language as its last word. The minimum loss is
      ln 64 = 4.16 nats for each filler word; the language is one token among all of them.

    Between country and language there are `distance` words and the three of the question. The
    backward direction of a bidirectional encoder has only `prefix_length` + 4 words after the
    country; to measure its memory as well, set `prefix_length` as large as `distance`.

    The control is `distance=0` (`Recall(distance=0, prefix_length=1000)` for texts as long as those
    of `distance=1000`): a model that fails there has not learned which language belongs to which
    country; one that fails only at larger distances has not learned to remember the country.

    Countries are the CLDR's territories with exactly one official language whose English names are
    both one word. Languages are equally frequent in every split, so chance level is
    1 / `len(languages)`; so are the countries of a language. Every country occurs in training: the
    task tests memory, not knowledge. No two texts of any splits have the same filler.

    Args:
        distance: Filler words between the country and the question.
        task: `"sequence-to-vector"` or `"language-modeling"`.
        languages: Codes of the languages to classify, two or more.
        prefix_length: Filler words before the first sentence.
        train_examples: Number of training examples.
        held_out_examples: Number of validation examples, and of test examples.
        batch_tokens: Padded tokens in a batch; by default 4096, or 32 texts if that is more.
        seed: Determines the filler and the order of training. Evaluate a checkpoint with the seed
            of its training; with another seed the test split may have training texts.
        num_workers: Number of worker processes that slice batches.

    Attributes:
        countries: The countries of each language, by its English name.

    Raises:
        ValueError: If a number is out of range, the task does not exist, a language has no such
            country, `train_examples` is too small for all countries, or there are too few filler
            words to make all texts different.

    Examples:
        >>> data = Recall(distance=2, languages=["de", "fr"], prefix_length=4)
        >>> text, language = next(data.examples("train"))
        >>> len(text.split()), language in data.countries
        (14, True)

    Source: the example is Hochreiter and Schmidhuber's long time lag (1997, section 5) in the
    words of Olah, "Understanding LSTM Networks" (2015).
    """

    def __init__(
        self,
        distance: int = 10,
        *,
        task: RecallTask = "sequence-to-vector",
        languages: Sequence[str] = _LANGUAGES,
        prefix_length: int = 4,
        train_examples: int = 4_000,
        held_out_examples: int = 500,
        batch_tokens: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        if task not in _TASKS:
            raise ValueError(f"expected task to be one of {', '.join(_TASKS)}, got {task!r}")
        for name, value in (("distance", distance), ("prefix_length", prefix_length)):
            if value < 0:
                raise ValueError(f"expected {name} of at least 0 filler words, got {value}")
        if held_out_examples < 1:
            raise ValueError(f"expected held_out_examples of at least 1, got {held_out_examples}")
        self.countries = _countries(languages)
        self._languages = tuple(languages)
        needed = len(self.countries) * max(map(len, self.countries.values()))
        if train_examples < needed:
            raise ValueError(
                f"expected train_examples of at least {needed}, so that every country occurs in "
                f"training, got {train_examples}; increase it, or use fewer languages"
            )
        total = train_examples + 2 * held_out_examples
        if len(FILLER) ** (prefix_length + distance) < 2 * total:
            raise ValueError(
                f"distance={distance} and prefix_length={prefix_length} leave "
                f"{prefix_length + distance} filler words, too few to make {total} texts "
                "different; set prefix_length=4 or more"
            )
        language_model = task == "language-modeling"
        longest = prefix_length + len(_FACT) + 1 + distance + len(_QUESTION) + 3 * language_model
        super().__init__(
            source=None if language_model else Text("word"),
            target=Text("word") if language_model else Classes(),
            batch_tokens=max(4096, 32 * longest) if batch_tokens is None else batch_tokens,
            seed=seed,
            num_workers=num_workers,
        )
        self.distance, self.prefix_length, self.task = distance, prefix_length, task
        self.train_examples, self.held_out_examples = train_examples, held_out_examples

    def fingerprint(self) -> str:
        """The arguments and Babel's version, which determine the examples."""
        return json.dumps(
            {
                "source": type(self).__qualname__,
                "babel": babel.__version__,
                "languages": list(self.countries),
                "task": self.task,
                "filler": [self.prefix_length, self.distance, FILLER],
                "examples": [self.train_examples, self.held_out_examples],
                "seed": self.seed,
            }
        )

    def examples(self, split: Split) -> Iterator[tuple[str | None, str]]:
        """Yield a text and its language, or `None` and the text that ends with its language."""
        languages = list(self.countries)
        for row, filler in enumerate(self._fillers(split)):
            turn, place = divmod(row, len(languages))
            language = languages[place]
            countries = self.countries[language]
            country = countries[turn % len(countries)]
            words = [
                *filler[: self.prefix_length],
                *_FACT,
                country,
                *filler[self.prefix_length :],
                *_QUESTION,
            ]
            if self.task == "sequence-to-vector":
                yield " ".join(words), language
            else:
                yield None, " ".join([*words, language])

    def at_distance(self, distance: int) -> Iterator[tuple[str | None, str]]:
        """Yield the test examples of the same task with another number of filler words.

        Args:
            distance: Filler words between the country and the question.

        Raises:
            ValueError: If there are too few filler words to make all texts different.
        """
        other = Recall(
            distance,
            task=self.task,
            languages=self._languages,
            prefix_length=self.prefix_length,
            train_examples=self.train_examples,
            held_out_examples=self.held_out_examples,
            seed=self.seed,
        )
        return other.examples("test")

    def _fillers(self, split: Split) -> Iterator[list[str]]:
        """The filler words of each text of a split; they differ between all texts of all splits.

        Each split has its own generator, so its texts do not depend on the sizes of other splits.
        """
        seen: set[tuple[str, ...]] = set()
        for one in reversed(SPLITS):  # the test split first: training leaves out what is in it
            draw = seeded_rng(f"recall {one} {self.seed}")
            last = len(seen) + (self.train_examples if one == "train" else self.held_out_examples)
            while len(seen) < last:
                words = draw.choices(FILLER, k=self.prefix_length + self.distance)
                if tuple(words) in seen:
                    continue
                seen.add(tuple(words))
                if one == split:
                    yield words
            if one == split:
                return


def _countries(languages: Sequence[str]) -> dict[str, list[str]]:
    """The countries with a single official language, by the English name of the language.

    Raises:
        ValueError: If a language has no such country, or there are fewer than two languages.
    """
    english = Locale("en")
    known: dict[str, list[str]] = {}
    for code, country in sorted(english.territories.items()):
        official = get_official_languages(code) if re.fullmatch("[A-Z]{2}", code) else ()
        if len(official) == 1 and country.isalpha():
            known.setdefault(official[0], []).append(country)
    known = {code: known[code] for code in known if english.languages.get(code, "").isalpha()}
    for code in languages:
        if code not in known:
            raise ValueError(
                f"expected codes of languages that are the only official one of a country and have "
                f"one-word names, got {code!r}; choose from {', '.join(sorted(known))}"
            )
    chosen = {english.languages[code]: known[code] for code in languages}
    if len(chosen) < 2:
        raise ValueError(f"expected two or more languages, got {list(languages)!r}")
    return chosen
