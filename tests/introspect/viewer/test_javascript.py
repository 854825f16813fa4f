"""The viewer's JavaScript: syntax, length of functions and lines, and constructs that are banned.

The lint reads the sources with a small tokenizer, so it needs no JavaScript engine. The syntax
check uses Node.js or Chromium, whichever is installed.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from seqlearn.introspect.viewer.pictures import PICTURES

ASSETS = Path(str(files("seqlearn.introspect.viewer") / "assets"))
SCRIPTS = sorted(ASSETS.rglob("*.js"))
MAX_FUNCTION_LINES = 59
MAX_COLUMNS = 130
BANNED = {
    r"\bvar\b": "var; use const or let",
    r"(?<![=!<>])==(?!=)|!=(?!=)": "== or !=; use === or !==",
    r"\b(inner|outer)HTML\b|\binsertAdjacentHTML\b": "markup from a string; use textContent",
    r"\bdocument\.write|\beval\b|\bFunction\(": "code from a string",
    r"\b(window|globalThis|self)\.\w+\s*=(?!=)": "a global variable",
    r"\b(fetch|XMLHttpRequest|WebSocket|importScripts|sendBeacon)\b|\bimport\b": "the network",
    r"\b(TODO|FIXME|debugger)\b|\bconsole\.": "a leftover",
}


def skip_string(source: str, start: int) -> int:
    """The index behind a string or template literal that starts here."""
    quote, i = source[start], start + 1
    while source[i] != quote:
        if source[i] == "\\":
            i += 2
        elif quote == "`" and source.startswith("${", i):
            i, depth = i + 2, 1
            while depth:
                if source[i] in "\"'`":
                    i = skip_string(source, i)
                    continue
                depth += {"{": 1, "}": -1}.get(source[i], 0)
                i += 1
        else:
            i += 1
    return i + 1


def skip_regex(source: str, start: int) -> int:
    i, in_class = start + 1, False
    while source[i] != "/" or in_class:
        in_class = {"[": True, "]": False}.get(source[i], in_class)
        i += 2 if source[i] == "\\" else 1
    return i + 1


def code_of(source: str) -> str:
    """The source with its strings, templates, regular expressions and comments blanked."""
    code, i = [], 0
    while i < len(source):
        end = i
        if source[i] in "\"'`":
            end = skip_string(source, i)
        elif source.startswith("//", i):
            end = source.index("\n", i)
        elif source.startswith("/*", i):
            end = source.index("*/", i) + 2
        elif source[i] == "/" and re.search(r"[(,=:?&|{};]\s*$", "".join(code[-20:])):
            end = skip_regex(source, i)
        if end > i:
            code.append(re.sub(r"[^\n]", " ", source[i:end]))
            i = end
        else:
            code.append(source[i])
            i += 1
    return "".join(code)


def blocks(code: str) -> Iterator[tuple[int, int]]:
    """The matching brackets; raises if they do not match."""
    pairs, open_ = {")": "(", "]": "[", "}": "{"}, []
    for i, character in enumerate(code):
        if character in "([{":
            open_.append(i)
        elif character in pairs:
            start = open_.pop() if open_ else -1
            assert start >= 0, f"an unmatched {character}"
            assert code[start] == pairs[character], f"an unmatched {code[start]}"
            yield start, i
    assert not open_, "an unclosed bracket"


CONTROL = {"if", "for", "while", "switch", "catch", "with"}


def function_lines(code: str) -> Iterator[tuple[int, int]]:
    """The first line (from 1) of each function with a body, and its number of lines."""
    pairs = dict(blocks(code))
    opening = {end: start for start, end in pairs.items()}
    for start, end in pairs.items():
        before = code[:start].rstrip()
        if code[start] != "{":
            continue
        if before.endswith(")"):
            arguments = opening[len(before) - 1]
            name = re.search(r"\w*$", code[max(0, arguments - 40) : arguments].rstrip())
            is_function = name is not None and name[0] not in CONTROL
        else:
            is_function = before.endswith("=>")
        if is_function:
            yield code.count("\n", 0, start) + 1, code.count("\n", start, end) + 1


def complaints(source: str) -> list[str]:
    """What the lint finds in one file."""
    code = code_of(source)
    found = [
        f"line {number}: {len(line)} columns"
        for number, line in enumerate(source.splitlines(), 1)
        if len(line) > MAX_COLUMNS
    ]
    found += [
        f"line {line}: a function of {count} lines"
        for line, count in function_lines(code)
        if count > MAX_FUNCTION_LINES
    ]
    for pattern, what in BANNED.items():
        for match in re.finditer(pattern, code):
            found.append(f"line {code.count(chr(10), 0, match.start()) + 1}: {what}")
    return found


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_clean(path: Path) -> None:
    assert complaints(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("var x = 1;\n", ["line 1: var; use const or let"]),
        ("if (a == b) c();\n", ["line 1: == or !=; use === or !=="]),
        ("a.innerHTML = text;\n", ["line 1: markup from a string; use textContent"]),
        ("\nwindow.leaked = 1;\n", ["line 2: a global variable"]),
        ("fetch('x');\n", ["line 1: the network"]),
        (f"function f() {{\n{'a();' + chr(10) * 60}}}\n", ["line 1: a function of 62 lines"]),
        (f"class A {{\n  f(x) {{\n{chr(10) * 60}}}\n}}\n", ["line 2: a function of 62 lines"]),
        (f"const f = x => {{{chr(10) * 60}}};\n", ["line 1: a function of 61 lines"]),
        (f"// {'x' * 140}\n", ["line 1: 143 columns"]),
        ('a = "var == innerHTML" + `${b === "==" ? 1 : `var ${c}`}`; // var\n', []),
        ("a = b.replace(/[/=]=/g, '');\n", []),
    ],
)
def test_the_lint_finds_what_it_names(source: str, found: list[str]) -> None:
    assert complaints(source) == found


@pytest.mark.parametrize("source", ["f(a[1);\n", "f(\n", "}\n"])
def test_the_lint_finds_brackets_that_do_not_match(source: str) -> None:
    with pytest.raises(AssertionError, match="an un"):
        complaints(source)


def test_each_picture_has_one_file_that_sets_it() -> None:
    own = [picture for picture in PICTURES.values() if "assets" in str(picture.script)]
    assert {path.stem for path in (ASSETS / "pictures").glob("*.js")} == {p.name for p in own}
    for picture in own:
        set_ = re.findall(r"^PICTURES\.(\w+) = ", picture.script.read_text("utf-8"), re.MULTILINE)
        assert set_ == [picture.name]


def luminance(color: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_has_contrast_and_heads_differ(mode: str) -> None:
    """Text 4.5 to 1, heads 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11)."""
    source = (ASSETS / "colors.js").read_text(encoding="utf-8")
    inks = re.search(rf"\b{mode}: {{(.*?)\]}}", source, re.DOTALL)
    assert inks is not None
    colors = dict(re.findall(r'(\w+): "(#[0-9a-f]{6})"', inks[1]))
    for ink in ("ink", "muted", "faint", "accent"):
        assert contrast(colors[ink], colors["surface"]) >= 4.5, ink
    for ink in ("ink", "muted"):
        assert contrast(colors[ink], colors["ghost"]) >= 4.5, ink
    assert contrast(colors["onAccent"], colors["accent"]) >= 4.5
    heads = re.findall(r"#[0-9a-f]{6}", inks[1].split("heads:")[1])
    assert len(set(heads)) == 8
    assert [color for color in heads if contrast(color, colors["surface"]) < 3] == []
    css = (ASSETS / "viewer.css").read_text(encoding="utf-8")
    assert {value for value in colors.values() if value not in css} <= {colors["faint"]}


def test_no_two_shared_scripts_declare_one_name() -> None:
    declared: list[str] = []
    for path in ASSETS.glob("*.js"):
        code = code_of(path.read_text(encoding="utf-8"))
        declared += re.findall(r"^(?:const|let|function|class) (\w+)", code, re.MULTILINE)
    assert len(declared) == len(set(declared))


def test_the_syntax_is_that_of_an_engine() -> None:
    if node := shutil.which("node"):
        for path in SCRIPTS:
            done = subprocess.run(
                [node, "--check", str(path)], capture_output=True, encoding="utf-8", check=False
            )
            assert done.returncode == 0, done.stderr
        return
    chromium = pytest.importorskip("chromium", reason="needs Node.js, or tornado for a browser")
    if chromium.found() is None:
        pytest.skip(f"needs Node.js or one of {chromium.NAMES} to check the syntax")
    with chromium.page() as page:
        for path in SCRIPTS:
            source = json.dumps(path.read_text(encoding="utf-8"))
            assert page.run(f"typeof new Function({source})") == "function", path
