"""Each error message that docs/troubleshooting.md quotes is one of the package."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "troubleshooting.md"
ANY = "…"
"""Stands for names and numbers: in a quoted message, and for the values of an f-string."""


def templates(source: str) -> list[str]:
    """The strings of a module but docstrings, where values that are filled in are `ANY`."""
    found = []
    nodes = list(ast.walk(ast.parse(source)))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if id(node) in docstrings:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else ANY for v in node.values]
            found.append("".join(str(part) for part in parts))
    return found


def quoted(page: str) -> list[str]:
    """The messages in the first column of the tables under "Error messages"."""
    tables = page.partition("\n## Error messages\n")[2]
    return re.findall(r"^\| `([^`]+)` \|", tables, re.MULTILINE)


def occurs(message: str, sources: list[str]) -> bool:
    """Whether a message is a part of a string; `ANY` in it matches anything."""
    pattern = re.compile(".*?".join(map(re.escape, message.split(ANY))), re.DOTALL)
    return any(pattern.search(template) for template in sources)


def test_each_quoted_message_is_one_of_the_package() -> None:
    sources = [
        template
        for path in sorted((ROOT / "seqlearn").rglob("*.py"))
        for template in templates(path.read_text(encoding="utf-8"))
    ]
    messages = quoted(PAGE.read_text(encoding="utf-8"))
    assert len(messages) == len(set(messages)) > 60
    assert [message for message in messages if not occurs(message, sources)] == []


def test_a_message_that_was_changed_is_found() -> None:
    code = "raise ValueError(f'expected {n} heads, '\n                 f'got {m}')"
    sources = templates(f"'expected 2 layers, got 3'\n{code}")
    assert occurs("expected … heads, got", sources)
    assert occurs("heads, got …", sources)
    assert not occurs("expected … layers, got", sources)
    assert quoted("| `a` |\n## Error messages\n\n| `b …` | c |\n") == ["b …"]


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("colab", "tutorials_index"),
        ("onnx", "deployment"),
        ("export", "deployment"),
        ("fine-tuning", "fine-tuning"),
        ("resume", "interruption"),
        ("multi-gpu", "many_gpus"),
        ("wandb", "callbacks"),
        ("teacher forcing", "glossary"),
        ("kv cache", "decoding"),
        ("beam search", "decoding"),
        ("out of memory", "troubleshooting"),
    ],
)
def test_the_page_for_a_search_has_its_words(words: str, page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8").lower()
    assert words in re.sub(r"\s+", " ", text)
