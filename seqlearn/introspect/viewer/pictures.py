"""The registry of pictures: each has one JavaScript file and one Python function."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

PictureData = dict[str, Any]
"""What the page stores of one picture: its `kind` and the names of the modules that it shows."""


@dataclass(frozen=True)
class Picture:
    """A picture of the viewer.

    The script sets `PICTURES.<name>` to an object with

    - `title`: its name in the viewer;
    - `choices(example, picture)`: the names to choose from, such as layers; may be empty;
    - `frames(view)`: the number of frames, of a `view` with `example`, `picture`, `choice`, `head`
      and `labelOf(name)`, what a module is called;
    - `draw(scene, view, frame)`: draws on a `Scene`, sets `scene.height`, returns the caption;
    - `opens` (optional): the frame that is shown first, as a number, a function of the `view`, or
      `"last"`; `chooses`: what a choice is, `"Layer"` if missing; `heads(view)`: the number of
      heads; `thumbnails(view, palette, pick)`: small buttons.

    It runs in strict mode in a scope of its own and may use the functions and classes in `assets/`,
    such as `vectorsOf`, `heading` and `timeline`. It must not contain `</script`.

    Attributes:
        name: Its name in `PICTURES`, a JavaScript identifier.
        script: The JavaScript file.
        find: Returns, for one example of the page's data, the data of each picture that can be
            drawn of it: a list of dictionaries, empty if there is none. Of their entries, `opens`
            is the first choice, and `title` replaces that of the script.

    Examples:
        >>> picture = Picture("timeline", Path("timeline.js"), find=lambda example: [])
        >>> picture.name
        'timeline'
    """

    name: str
    script: Traversable | Path
    find: Callable[[Mapping[str, Any]], list[PictureData]] = field(compare=False)


PICTURES: dict[str, Picture] = {}
"""All pictures by name, in the order in which the viewer shows them."""


def register_picture(picture: Picture) -> Picture:
    """Register a picture, so that pages written afterwards show it.

    An example, as `find` and the script receive it, is a dictionary with `source`, `decoder_input`
    and `decoder_output` (tokens or `None`), and lists of dictionaries with the `name` of a module:
    `attention`, `states`, `gates`, `vectors` (of heads: queries, keys, values) and `extra` (other
    kinds). `units` says what a token of `source` and `target` is called; `textOf` joins tokens to a
    text. Registering
    a picture again with the same script, as when a notebook cell runs twice, replaces it.

    Args:
        picture: The picture.

    Returns:
        The picture.

    Raises:
        TypeError: If the script is not a path, or `find` is not a function.
        ValueError: If its name belongs to another script or is not an identifier, or the script
            cannot be part of a page.

    Examples:
        >>> from pathlib import Path
        >>> from seqlearn.introspect import Picture, register_picture
        >>> register_picture(Picture("my picture", Path("mine.js"), lambda example: []))
        Traceback (most recent call last):
        ...
        ValueError: expected an identifier as the name of a picture, got 'my picture'
    """
    if not isinstance(picture.script, Traversable):
        raise TypeError(
            f"picture {picture.name!r}: expected the script as a pathlib.Path, got "
            f"{picture.script!r}"
        )
    if not callable(picture.find):
        raise TypeError(
            f"picture {picture.name!r}: expected find to be a function, got {picture.find!r}"
        )
    if not picture.name.isidentifier() or not picture.name.isascii():
        raise ValueError(f"expected an identifier as the name of a picture, got {picture.name!r}")
    if PICTURES.get(picture.name, picture) != picture:
        raise ValueError(f"expected a new picture, got {picture.name!r}, which is registered")
    text = picture.script.read_text(encoding="utf-8").lower()
    if "</script" in text or "<!--" in text:
        raise ValueError(f"{picture.script}: expected a script without '</script' and '<!--'")
    PICTURES[picture.name] = picture
    return picture


def find_pictures(example: Mapping[str, Any]) -> list[PictureData]:
    """The pictures that can be drawn of one example of the page's data, in order."""
    found: list[PictureData] = []
    for picture in PICTURES.values():
        data: Any = picture.find(example)
        try:
            json.dumps(data)
            plain = isinstance(data, list) and all(isinstance(each, dict) for each in data)
        except (TypeError, ValueError):
            plain = False
        if not plain:
            raise TypeError(
                f"picture {picture.name!r}: expected find to return a list of dictionaries of "
                f"plain data, got {data!r}"
            )
        found += [{"kind": picture.name} | each for each in data]
    return found


def check_opens(opens: str | None, drawn: Sequence[str]) -> None:
    """Check the name of the picture that is shown first.

    Args:
        opens: Its name; `None` for the first.
        drawn: The names of the pictures that can be drawn of a recording.

    Raises:
        ValueError: If there is no such picture, or it cannot be drawn of the recording.
    """
    if opens is None or opens in drawn:
        return
    names = ", ".join(dict.fromkeys(drawn)) or "none"
    if opens in PICTURES:
        raise ValueError(
            f"the picture {opens!r} cannot be drawn of this recording; of it can be drawn: {names}"
        )
    raise ValueError(
        f"expected opens as the name of a picture ({', '.join(PICTURES)}), got {opens!r}; of this "
        f"recording can be drawn: {names}"
    )
