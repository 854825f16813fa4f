"""`Dates`: written-out dates in the locales of the CLDR, for three tasks.

Nothing is downloaded: patterns and names come from Babel, which formats Gregorian dates in every
locale of the Unicode Common Locale Data Repository (https://cldr.unicode.org).
"""

from __future__ import annotations

import datetime as dt
import difflib
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import babel
from babel import Locale, UnknownLocaleError, localedata
from babel.dates import DateTimeFormat, DateTimePattern, get_date_format

from seqlearn.data.fields import Classes, Text
from seqlearn.data.module import Example, SequenceDataModule, Split
from seqlearn.data.rng import seeded_rng
from seqlearn.data.vector_field import Vector

Task = Literal["sequence-to-sequence", "sequence-to-vector", "vector-to-sequence"]

_TASKS = ("sequence-to-sequence", "sequence-to-vector", "vector-to-sequence")
_LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "ja")
"""The default languages of "sequence-to-vector"."""

_TRAIN, _HELD_OUT = 20_000, 1_000
_PARTS: dict[str, tuple[str, Callable[[dt.date], object]]] = {
    "G": ("era", lambda _: None),
    "y": ("year", lambda day: day.year),
    "M": ("month", lambda day: day.month),
    "L": ("month", lambda day: day.month),
    "d": ("day", lambda day: day.day),
    "E": ("weekday", lambda day: day.weekday()),
    "e": ("weekday", lambda day: day.weekday()),
    "c": ("weekday", lambda day: day.weekday()),
}
"""For each letter of the CLDR's patterns: the part of a date, and the value its text depends on."""

_VECTOR = 4 * 10 + 12 + 31 + 7

# Days that test whether a field distinguishes all values of its part: years a century apart (two
# digits do not), months, days of a month, days of a week.
_TRIALS = {
    "year": [dt.date(1900, 1, 1), dt.date(2000, 1, 1), dt.date(2001, 1, 1)],
    "month": [dt.date(2001, month, 1) for month in range(1, 13)],
    "day": [dt.date(2001, 1, day) for day in range(1, 32)],
    "weekday": [dt.date(2001, 1, day) for day in range(1, 8)],
}


class _Style:
    """A date format of a locale; as Babel's own `apply`, with cached names.

    Attributes:
        shows: Which of year, month, day and weekday the text determines.
    """

    def __init__(self, pattern: DateTimePattern, locale: Locale) -> None:
        self._format = str(pattern.format)
        self._locale = locale
        self._names: dict[tuple[str, object], str] = {}
        self._fields = {}
        self.shows = set()
        for field in sorted(set(re.findall(r"%\((\w+)\)s", self._format))):
            part, self._fields[field] = _PARTS.get(field[0], ("other", lambda day: day))
            trials = _TRIALS.get(part, [])
            texts = {DateTimeFormat(day, locale)[field] for day in trials}
            if trials and len(texts) == len(trials):
                self.shows.add(part)

    def write(self, day: dt.date) -> str:
        texts = {}
        for field, value in self._fields.items():
            key = field, value(day)
            if key not in self._names:
                self._names[key] = DateTimeFormat(day, self._locale)[field]
            texts[field] = self._names[key]
        return self._format % texts


def _full(locale: Locale) -> _Style:
    return _Style(get_date_format("full", locale), locale)


def _styles(source: Locale, target: _Style) -> list[_Style]:
    """The date formats of `source` that determine everything that `target` shows.

    Candidates are, in this order, the CLDR's full format, its skeletons with an abbreviated and
    with a numeric month (`yMMMEd`, `yMEd`), and its long, medium and short formats. A format that
    hides something is excluded: two-digit years always, and formats without the weekday if the
    target has one (in nearly every locale). Of equal patterns one is kept. If all hide something,
    the full format is used alone.
    """
    patterns = [get_date_format("full", source)]
    skeletons = source.datetime_skeletons
    patterns += [skeletons[name] for name in ("yMMMEd", "yMEd") if name in skeletons]
    patterns += [get_date_format(name, source) for name in ("long", "medium", "short")]
    styles = [_Style(one, source) for one in {one.format: one for one in patterns}.values()]
    return [style for style in styles if style.shows >= target.shows] or styles[:1]


def _locale(name: str) -> Locale:
    """Find a locale by its identifier, written with `_` or `-`, or by an alias (`zh_TW`).

    Raises:
        ValueError: If the CLDR has no such locale; the message gives the closest names.
    """
    identifier = name.replace("-", "_")
    try:
        found = Locale.parse(identifier)
    except (UnknownLocaleError, ValueError):
        found = None
    # Babel ignores unknown parts after the language; a misspelled name must not be another locale.
    if found and set(identifier.lower().split("_")[1:]) <= set(str(found).lower().split("_")):
        return found
    known = {one.lower(): one for one in localedata.locale_identifiers()}
    near = difflib.get_close_matches(identifier.lower(), known, n=3)
    closest = f" (closest: {', '.join(known[one] for one in near)})" if near else ""
    raise ValueError(
        f"expected a locale of the CLDR such as 'en' or 'pt_BR', got {name!r}{closest}; "
        "`pybabel --list-locales` lists all"
    )


def date_vector(day: dt.date) -> tuple[float, ...]:
    """Encode a date as the vector of "vector-to-sequence": 90 numbers, each 0 or 1.

    Returns:
        Seven concatenated one-hot groups: the four digits of the year (10 numbers each, thousands
        first), the month (12, January first), the day of the month (31), the weekday (7, Monday
        first).

    Example:
        >>> [n for n, value in enumerate(date_vector(dt.date(2026, 11, 22))) if value]
        [2, 10, 22, 36, 50, 73, 89]
    """
    hot = [10 * index + int(digit) for index, digit in enumerate(f"{day.year:04d}")]
    hot += [40 + day.month - 1, 52 + day.day - 1, 83 + day.weekday()]
    return tuple(float(position in hot) for position in range(_VECTOR))


class Dates(SequenceDataModule):
    """Written-out dates in the locales of the CLDR, for three tasks, without downloads.

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

    Texts are tokenized by character, with one vocabulary for each side. Dates are Gregorian in
    every locale, with the digits that Babel writes.

    Args:
        source_locale: The source locale, such as `"en"`, `"pt_BR"`, `"zh-Hant"`.
        target_locale: The target locale.
        task: `"sequence-to-sequence"`, `"sequence-to-vector"` or `"vector-to-sequence"`.
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

    Example:
        >>> data = Dates("en", "de", first_year=2026, last_year=2026)
        >>> len(data.dates("train")), len(data.dates("test"))
        (293, 36)
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
        self._source, self._target = _locale(source_locale), _locale(target_locale)
        self._locales = self._candidate_locales(task, locales)
        self.task = task
        self.first_year, self.last_year = first_year, last_year
        super().__init__(
            source=Vector(_VECTOR) if task == "vector-to-sequence" else Text("char"),
            target=Classes() if task == "sequence-to-vector" else Text("char"),
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
            chosen += [_locale(name) for name in _LANGUAGES if name not in spoken]
        else:
            chosen = [_locale(name) for name in locales]
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
        """Yield one example per date: a text or a vector, and a text or a label."""
        days = self.dates(split)
        chooser = seeded_rng(f"formats {self.seed} {split}")
        if self.task == "sequence-to-vector":
            yield from self._classification_examples(days, chooser)
            return
        target = _full(self._target)
        if self.task == "vector-to-sequence":
            for day in days:
                yield date_vector(day), target.write(day)
            return
        styles = _styles(self._source, target)
        for day in days:
            yield chooser.choice(styles).write(day), target.write(day)

    def _classification_examples(
        self, days: list[dt.date], chooser: random.Random
    ) -> Iterator[tuple[str, str]]:
        labels = [str(locale) for locale in self._locales]
        styles = [_full(locale) for locale in self._locales]
        rows = [[style.write(day) for style in styles] for day in days]
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
