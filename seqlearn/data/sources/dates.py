"""`Dates`: written-out dates in the locales of the CLDR, for four tasks.

Nothing is downloaded: patterns and names come from Babel, which formats Gregorian dates in every
locale of the Unicode Common Locale Data Repository (https://cldr.unicode.org).
"""

from __future__ import annotations

import datetime as dt
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import babel
from babel import Locale

from seqlearn.data.fields import Classes, Field, Text
from seqlearn.data.module import Example, SequenceDataModule, Split
from seqlearn.data.rng import seeded_rng
from seqlearn.data.sources.date_formats import find_locale, formats_showing, full_format
from seqlearn.data.tags_field import CharacterTags
from seqlearn.data.vector_field import Vector

Task = Literal["sequence-to-sequence", "sequence-to-vector", "vector-to-sequence", "tagging"]

_TASKS = ("sequence-to-sequence", "sequence-to-vector", "vector-to-sequence", "tagging")
_LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "ja")
"""The default languages of "sequence-to-vector"."""

_TRAIN, _HELD_OUT = 20_000, 1_000
_TARGETS: dict[str, Field] = {
    "sequence-to-vector": Classes(),
    "tagging": CharacterTags(),
}
"""The fields of targets that are not text."""

_VECTOR = 4 * 10 + 12 + 31 + 7


def date_vector(day: dt.date) -> tuple[float, ...]:
    """Encode a date as the vector of "vector-to-sequence": 90 numbers, each 0 or 1.

    Returns:
        Seven concatenated one-hot groups: the four digits of the year (10 numbers each, thousands
        first), the month (12, January first), the day of the month (31), the weekday (7, Monday
        first).

    Examples:
        >>> [n for n, value in enumerate(date_vector(dt.date(2026, 11, 22))) if value]
        [2, 10, 22, 36, 50, 73, 89]
    """
    hot = [10 * index + int(digit) for index, digit in enumerate(f"{day.year:04d}")]
    hot += [40 + day.month - 1, 52 + day.day - 1, 83 + day.weekday()]
    return tuple(float(position in hot) for position in range(_VECTOR))


class Dates(SequenceDataModule):
    """Written-out dates in the locales of the CLDR, for four tasks, without downloads.

    Of all dates from `first_year` to `last_year`, 20,000 are drawn for training, 1,000 for
    validation and 1,000 for testing (of a short range, a tenth each for the last two and the rest
    for training). Each date is in one split and one example only. Splits and formats are functions
    of `seed`.

    - `"sequence-to-sequence"`: from the source locale to the full format of the target locale
      (`"Sunday, November 22, 2026"` to `"Sonntag, 22. November 2026"`). Sources use several formats
      of their locale (`"Sun, 11/22/2026"`) that determine the target: never with two-digit years,
      nor without the weekday if the target has it.
    - `"sequence-to-vector"`: from a full format to its locale, one of `locales`, as a class. A text
      that occurs in two of them is excluded.
    - `"vector-to-sequence"`: from the 90 numbers of `date_vector` to the full format of the target
      locale.
    - `"tagging"`: from a date in one of several formats of the source locale to a tag for each
      character: `B-` and `I-` (IOB2) of `day`, `month`, `year` and `weekday`, and `O` for
      punctuation, white space and words between them. The formats have the day, the month and all
      digits of the year; some have no weekday (`"Nov 22, 2026"`). Babel's patterns tell which
      character belongs to which part, so the tags are exact. The target locale is not used.

    Texts are tokenized by character, with one vocabulary for each side. Dates are Gregorian in
    every locale, with the digits that Babel writes.

    Args:
        source_locale: The source locale, such as `"en"`, `"pt_BR"`, `"zh-Hant"`.
        target_locale: The target locale.
        task: `"sequence-to-sequence"`, `"sequence-to-vector"`, `"vector-to-sequence"` or
            `"tagging"`.
        locales: The classes of `"sequence-to-vector"`, two or more locales. By default source and
            target, and those of en, de, fr, es, it, pt, nl, pl, ru, ja that are not their
            languages.
        first_year: First year of the range, 1 or later.
        last_year: Last year of the range (inclusive), 9999 or earlier.
        batch_tokens: Budget of a batch, see `SequenceDataModule`.
        seed: Determines splits, formats and the order of training. Evaluate a checkpoint with the
            seed of its training; with another seed the test split has training dates.
        num_workers: Number of worker processes that slice batches.

    Raises:
        ValueError: If a locale, the task or the range of years does not exist, if `locales` is
            used with another task or has fewer than two, or if two of them format all dates alike.

    Examples:
        >>> data = Dates("en", "de", first_year=2026, last_year=2026)
        >>> len(data.dates("train")), len(data.dates("test"))
        (293, 36)
        >>> text, tags = next(iter(Dates("fr", task="tagging").examples("test")))
        >>> text, tags[-5:]
        ('lun. 13/06/2022', ['O', 'B-year', 'I-year', 'I-year', 'I-year'])
    """

    def __init__(
        self,
        source_locale: str = "en",
        target_locale: str = "de",
        *,
        task: Task = "sequence-to-sequence",
        locales: Sequence[str] | None = None,
        first_year: int = 1900,
        last_year: int = 2099,
        batch_tokens: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        if task not in _TASKS:
            raise ValueError(f"expected task to be one of {', '.join(_TASKS)}, got {task!r}")
        if not dt.MINYEAR <= first_year <= last_year <= dt.MAXYEAR:
            raise ValueError(
                "expected 1 <= first_year <= last_year <= 9999, "
                f"got first_year={first_year}, last_year={last_year}"
            )
        self._source, self._target = find_locale(source_locale), find_locale(target_locale)
        self._locales = self._candidate_locales(task, locales)
        self.task = task
        self.first_year, self.last_year = first_year, last_year
        super().__init__(
            source=Vector(_VECTOR) if task == "vector-to-sequence" else Text("char"),
            target=_TARGETS.get(task, Text("char")),
            batch_tokens=batch_tokens,
            seed=seed,
            num_workers=num_workers,
        )

    def _candidate_locales(self, task: str, locales: Sequence[str] | None) -> list[Locale]:
        if task != "sequence-to-vector":
            if locales is not None:
                raise ValueError(f"locales belong to task='sequence-to-vector', got task={task!r}")
            return []
        if locales is None:
            chosen = [self._source, self._target]
            spoken = {locale.language for locale in chosen}
            chosen += [find_locale(name) for name in _LANGUAGES if name not in spoken]
        else:
            chosen = [find_locale(name) for name in locales]
        distinct = list({str(locale): locale for locale in chosen}.values())
        if len(distinct) < 2:
            raise ValueError(f"expected two or more locales to classify, got {locales!r}")
        return distinct

    def fingerprint(self) -> str:
        """The arguments and Babel's version, which determine the examples."""
        return json.dumps(
            {
                "source": type(self).__qualname__,
                "babel": babel.__version__,
                "locales": [str(one) for one in (self._source, self._target, *self._locales)],
                "task": self.task,
                "years": [self.first_year, self.last_year],
                "dates": [_TRAIN, _HELD_OUT],
                "seed": self.seed,
            }
        )

    def dates(self, split: Split) -> list[dt.date]:
        """The dates of a split; splits are disjoint."""
        first = dt.date(self.first_year, 1, 1).toordinal()
        last = dt.date(self.last_year, 12, 31).toordinal()
        total = last - first + 1
        held = min(_HELD_OUT, total // 10)
        drawn = seeded_rng(f"splits {self.seed}").sample(
            range(first, last + 1), min(_TRAIN + 2 * held, total)
        )
        parts = {"val": drawn[:held], "test": drawn[held : 2 * held], "train": drawn[2 * held :]}
        return [dt.date.fromordinal(ordinal) for ordinal in parts[split]]

    def examples(self, split: Split) -> Iterable[Example]:
        """Yield one example per date: a text or a vector, and a text, a label or a list of tags."""
        days = self.dates(split)
        chooser = seeded_rng(f"formats {self.seed} {split}")
        if self.task == "sequence-to-vector":
            yield from self._classification_examples(days, chooser)
            return
        if self.task == "tagging":
            formats = formats_showing(("year", "month", "day"), self._source)
            for day in days:
                yield chooser.choice(formats).tag(day)
            return
        target = full_format(self._target)
        if self.task == "vector-to-sequence":
            for day in days:
                yield date_vector(day), target.write(day)
            return
        formats = formats_showing(target.shows, self._source)
        for day in days:
            yield chooser.choice(formats).write(day), target.write(day)

    def _classification_examples(
        self, days: list[dt.date], chooser: random.Random
    ) -> Iterator[tuple[str, str]]:
        labels = [str(locale) for locale in self._locales]
        formats = [full_format(locale) for locale in self._locales]
        rows = [[one.write(day) for one in formats] for day in days]
        uses = Counter(text for row in rows for text in row)
        found = [[i for i, text in enumerate(row) if uses[text] == 1] for row in rows]
        never = set(range(len(labels))).difference(*found)
        if never:
            names = ", ".join(labels[i] for i in sorted(never))
            raise ValueError(
                f"every date in {names} has the same text in another of {', '.join(labels)}; "
                "remove locales that format dates alike"
            )
        for row, unique in zip(rows, found, strict=True):
            if unique:
                i = chooser.choice(unique)
                yield row[i], labels[i]
