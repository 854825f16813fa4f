"""A user registers a viewer picture from files of their own."""

from __future__ import annotations

from pathlib import Path

import jaxtyping
import pytest
import torch
from my_picture import NOVELTY, find_novelty

from seqlearn.introspect import Picture, Recording, Tokens, register_picture
from seqlearn.introspect.viewer import pictures, to_html, to_html_fragment
from seqlearn.introspect.viewer.payload import page_data

TOKENS = [Tokens(["a"], ["<s>", "b", "c"], ["b", "c", "</s>"])]


@pytest.fixture
def recording() -> Recording:
    return Recording(
        {"cross": torch.ones(1, 1, 3, 1)},
        tokens=TOKENS,
        axes={"cross": ("target", "source")},
        extra={"novelty": {"out": torch.tensor([[[1.0], [2.0], [0.5], [9.0]]])}},
        extra_axes={"novelty": {"out": ("target",)}},
    )


def test_the_page_shows_it_where_it_can_be_drawn(recording: Recording) -> None:
    (example,) = page_data(recording, "")["examples"]
    assert [picture["kind"] for picture in example["pictures"]][-1] == "novelty"
    assert [(one["name"], one["steps"]) for one in example["extra"]] == [("out", 3)]
    assert "PICTURES.novelty" in to_html_fragment(recording)
    recording.extra = {}
    assert "PICTURES.novelty" not in to_html_fragment(recording), "scripts that nothing uses"


def test_a_picture_is_registered_once_and_is_safe(tmp_path: Path) -> None:
    assert register_picture(NOVELTY) is NOVELTY, "as when a notebook cell runs twice"
    script = tmp_path / "picture.js"
    script.write_text("PICTURES.novelty = {};", encoding="utf-8")
    with pytest.raises(ValueError, match="expected a new picture, got 'novelty'"):
        register_picture(Picture("novelty", script, find_novelty))
    script.write_text("const end = '</SCRIPT>';", encoding="utf-8")
    with pytest.raises(ValueError, match="a script without '</script'"):
        register_picture(Picture("ending", script, find_novelty))
    with pytest.raises(ValueError, match="an identifier as the name of a picture, got 'a-b'"):
        register_picture(Picture("a-b", script, find_novelty))


@pytest.mark.slow
def test_a_browser_draws_it(recording: Recording, tmp_path: Path) -> None:
    chromium = pytest.importorskip("chromium", reason="needs tornado to speak to a browser")
    if chromium.found() is None:
        pytest.skip(f"needs one of {chromium.NAMES}")
    path = to_html(recording, tmp_path / "page.html")
    root = "document.querySelector('.seqlearn-viewer').shadowRoot"
    with chromium.page() as page:
        page.open(path)
        page.click(f"{root}.querySelector('[data-kind=novelty]')")
        page.settle()
        caption = page.run(f"{root}.querySelector('.caption').textContent")
        assert caption == "Step 3 of 3, “c”: 0.50."
        assert page.wrong == []


def test_what_a_picture_consists_of_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is for users
    monkeypatch.setattr(pictures, "PICTURES", {})
    script = tmp_path / "p.js"
    script.write_text("", encoding="utf-8")
    with pytest.raises(TypeError, match="picture 'p': expected the script as a pathlib"):
        register_picture(Picture("p", str(script), find_novelty))
    with pytest.raises(TypeError, match="picture 'p': expected find to be a function"):
        register_picture(Picture("p", script, []))
    for wrong in (None, {}, ["a"], [{"a": {1}}]):
        register_picture(Picture("p", script, lambda _, data=wrong: data))
        with pytest.raises(TypeError, match="picture 'p': expected find to return a list of"):
            pictures.find_pictures({})
