"""Every citation has an entry in docs/bibliography.md, and the guides link to it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from citations import BIBLIOGRAPHY, citations, entries, linked, surnames
from test_glossary import prose

from seqlearn.version import __version__

ROOT = Path(__file__).resolve().parent.parent
GUIDES = sorted(
    path
    for pattern in (
        "docs/*.md",
        "docs/architectures/*.md",
        "docs/reference/index.md",
        "benchmarks/results/*.md",
    )
    for path in ROOT.glob(pattern)
    if path.name not in {"changelog.md", "bibliography.md"}
)
"""The pages that link the first citation of a paper."""
LINK = r"\[[^\]]*\]\((?:\.\./(?:\.\./docs/)?)?bibliography\.md"

CITING = [
    *GUIDES,
    ROOT / "README.md",
    *sorted((ROOT / "benchmarks" / "results").glob("*.md")),
    *sorted((ROOT / "tutorials").glob("*.py")),
    *sorted((ROOT / "seqlearn").rglob("*.py")),
]


ENTRIES = entries()


def cited_papers(text: str) -> list[tuple[str, str, int]]:
    """The first surname and the year of each citation, and where it starts."""
    return [(surnames(match)[0], match[2], match.start()) for match in citations(text)]


def one_line(path: Path) -> str:
    """The text of a file; line breaks, also within comments, are spaces."""
    return re.sub(r"\n\s*(?:# )?", " ", path.read_text(encoding="utf-8"))


def test_every_citation_has_an_entry() -> None:
    missing = {
        f"{path.relative_to(ROOT)}: {name} {year}"
        for path in CITING
        for name, year, _ in cited_papers(one_line(path))
        if (name, year) not in ENTRIES
    }
    assert missing == set()


def test_every_entry_has_an_identifier_and_is_cited() -> None:
    text = BIBLIOGRAPHY.read_text(encoding="utf-8")
    cited = {(name, year) for path in CITING for name, year, _ in cited_papers(one_line(path))}
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
    for name, year, start in cited_papers(text):
        if (name, year) in seen:
            continue
        seen.add((name, year))
        links = [
            link.span()
            for target in ENTRIES[name, year]
            for link in re.finditer(rf"{LINK}#{target}\)", text)
        ]
        assert any(first <= start < last for first, last in links), (
            f"{page.name}: link {name} {year} to bibliography.md#{min(ENTRIES[name, year])}"
        )


def test_citations_are_found_in_every_form() -> None:
    text = (
        "Elman 1990; Gers et al. (2000); Hochreiter & Schmidhuber 1997, section 4; Kudo, Toyama "
        "and Shimbo 1999; TREC, Li & Roth 2002; Sunday, November 22, 2026; November 2026"
    )
    found = [(name, year) for name, year, _ in cited_papers(text)]
    assert found == [
        ("Elman", "1990"),
        ("Gers", "2000"),
        ("Hochreiter", "1997"),
        ("Kudo", "1999"),
        ("Li", "2002"),
    ]


def test_citations_of_docstrings_and_tutorials_become_links() -> None:
    text = (
        "(Luong et al. 2015). Pascanu, Mikolov & Bengio 2013, section 2; Vig & Belinkov\n2019; "
        "Vig 2019; Gers et al. (2000); Nobody 1990; May 1990; `Elman 1990`\n"
        "    rnn   h = tanh(x)   Elman 1990\n```python\n# Elman 1990\n```\n"
        ">>> Elman 1990\n[Elman 1990](x.md). Elman 1990, Luong et al. 2015"
    )
    marked = linked(text, "<{}|{}>".format)
    assert re.findall(r"<([^|]*)\|([^>]*)>", marked) == [
        ("Luong et al. 2015", "luong-et-al-2015"),
        ("Pascanu, Mikolov & Bengio 2013", "pascanu-et-al-2013"),
        ("Vig & Belinkov\n2019", "vig-belinkov-2019"),
        ("Vig 2019", "vig-2019"),
        ("Gers et al. (2000)", "gers-et-al-2000"),
        ("Elman 1990", "elman-1990"),
        ("Luong et al. 2015", "luong-et-al-2015"),
    ]
    assert re.sub(r"<([^|]*)\|[^>]*>", r"\1", marked) == text
    assert linked(text, "<{}|{}>".format, each=False).count("<Luong") == 1


def test_the_reference_resolves_links_to_headings() -> None:
    """Without the plugin of this name, mkdocstrings leaves `[Elman 1990][elman-1990]` as it is."""
    assert re.search(r"^  - autorefs\b", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)


def test_the_page_on_citation_names_this_version() -> None:
    text = (ROOT / "docs" / "citation.md").read_text(encoding="utf-8")
    assert f"version = {{{__version__}}}" in text
