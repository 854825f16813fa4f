"""One HTML file, or a piece of one, that shows a recording."""

from __future__ import annotations

import html
import json
import os
from importlib.resources import files
from pathlib import Path

from seqlearn.introspect.viewer.payload import Recorded, payload, shown_title

_SCRIPTS = (
    "data",
    "colors",
    "scene",
    "shapes",
    "unrolled_rnn",
    "gates",
    "context_vector",
    "cross_attention_steps",
    "multi_head_per_token",
    "all_heads",
    "viewer",
)
"""The parts of the script in the order in which they stand in the page."""


def to_html(recording: Recorded, path: str | os.PathLike[str], *, title: str = "seqlearn") -> Path:
    """Write a page that shows a recording: open it in a browser, from any folder, offline.

    The page asks nothing of any network, and its own rules forbid it. Tokens are shown, never run.
    It keeps at most 64 evenly spaced units of each vector, and of maps of more than 16,384 weights
    the 16 greatest of each row; see `quantise`.

    Args:
        recording: What was heard.
        path: The file to write.
        title: What stands above.

    Returns:
        The path.

    Raises:
        ValueError: If the recording holds no example.
        OSError: If the file cannot be written; nothing half-written is left.
    """
    path = Path(path)
    head, foot = _asset("viewer.html").split("FRAGMENT")
    page = head.replace("TITLE", html.escape(shown_title(title))) + to_html_fragment(
        recording, title=title
    )
    part = path.with_name(path.name + ".part")
    part.touch()
    try:
        part.write_text(page + foot, "utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def to_html_fragment(recording: Recorded, *, title: str = "seqlearn") -> str:
    """The same as a piece of HTML, to stand inside another page, beside others of its kind.

    It lives under one element, in a shadow root, so neither page nor viewer touch one another's
    styles; it has no ids, follows the page's light or dark scheme (Material for MkDocs', else the
    system's), and holds no blank line, so that Markdown leaves it alone.

    Args:
        recording: What was heard.
        title: What stands above.

    Returns:
        A `div` and a `script`.

    Raises:
        ValueError: If the recording holds no example.
    """
    data = _script_json(payload(recording, title))
    style = _script_json(_dense(_asset("viewer.css")))
    script = "\n".join(_dense(_asset(f"{name}.js")) for name in _SCRIPTS)
    return (
        '<div class="seqlearn-viewer">'
        f'<script type="application/json">{data}</script>'
        "<noscript>This picture needs JavaScript.</noscript></div>\n"
        f'<script>(() => {{\n"use strict";\nconst STYLE = {style};\n{script}\n}})();</script>\n'
    )


def _script_json(data: object) -> str:
    """JSON in ASCII in which nothing can end a script or begin an element."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _dense(text: str) -> str:
    """Without indentation, blank lines and lines that are comments."""
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def _asset(name: str) -> str:
    return (files("seqlearn.introspect.viewer") / "assets" / name).read_text("utf-8")
