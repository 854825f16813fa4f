"""A viewer picture of a user's own: one JavaScript file and this function."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqlearn.introspect import Picture, register_picture


def find_novelty(example: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The picture can be drawn of every module that reported novelty scores."""
    names = [one["name"] for one in example["extra"] if one["kind"] == "novelty"]
    return [{"choices": names}] if names else []


NOVELTY = register_picture(
    Picture("novelty", Path(__file__).with_name("my_picture.js"), find_novelty)
)
