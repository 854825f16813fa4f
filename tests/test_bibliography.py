"""Every citation has an entry in docs/bibliography.md, and the guides link to it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_glossary import anchor, prose

from seqlearn.version import __version__

ROOT = Path(__file__).resolve().parent.parent
BIBLIOGRAPHY = ROOT / "docs" / "bibliography.md"
NAME = r"[A-Z][\w’'-]+"
CITATION = re.compile(
    rf"((?:{NAME}, )*{NAME}(?: et al\.|,? (?:&|and) {NAME})?)"
    r'(?:,|, "[^"]*")? \(?((?:19|20)\d\d)\b'
)
"""Surnames and a year: "Elman 1990", "Gers et al. (2000)", "Li & Roth 2002", 'Olah, "…" (2015)'."""
NOT_NAMES = {"March", "May", "November", "Dezember", "März", "TREC", "JapaneseVowels"}
"""What looks like a name: months of the dates in examples, and names of data before a citation."""

GUIDES = sorted(
    path
    for folder in (ROOT / "docs", ROOT / "docs" / "architectures")
    for path in folder.glob("*.md")
    if path.name not in {"changelog.md", "bibliography.md"}
)
"""The pages that link the first citation of a paper."""

CITING = [
    *GUIDES,
    ROOT / "README.md",
    *sorted((ROOT / "benchmarks" / "results").glob("*.md")),
    *sorted((ROOT / "tutorials").glob("*.py")),
    *sorted((ROOT / "seqlearn").rglob("*.py")),
]


def citations(text: str) -> list[tuple[str, str, int]]:
    """The first surname and the year of each citation, and where it starts."""
    found = []
    for match in CITATION.finditer(text):
        names = [name for name in re.findall(NAME, match[1]) if name not in NOT_NAMES]
        if names:
            found.append((names[0], match[2], match.start()))
    return found


def entries() -> dict[tuple[str, str], set[str]]:
    """By first surname and year, the anchors of the entries."""
    found: dict[tuple[str, str], set[str]] = {}
    for heading in re.findall(r"^### (.*)$", BIBLIOGRAPHY.read_text("utf-8"), re.MULTILINE):
        ((name, year, _),) = citations(heading)
        found.setdefault((name, year), set()).add(anchor(heading))
    return found


ENTRIES = entries()


def one_line(path: Path) -> str:
    """The text of a file; line breaks, also within comments, are spaces."""
    return re.sub(r"\n\s*(?:# )?", " ", path.read_text(encoding="utf-8"))


def test_every_citation_has_an_entry() -> None:
    missing = {
        f"{path.relative_to(ROOT)}: {name} {year}"
        for path in CITING
        for name, year, _ in citations(one_line(path))
        if (name, year) not in ENTRIES
    }
    assert missing == set()


def test_every_entry_has_an_identifier_and_is_cited() -> None:
    text = BIBLIOGRAPHY.read_text(encoding="utf-8")
    cited = {(name, year) for path in CITING for name, year, _ in citations(one_line(path))}
    assert set(ENTRIES) <= cited
    for entry in text.split("\n### ")[1:]:
        assert re.search(r"\]\(https://\S+\)\.", entry), entry
        for label, link in re.findall(r"\[(arXiv:|doi:)[^\]]*\]\((\S+)\)\.", entry):
            assert link.startswith(
                "https://arxiv.org/abs/" if label == "arXiv:" else "https://doi.org/10."
            )
    for label, number in re.findall(r"\[(?:arXiv:|doi:)([^\]]*)\]\(https://\w+\.org/(\S+)\)", text):
        assert number.removeprefix("abs/") == label


@pytest.mark.parametrize("page", GUIDES, ids=lambda path: path.stem)
def test_the_first_citation_of_a_paper_on_a_page_is_a_link(page: Path) -> None:
    text, seen = prose(page), set()
    for name, year, start in citations(text):
        if (name, year) in seen:
            continue
        seen.add((name, year))
        links = [
            link.span()
            for target in ENTRIES[name, year]
            for link in re.finditer(rf"\[[^\]]*\]\((?:\.\./)?bibliography\.md#{target}\)", text)
        ]
        assert any(first <= start < last for first, last in links), (
            f"{page.name}: link {name} {year} to bibliography.md#{min(ENTRIES[name, year])}"
        )


def test_citations_are_found_in_every_form() -> None:
    text = (
        "Elman 1990; Gers et al. (2000); Hochreiter & Schmidhuber 1997, section 4; Kudo, Toyama "
        "and Shimbo 1999; TREC, Li & Roth 2002; Sunday, November 22, 2026; November 2026"
    )
    found = [(name, year) for name, year, _ in citations(text)]
    assert found == [
        ("Elman", "1990"),
        ("Gers", "2000"),
        ("Hochreiter", "1997"),
        ("Kudo", "1999"),
        ("Li", "2002"),
    ]


def test_the_page_on_citation_names_this_version() -> None:
    text = (ROOT / "docs" / "citation.md").read_text(encoding="utf-8")
    assert f"version = {{{__version__}}}" in text
