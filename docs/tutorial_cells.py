"""What a page shows of a cell: its code, the code of its figure and its checks, apart."""

from __future__ import annotations

import ast
import re
import textwrap
from typing import NamedTuple

OPTION = re.compile(r"# \| (?:([\w-]+): )?\s*(.*)")
DRAWS = "plt.subplots("


class Shown(NamedTuple):
    """The parts of a cell's code, each in the order of the file."""

    code: str
    figure: str  # from the statement that makes the figure on; folded
    checks: str  # assertions; folded


def figure_options(source: str) -> tuple[dict[str, str], str]:
    """The options at the head of a cell, such as `fig-alt` and `fig-cap`, and the code below.

    They are written as in Quarto; a line without a name continues the one above.
    """
    options: dict[str, str] = {}
    lines = source.splitlines()
    count, name = 0, ""
    while count < len(lines) and (match := OPTION.fullmatch(lines[count])):
        name, text = match[1] or name, match[2]
        options[name] = f"{options.get(name, '')} {text}".strip()
        count += 1
    return options, "\n".join(lines[count:])


def split_code(code: str) -> Shown:
    """Divide the code of a cell; comments stay with the statement below them."""
    lines = code.splitlines()
    parts: dict[str, list[str]] = {"code": [], "figure": [], "checks": []}
    start, drawing, place = 0, False, "code"
    for node in ast.parse(code).body:
        text = lines[start : node.end_lineno]
        start = node.end_lineno or start
        draws = any(DRAWS in line for line in text)
        place = "checks" if _checks(node) else "figure" if draws or drawing else "code"
        drawing |= draws and not isinstance(node, ast.FunctionDef)
        parts[place] += text
    parts[place] += lines[start:]
    return Shown(**{name: "\n".join(part).strip("\n") for name, part in parts.items()})


def _checks(node: ast.stmt) -> bool:
    """Whether a statement consists of assertions."""
    if isinstance(node, ast.For | ast.If | ast.With):
        return all(map(_checks, [*node.body, *getattr(node, "orelse", [])]))
    return isinstance(node, ast.Assert)


def block(code: str, title: str = "") -> str:
    """A block of Python in Markdown; with a title it is folded."""
    fenced = f"```python\n{code}\n```"
    return f'??? folded "{title}"\n\n{textwrap.indent(fenced, "    ")}' if title else fenced


def figure(file: str, options: dict[str, str]) -> str:
    """A picture with its alternative text and its caption, in Markdown."""
    image = f"![{options['fig-alt']}]({file})"
    if not (caption := options.get("fig-cap")):
        return image
    return (
        f'<figure markdown="span">\n  {image}\n'
        f'  <figcaption markdown="span">{caption}</figcaption>\n</figure>'
    )
