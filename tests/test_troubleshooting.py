"""docs/troubleshooting.md quotes messages of the package, and has an entry for each of them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "troubleshooting.md"
ANY = "…"
"""Stands for names and numbers: in a quoted message, and for the values of an f-string."""
SPEAKS = re.compile(r"(^|[.])(warn|rank_zero_warn|\w+(Error|Warning))$|Violated$|^NotApplicable$")
"""Functions that show a message, and classes of errors."""
MOST = 30
"""Of messages that one entry may cover."""


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


def raised(source: str) -> list[tuple[int, str]]:
    """The messages that a module raises or warns of, with their lines; values are `ANY`."""
    found: list[tuple[int, str]] = []

    def visit(node: ast.AST, function: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef):
            function = node
        if isinstance(node, ast.Raise | ast.Return | ast.Expr):
            call = node.exc if isinstance(node, ast.Raise) else node.value
            if isinstance(call, ast.Call) and SPEAKS.search(ast.unparse(call.func)):
                found.append((node.lineno, text_of(call, function)))
        for child in ast.iter_child_nodes(node):
            visit(child, function)

    tree = ast.parse(source)
    visit(tree, tree)
    return [each for each in found if len(re.findall(r"[A-Za-z]{3,}", each[1])) > 1]


def text_of(node: ast.AST, function: ast.AST) -> str:
    """The text of an expression; a name stands for all that the function assigns to it."""

    def of(part: ast.AST) -> str:
        return text_of(part, function)

    text = ""
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=values):
            return "".join(map(of, values))
        case ast.FormattedValue(value=ast.Name() as name):
            text = of(name)
        case ast.BinOp(left=left, right=right):
            text = of(left) + of(right)
        case ast.IfExp(body=body, orelse=other):
            text = ANY.join((of(body), of(other)))
        case ast.Call(args=arguments):
            text = ANY.join(map(of, arguments))
        case ast.Name(id=wanted):
            values = [
                each.value
                for each in ast.walk(function)
                if isinstance(each, ast.Assign)
                and any(isinstance(to, ast.Name) and to.id == wanted for to in each.targets)
            ]
            text = ANY.join(text_of(value, ast.Pass()) for value in values)
    return text or ANY


def missing(messages: list[str]) -> dict[str, list[str]]:
    """The messages without an entry, by the part of the package, with file and line."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "seqlearn").rglob("*.py")):
        place = path.relative_to(ROOT / "seqlearn")
        for line, text in raised(path.read_text(encoding="utf-8")):
            if not any(occurs(message, [text]) for message in messages):
                part = found.setdefault(place.parts[0].removesuffix(".py"), [])
                part.append(f"{place.as_posix()}:{line}: {text}")
    return found


def test_each_message_of_the_package_has_an_entry() -> None:
    found = missing(quoted(PAGE.read_text(encoding="utf-8")))
    assert found == {}, "add entries to docs/troubleshooting.md"


def test_an_entry_is_about_a_few_messages() -> None:
    texts = [
        text
        for path in sorted((ROOT / "seqlearn").rglob("*.py"))
        for _, text in raised(path.read_text(encoding="utf-8"))
    ]
    for message in quoted(PAGE.read_text(encoding="utf-8")):
        assert sum(occurs(message, [text]) for text in texts) <= MOST, message


def test_messages_are_read_from_raise_and_warn() -> None:
    code = """
def check(n, name):
    message = f"expected one {name}, got {n}"
    if n < 2:
        raise ValueError(message)
    advice = "pass a list" if n else "leave it out"
    warnings.warn(f"two of {name}: {advice}", stacklevel=2)
    raise KeyError(name)
"""
    assert raised(code) == [
        (5, "expected one …, got …"),
        (7, "two of …: pass a list…leave it out"),
    ]


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
