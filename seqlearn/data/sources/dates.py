"""Dates written out in the locales of the CLDR: translated, recognised, or written from numbers.

Nothing is downloaded: the patterns and names come with Babel, which writes Gregorian dates in
every locale of the Unicode Common Locale Data Repository (https://cldr.unicode.org).
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

from seqlearn.data.fields import Classes, Text, Vector
from seqlearn.data.module import Example, SequenceDataModule, Split
from seqlearn.data.rng import seeded_rng

Shape = Literal["sequence-to-sequence", "sequence-to-vector", "vector-to-sequence"]

_SHAPES = ("sequence-to-sequence", "sequence-to-vector", "vector-to-sequence")
_LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "ja")
"""Those told apart by default in "sequence-to-vector"."""

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
"""For each letter of the CLDR's patterns the part of a date, and what its text depends on."""

_VECTOR = 4 * 10 + 12 + 31 + 7

# The days that show whether a field tells apart all values of its part: years a century apart
# (two digits do not), the months, the days of a month, the days of a week.
_TRIALS = {
    "year": [dt.date(1900, 1, 1), dt.date(2000, 1, 1), dt.date(2001, 1, 1)],
    "month": [dt.date(2001, month, 1) for month in range(1, 13)],
    "day": [dt.date(2001, 1, day) for day in range(1, 32)],
    "weekday": [dt.date(2001, 1, day) for day in range(1, 8)],
}


class _Style:
    """One way in which one locale writes a date; as Babel's own `apply`, with the names kept.

    Attributes:
        shows: Which of year, month, day and weekday a reader of the text knows for certain.
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
    """The ways to write a date in `source` that leave no doubt about what `target` shows.

    Tried are, in this order, the CLDR's full format, its skeletons with an abbreviated and with a
    numeric month (`yMMMEd`, `yMEd`), and its long, medium and short formats. One that hides what
    the target shows is left out: two-digit years always, and formats without the weekday whenever
    the target has one (in nearly every locale). Of two equal patterns one is kept. If all hide
    something, the full format stands alone.
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
    asked = name.replace("-", "_")
    try:
        found = Locale.parse(asked)
    except (UnknownLocaleError, ValueError):
        found = None
    # Babel drops what it does not know after the language; a mistyped name is no other locale.
    if found and set(asked.lower().split("_")[1:]) <= set(str(found).lower().split("_")):
        return found
    known = {identifier.lower(): identifier for identifier in localedata.locale_identifiers()}
    near = difflib.get_close_matches(asked.lower(), known, n=3)
    closest = f" (closest: {', '.join(known[one] for one in near)})" if near else ""
    raise ValueError(
        f"expected a locale of the CLDR such as 'en' or 'pt_BR', got {name!r}{closest}; "
        "`pybabel --list-locales` lists all"
    )


def date_vector(day: dt.date) -> tuple[float, ...]:
    """Write a date as the 90 numbers that "vector-to-sequence" reads, each 0 or 1.

    Returns:
        Seven one-hot groups, one after another, for the four digits of the year (10 numbers each,
        thousands first), the month (12, January first), the day of the month (31), the weekday
        (7, Monday first).
    """
    hot = [10 * place + int(digit) for place, digit in enumerate(f"{day.year:04d}")]
    hot += [40 + day.month - 1, 52 + day.day - 1, 83 + day.weekday()]
    return tuple(float(position in hot) for position in range(_VECTOR))


class Dates(SequenceDataModule):
    """Dates in the locales of the CLDR, in all three shapes; nothing to download.

    Of all dates from `first_year` to `last_year` 20,000 are drawn for training, 1,000 for
    validation and 1,000 for testing (of a short range, a tenth each for the last two, and the
    rest for training). A date stands in one split only, and in one example; which, and how it is
    written, is a function of `seed`.

    - `"sequence-to-sequence"`: the source locale's text to the target locale's full text
      (`"Sunday, November 22, 2026"` to `"Sonntag, 22. November 2026"`). The source is written in
      several of its locale's formats (`"Sun, 11/22/2026"`), those that determine the target: never
      with two digits for the year, nor without the weekday where the target has it.
    - `"sequence-to-vector"`: a full text to the locale it is written in, one of `locales`. A text
      that two of them share stands for neither, and is left out.
    - `"vector-to-sequence"`: the 90 numbers of `date_vector` to the target locale's full text.

    Texts are tokenized by character, each side with its own vocabulary. Dates are Gregorian in
    every locale, with the digits that Babel writes.

    Args:
        source_locale: The locale that is read, such as `"en"`, `"pt_BR"`, `"zh-Hant"`.
        target_locale: The locale that is written.
        shape: `"sequence-to-sequence"`, `"sequence-to-vector"` or `"vector-to-sequence"`.
        locales: In `"sequence-to-vector"`, the locales to tell apart, two or more. Unless given:
            source and target, and en, de, fr, es, it, pt, nl, pl, ru, ja as far as source and
            target are of other languages.
        first_year: First year of the range, 1 or later.
        last_year: Last year of the range, itself included, 9999 or earlier.
        batch_tokens: Budget of a batch, see `SequenceDataModule`.
        seed: Decides on the splits, the formats and the order of training. Measure a checkpoint
            with the seed of its training: another one puts training dates into the test split.
        num_workers: Processes that load batches.

    Raises:
        ValueError: If a locale, the shape or the range of years does not exist, if `locales` comes
            with another shape or names fewer than two, or if two of them write all dates alike.
    """

    def __init__(
        self,
        source_locale: str = "en",
        target_locale: str = "de",
        *,
        shape: Shape = "sequence-to-sequence",
        locales: Sequence[str] | None = None,
        first_year: int = 1900,
        last_year: int = 2099,
        batch_tokens: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        if shape not in _SHAPES:
            raise ValueError(f"expected shape to be one of {', '.join(_SHAPES)}, got {shape!r}")
        if not dt.MINYEAR <= first_year <= last_year <= dt.MAXYEAR:
            raise ValueError(
                "expected 1 <= first_year <= last_year <= 9999, "
                f"got first_year={first_year}, last_year={last_year}"
            )
        self._source, self._target = _locale(source_locale), _locale(target_locale)
        self._locales = self._candidate_locales(shape, locales)
        self.shape = shape
        self.first_year, self.last_year = first_year, last_year
        super().__init__(
            source=Vector(_VECTOR) if shape == "vector-to-sequence" else Text("char"),
            target=Classes() if shape == "sequence-to-vector" else Text("char"),
            batch_tokens=batch_tokens,
            seed=seed,
            num_workers=num_workers,
        )

    def _candidate_locales(self, shape: str, locales: Sequence[str] | None) -> list[Locale]:
        if shape != "sequence-to-vector":
            if locales is not None:
                raise ValueError(
                    f"locales belong to shape='sequence-to-vector', got shape={shape!r}"
                )
            return []
        if locales is None:
            chosen = [self._source, self._target]
            spoken = {locale.language for locale in chosen}
            chosen += [_locale(name) for name in _LANGUAGES if name not in spoken]
        else:
            chosen = [_locale(name) for name in locales]
        distinct = list({str(locale): locale for locale in chosen}.values())
        if len(distinct) < 2:
            raise ValueError(f"expected two or more locales to tell apart, got {locales!r}")
        return distinct

    def fingerprint(self) -> str:
        """What decides on the content: the arguments and Babel's version."""
        return json.dumps(
            {
                "source": type(self).__qualname__,
                "babel": babel.__version__,
                "locales": [str(one) for one in (self._source, self._target, *self._locales)],
                "shape": self.shape,
                "years": [self.first_year, self.last_year],
                "dates": [_TRAIN, _HELD_OUT],
                "seed": self.seed,
            }
        )

    def dates(self, split: Split) -> list[dt.date]:
        """The dates of a split; no date is in two."""
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
        """Yield one example per date: a text or the 90 numbers, and a text or a label."""
        days = self.dates(split)
        chooser = seeded_rng(f"formats {self.seed} {split}")
        if self.shape == "sequence-to-vector":
            yield from self._classification_examples(days, chooser)
            return
        target = _full(self._target)
        if self.shape == "vector-to-sequence":
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
                f"every date in {names} is also written so in another of {', '.join(labels)}; "
                "leave out locales until no two write alike"
            )
        for row, unique in zip(rows, found, strict=True):
            if unique:
                i = chooser.choice(unique)
                yield row[i], labels[i]
