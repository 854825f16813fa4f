"""Formats of written-out dates in the locales of the CLDR, and the parts of a date in each text.

Patterns and names come from Babel.
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Callable, Collection

from babel import Locale, UnknownLocaleError, localedata
from babel.dates import DateTimeFormat, DateTimePattern, get_date_format

_FIELDS: dict[str, tuple[str, Callable[[dt.date], object]]] = {
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
_OTHER: tuple[str, Callable[[dt.date], object]] = ("other", lambda day: day)

PARTS = ("year", "month", "day", "weekday")
"""The parts of a date."""

# Days that test whether a field distinguishes all values of its part: years a century apart (two
# digits do not), months, days of a month, days of a week.
_TRIALS = {
    "year": [dt.date(1900, 1, 1), dt.date(2000, 1, 1), dt.date(2001, 1, 1)],
    "month": [dt.date(2001, month, 1) for month in range(1, 13)],
    "day": [dt.date(2001, 1, day) for day in range(1, 32)],
    "weekday": [dt.date(2001, 1, day) for day in range(1, 8)],
}


class DateFormat:
    """A date format of a locale; as Babel's own `apply`, with cached names.

    Args:
        pattern: The pattern.
        locale: The locale.

    Attributes:
        shows: Which of year, month, day and weekday the text determines.
    """

    def __init__(self, pattern: DateTimePattern, locale: Locale) -> None:
        # Literal texts at even places, names of fields between them.
        self._pieces = re.split(r"%\((\w+)\)s", str(pattern.format))
        self._pieces[::2] = [text % () for text in self._pieces[::2]]  # "%%" is a per cent sign
        self._locale = locale
        self._names: dict[tuple[str, object], str] = {}
        self.shows = set()
        for field in sorted(set(self._pieces[1::2])):
            part, _ = _FIELDS.get(field[0], _OTHER)
            trials = _TRIALS.get(part, [])
            texts = {DateTimeFormat(day, locale)[field] for day in trials}
            if trials and len(texts) == len(trials):
                self.shows.add(part)

    def write(self, day: dt.date) -> str:
        """The text of a date.

        Examples:
            >>> full_format(find_locale("en")).write(dt.date(2026, 11, 22))
            'Sunday, November 22, 2026'
        """
        return "".join(text for text, _ in self._written(day))

    def tag(self, day: dt.date) -> tuple[str, list[str]]:
        """The text of a date, and a tag for each character.

        Returns:
            The text, and tags of IOB2: spans of `year`, `month`, `day` and `weekday`, `O` for
            everything else, such as punctuation, white space, an era and words between the parts.

        Examples:
            >>> text, tags = full_format(find_locale("ja")).tag(dt.date(2026, 1, 2))
            >>> text, tags[:7]
            ('2026年1月2日金曜日', ['B-year', 'I-year', 'I-year', 'I-year', 'O', 'B-month', 'O'])
        """
        tags: list[str] = []
        pieces = self._written(day)
        for text, part in pieces:
            if part in PARTS:
                tags += [f"{'I' if place else 'B'}-{part}" for place in range(len(text))]
            else:
                tags += ["O"] * len(text)
        return "".join(text for text, _ in pieces), tags

    def _written(self, day: dt.date) -> list[tuple[str, str]]:
        """The pieces of the text, each with the part of the date that it is."""
        written = []
        for place, piece in enumerate(self._pieces):
            if place % 2 == 0:
                written.append((piece, "literal"))
                continue
            part, value = _FIELDS.get(piece[0], _OTHER)
            key = piece, value(day)
            if key not in self._names:
                self._names[key] = DateTimeFormat(day, self._locale)[piece]
            written.append((self._names[key], part))
        return written


def full_format(locale: Locale) -> DateFormat:
    """The full format of a locale."""
    return DateFormat(get_date_format("full", locale), locale)


def formats_showing(parts: Collection[str], locale: Locale) -> list[DateFormat]:
    """The date formats of a locale that determine all of these parts.

    Candidates are, in this order, the CLDR's full format, its skeletons with an abbreviated and
    with a numeric month (`yMMMEd`, `yMEd`), and its long, medium and short formats. A format that
    hides a part is excluded: two-digit years always, and formats without the weekday if `parts` has
    it. Of equal patterns one is kept. If all hide something, the full format is used alone.
    """
    patterns = [get_date_format("full", locale)]
    skeletons = locale.datetime_skeletons
    patterns += [skeletons[name] for name in ("yMMMEd", "yMEd") if name in skeletons]
    patterns += [get_date_format(name, locale) for name in ("long", "medium", "short")]
    formats = [DateFormat(one, locale) for one in {one.format: one for one in patterns}.values()]
    return [one for one in formats if one.shows >= set(parts)] or formats[:1]


def find_locale(name: str) -> Locale:
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
