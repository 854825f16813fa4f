"""The pictures of the pages: each has a recording of a trained model, and a page that shows it."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from seqlearn.introspect import Recording

DOCS = Path(__file__).resolve().parent.parent / "docs"


def script(name: str) -> ModuleType:
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


RENDER = script("render_pictures")


@pytest.mark.parametrize("name", RENDER.PICTURES)
def test_a_picture_opens_where_it_should(name: str) -> None:
    shown = RENDER.PICTURES[name]
    recording = Recording.load(DOCS / "recordings" / f"{shown.recording}.safetensors")
    page = recording.to_html_fragment(title=shown.title, opens=shown.opens)
    assert len(page) < 400_000, "a page stays below a megabyte"


def test_every_picture_is_shown_and_every_shown_picture_is_made() -> None:
    shown: set[str] = set()
    for path in DOCS.rglob("*.md"):
        shown |= set(re.findall(r'--8<-- "docs/pictures/(\w+)\.html"', path.read_text("utf-8")))
    assert shown == set(RENDER.PICTURES)


def test_no_picture_is_of_a_model_that_answers_nothing_right() -> None:
    models = json.loads((DOCS / "recordings" / "models.json").read_text(encoding="utf-8"))
    used = {shown.recording for shown in RENDER.PICTURES.values()}
    assert used <= set(models)
    for name in used:
        model = models[name]
        assert model.get("test_bleu_lowercase_tokenized", 0) > 20 or model["test_exact_match"] > 0.9
