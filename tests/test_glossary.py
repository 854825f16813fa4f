"""The glossary defines the field's terms, and pages link to it where they first use one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from citations import anchor

ROOT = Path(__file__).resolve().parent.parent
GLOSSARY = ROOT / "docs" / "glossary.md"
TERMS = {
    "attention pooling": r"attention pooling",
    "batch invariance": r"batch[- ]invarian(?:ce|t)",
    "beam reordering": r"beam reordering",
    "causal self-attention": r"causal self-attention",
    "cross-attention": r"cross-attention",
    "incremental decoding": r"incremental(?:ly)? decod(?:ing|ed|es)",
    "KV cache": r"KV caches?",
    "overfit a batch": r"overfit(?:ted|s)? (?:a|one) (?:small )?batch",
    "TBPTT": r"TBPTT|truncated backpropagation",
    "teacher forcing": r"teacher[- ]forc(?:ing|ed)",
}
"""Each term of the glossary that pages must link, and how they write it."""

PAGES = sorted(
    [ROOT / "README.md", *(ROOT / "tutorials").glob("*.py")]
    + [
        path
        for path in (ROOT / "docs").rglob("*.md")
        if not {"tutorials", "results", "reference"} & {*path.relative_to(ROOT).parts}  # made
        and path.name not in {"glossary.md", "changelog.md"}
    ]
)


def prose(path: Path) -> str:
    """The text of a page, without code, figures and comments; of a tutorial its markdown cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        cells = re.findall(r"^# %% \[markdown\]\n((?:#.*\n?)*)", text, re.MULTILINE)
        text = "\n".join(re.sub(r"^# ?", "", cell, flags=re.MULTILINE) for cell in cells)
    text = re.sub(r"<!--.*?-->|^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"\s+", " ", re.sub(r"`[^`\n]*`", "", text))


@pytest.mark.parametrize("term", TERMS)
def test_each_term_has_an_entry_to_which_a_page_links(term: str) -> None:
    entry = GLOSSARY.read_text(encoding="utf-8").lower().partition(f"\n### {term.lower()}\n")[2]
    assert len(entry.partition("\n#")[0].strip()) > 80, f"{term}: expected a definition"
    assert any(f"glossary.md#{anchor(term)})" in prose(page) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_first_use_of_a_term_on_a_page_is_a_link(page: Path) -> None:
    text = prose(page)
    for term, pattern in TERMS.items():
        first = re.search(pattern, text, re.IGNORECASE)
        if first:
            link = re.compile(rf"\[[^\]]*\]\([./\w]*glossary\.md#{anchor(term)}\)")
            links = [found.span() for found in link.finditer(text)]
            assert any(start <= first.start() < end for start, end in links), (
                f"{page.name}: link the first {first[0]!r} to glossary.md#{anchor(term)}: "
                f"…{text[max(0, first.start() - 40) : first.end() + 20]}…"
            )


def test_links_to_the_glossary_have_an_entry() -> None:
    glossary = GLOSSARY.read_text(encoding="utf-8")
    entries = {anchor(name) for name in re.findall(r"^#+ (.*)$", glossary, re.MULTILINE)}
    for page in [*PAGES, GLOSSARY]:
        text = page.read_text(encoding="utf-8")
        own = re.findall(r"\(#([\w-]+)\)", text) if page == GLOSSARY else []
        named = {*re.findall(r"glossary\.md#([\w-]+)", text), *own}
        assert named <= entries, f"{page.name}: {sorted(named - entries)}"


def test_prose_leaves_out_code_and_keeps_markdown_cells(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("A KV\ncache.\n\n```text\nTBPTT\n```\n\n`TBPTT` <!-- TBPTT -->\n", "utf-8")
    assert prose(page).strip() == "A KV cache."
    tutorial = tmp_path / "tutorial.py"
    tutorial.write_text("# %% [markdown]\n# A KV\n# cache.\n\n# %%\nTBPTT = 1  # TBPTT\n", "utf-8")
    assert prose(tutorial).strip() == "A KV cache."
