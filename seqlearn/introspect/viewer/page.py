"""One HTML file, or a fragment of one, that shows a recording."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from seqlearn.atomic_files import atomic_path
from seqlearn.introspect.viewer.payload import Recorded, page_data
from seqlearn.introspect.viewer.pictures import PICTURES

_SHARED = ("data", "colors", "scene", "shapes", "sequences")
"""The scripts that all pictures use, in the order in which they depend on one another."""

_ASSETS = files("seqlearn.introspect.viewer") / "assets"


def to_html(
    recording: Recorded,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    opens: str | None = None,
    speed: float = 1.0,
) -> Path:
    """Write a page that shows a recording: open it in a browser, from any folder, offline.

    The page sends nothing over a network, and its own policy forbids it. Tokens are shown as text
    and never run. The page holds at most 64 evenly spaced units of each vector, and the 16 largest
    weights of each row of an attention map with more than 16,384 weights.

    Args:
        recording: The recording.
        path: The file to write; a missing folder is created.
        title: The title of the page; by default the text of the example, if there is only one.
        opens: As in `to_html_fragment`.
        speed: As in `to_html_fragment`.

    Returns:
        The path.

    Raises:
        ValueError: As `to_html_fragment`.
        OSError: If the file cannot be written; an existing file is unchanged.
    """
    path = Path(path)
    head, foot = _read(_ASSETS / "viewer.html").split("FRAGMENT")
    data = page_data(recording, title, opens=opens, speed=speed)
    page = head.replace("TITLE", html.escape(data["title"])) + _fragment(data) + foot
    written = page.encode()
    with atomic_path(path, "the page", "the argument `path`", len(written)) as part:
        part.write_bytes(written)
    return path


def to_html_fragment(
    recording: Recorded, *, title: str | None = None, opens: str | None = None, speed: float = 1.0
) -> str:
    """The viewer as a piece of HTML, to be part of another page, also several times.

    It lives in a shadow root under one element, so that the styles of page and viewer do not
    affect each other. It has no ids, follows the page's light or dark scheme (that of Material for
    MkDocs, else the system's), and contains no blank line, so that Markdown leaves it unchanged.

    Args:
        recording: The recording.
        title: The title of the viewer; by default as in `to_html`.
        opens: The name of the picture that is shown first, such as `"gates"`; the first that can be
            drawn, if `None`.
        speed: Speed of playback at first, relative to one step in 0.7 seconds.

    Returns:
        A `div` and a `script`.

    Raises:
        ValueError: If the recording holds no example, the picture `opens` cannot be drawn of it, or
            `speed` is not a positive number.
    """
    return _fragment(page_data(recording, title, opens=opens, speed=speed))


def _fragment(data: Mapping[str, Any]) -> str:
    used = {picture["kind"] for example in data["examples"] for picture in example["pictures"]}
    return (
        '<div class="seqlearn-viewer">'
        f'<script type="application/json">{script_json(data)}</script>'
        "<noscript>This picture needs JavaScript.</noscript></div>\n"
        f"<script>{viewer_script(used)}</script>\n"
    )


@dataclass(frozen=True)
class View:
    """The viewer as the value of a notebook's cell."""

    html: str

    def _repr_html_(self) -> str:
        return self.html


def viewer_script(pictures: Collection[str]) -> str:
    """The JavaScript that shows every element of the class `seqlearn-viewer`.

    It shows those that the page holds when it runs, and later ones at each event
    `seqlearn-viewer` of the document.

    Args:
        pictures: The names of the pictures that can be shown.
    """
    style = script_json(_dense(_read(_ASSETS / "viewer.css")))
    scripts = [_dense(_read(_ASSETS / f"{name}.js")) for name in _SHARED]
    # A block for each picture: its functions are its own.
    scripts += [
        f"{{\n{_dense(_read(picture.script))}\n}}"
        for name, picture in PICTURES.items()
        if name in pictures
    ]
    scripts.append(_dense(_read(_ASSETS / "viewer.js")))
    script = "\n".join(scripts)
    return f'(() => {{\n"use strict";\nconst STYLE = {style};\n{script}\n}})();'


def script_json(data: object) -> str:
    """ASCII JSON in which nothing can end a script or begin an element."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _dense(text: str) -> str:
    """Remove indentation, blank lines and lines that are comments."""
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def _read(file: Traversable | Path) -> str:
    return file.read_text(encoding="utf-8")
