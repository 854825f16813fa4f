"""Link citations, such as "Elman 1990", to their entries of `bibliography.md`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

BIBLIOGRAPHY = Path(__file__).with_name("bibliography.md")
NAME = r"[A-Z][\w’'-]+"
CITATION = re.compile(
    rf"((?:{NAME},\s)*{NAME}(?:\set\sal\.|,?\s(?:&|and)\s{NAME})?)"
    r'(?:,|,\s"[^"]*")?\s\(?((?:19|20)\d\d)\b\)?'
)
"""Surnames and a year: "Elman 1990", "Gers et al. (2000)", "Li & Roth 2002", 'Olah, "…" (2015)'."""
NOT_NAMES = {"March", "May", "November", "Dezember", "März", "TREC", "JapaneseVowels"}
"""What looks like a name: months of the dates in examples, and names of data before a citation."""
NO_TEXT = re.compile(
    r"^ *```.*?^ *```|^ *(?:>>>|\.\.\.|#)[^\n]*|^[^\n]*\S {3}[^\n]*|`[^`\n]*`"
    r"|\[[^\]]*\](?:\([^)]*\)|\[[^\]]*\])",
    re.DOTALL | re.MULTILINE,
)
"""Code, headings, tables that are aligned by spaces, and links."""


def anchor(heading: str) -> str:
    """The anchor that Markdown's toc extension gives a heading."""
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def surnames(citation: re.Match[str]) -> list[str]:
    """The names before the year; without those that only look like names."""
    return [name for name in re.findall(NAME, citation[1]) if name not in NOT_NAMES]


def citations(text: str) -> Iterator[re.Match[str]]:
    """The citations in a text."""
    return (match for match in CITATION.finditer(text) if surnames(match))


def entries() -> dict[tuple[str, str], list[str]]:
    """By first surname and year, the anchors of the entries."""
    found: dict[tuple[str, str], list[str]] = {}
    for heading in re.findall(r"^### (.*)$", BIBLIOGRAPHY.read_text("utf-8"), re.MULTILINE):
        (match,) = citations(heading)
        found.setdefault((surnames(match)[0], match[2]), []).append(anchor(heading))
    return found


def linked(text: str, link: Callable[[str, str], str], *, each: bool = True) -> str:
    """A text whose citations are links.

    Args:
        text: Markdown. Its code, tables that are aligned by spaces, and links stay as they are.
        link: Makes a link of the citation and the anchor of its entry.
        each: Every citation, or the first of each paper that is no link.
    """
    known, seen = entries(), set()
    parts, end = [], 0
    protected = [match.span() for match in NO_TEXT.finditer(text)]
    for match in citations(text):
        first = surnames(match)[0]
        anchors = known.get((first, match[2]), [])
        inside = any(a < match.end() and match.start() < b for a, b in protected)
        if not anchors or inside:
            continue
        start = match.start() + match[0].index(first)
        cited = text[start : match.end()]
        if "(" not in cited:
            cited = cited.removesuffix(")")
        exact = anchor(re.sub(r"\s+and\s+", " & ", cited))
        entry = exact if exact in anchors else anchors[0]
        if each or entry not in seen:
            parts += [text[end:start], link(cited, entry)]
            end = start + len(cited)
        seen.add(entry)
    return "".join([*parts, text[end:]])
