"""The viewer in headless Chromium, opened from the file system: every control works."""

from __future__ import annotations

import json
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from seqlearn.introspect import Recording, Tokens
from seqlearn.introspect.viewer import to_html, to_html_fragment

chromium = pytest.importorskip("chromium", reason="needs tornado to speak to a browser")
if chromium.found() is None:
    pytest.skip(f"needs one of {chromium.NAMES}", allow_module_level=True)
pytestmark = pytest.mark.slow

ROOT = "document.querySelector('.seqlearn-viewer').shadowRoot"
KINDS = (
    "cross_attention_steps",
    "all_states",
    "multi_head_per_token",
    "query_key_value",
    "context_vector",
    "gates",
    "lstm_chain",
    "rnn_cell",
    "unrolled_rnn",
    "any_attention",
    "all_heads",
    "positions",
)
MEASURED = f"""(async () => {{
  const root = {ROOT}, slider = root.querySelector("input"), out = [];
  let saved = null;
  URL.createObjectURL = blob => {{ saved = blob; return "data:,"; }};
  HTMLAnchorElement.prototype.click = () => {{}};
  const frames = Number(slider.max) + 1, every = Math.ceil(frames / 12);
  for (let frame = 0; frame < frames; frame += every) {{
    slider.value = frame;
    slider.dispatchEvent(new Event("input"));
    for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
    root.querySelector("[aria-label='Save this picture as SVG']").click();
    const place = document.body.appendChild(document.createElement("div"));
    place.innerHTML = await saved.text();
    const wide = Number(place.querySelector("svg").getAttribute("width"));
    const boxes = tag => [...place.querySelectorAll(tag)].map(made => {{
      const {{x, y, width, height}} = made.getBBox();
      return [x, y, x + width, y + height, made.textContent];
    }});
    out.push([frame, wide, boxes("text"), boxes("image")]);
    place.remove();
  }}
  return out;
}})()"""
"""The width of a picture, the boxes of its texts and of its heat maps, at twelve of its steps."""

INTO_CONTEXT = r"Q[\d.]+ [\d.]+ [\d.]+ [\d.]+$"
"""The end of a line into the context vector."""

SOURCE = ["</script><img src=x onerror=alert(1)>", "שלום", "👩‍👩‍👧", "\u2028", "\ud800", "a", "b"]
FED = ["<s>", "one", "<b>two</b>", "\x00"]


def recording(examples: int = 2) -> Recording:
    """The activations of several models at once: every picture can be drawn."""
    source, target, width = len(SOURCE), len(FED), 8
    gates = ("input", "forget", "output", "candidate", "cell")
    made = Recording(
        {
            "decoder.mix.attention": torch.randn(examples, 1, target, source).softmax(-1),
            "decoder.layers.0.cross_attention": torch.randn(examples, 3, target, source).softmax(
                -1
            ),
            "decoder.layers.0.self_attention": torch.rand(examples, 3, target, target).tril(),
        },
        {
            "encoder.lstm": torch.randn(examples, source, width).tanh(),
            "encoder.context": torch.randn(examples, 1, width).tanh(),
            "decoder.lstm": torch.randn(examples, target, width).tanh(),
            "decoder.mix": torch.randn(examples, target, width).tanh(),
        },
        {
            "encoder.lstm": {gate: torch.rand(examples, source, width) for gate in gates},
            "decoder.lstm": {gate: torch.rand(examples, target, width) for gate in gates},
        },
        [Tokens(SOURCE, FED, [*FED[1:], "</s>"])] * examples,
        {
            "decoder.mix.attention": ("target", "source"),
            "decoder.layers.0.cross_attention": ("target", "source"),
            "decoder.layers.0.self_attention": ("target", "target"),
        },
        {"encoder.lstm": "source", "decoder.lstm": "target", "decoder.mix": "target"},
    )
    layer, heads = "decoder.layers.0.cross_attention", (examples, 3)
    rows = {"queries": target, "keys": source, "values": source}
    made.extra = {kind: {layer: torch.randn(*heads, n, width)} for kind, n in rows.items()}
    made.extra |= {
        "scores": {layer: made.attention[layer].log()},
        "contributions": {
            f"encoder.lstm.{term}": torch.randn(examples, source, width)
            for term in ("input", "state", "bias")
        },
        "positions": {"encoder.positions": torch.rand(examples, source, width)},
    }
    made.extra_axes = {
        **{kind: {layer: ("target" if kind == "queries" else "source",)} for kind in rows},
        "contributions": dict.fromkeys(made.extra["contributions"], ("source",)),
        "positions": {"encoder.positions": ("source",)},
    }
    made.attention["decoder.layers.0.self_attention"] /= made.attention[
        "decoder.layers.0.self_attention"
    ].sum(-1, keepdim=True)
    return made


@pytest.fixture(scope="module")
def tab() -> Iterator[Any]:
    with chromium.page() as page:
        yield page


@pytest.fixture
def page(tab: Any) -> Iterator[Any]:
    tab.wrong.clear()
    yield tab
    assert tab.wrong == []


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return to_html(
        recording(), tmp_path_factory.mktemp("viewer") / "page.html", title="a <b> title"
    )


def one(selector: str) -> str:
    return f"{ROOT}.querySelector({json.dumps(selector)})"


def shown(page: Any) -> tuple[str, str, str]:
    """The picture, its caption and the position of playback."""
    page.settle()
    picture = page.run(f"{one('canvas')}.toDataURL()")
    return picture, page.run(f"{one('.caption')}.textContent"), counted(page)


def counted(page: Any) -> str:
    return page.run(f"{one('.count')}.textContent")


def named(label: str) -> str:
    return one(f"button[aria-label={json.dumps(label)}]")


@pytest.mark.parametrize("kind", KINDS)
def test_playback_is_worked_by_mouse_and_keyboard(page: Any, path: Path, kind: str) -> None:
    page.open(path)
    page.click(one(f"[data-kind={kind}]"))
    assert page.run(f"{one(f'[data-kind={kind}]')}.getAttribute('aria-pressed')") == "true"
    page.click(named("First step"))
    first = shown(page)
    steps = int(first[2].split(" / ")[1])
    assert first[2] == f"1 / {steps}"
    assert len(first[1]) > 20
    seen = [first]
    for label, count in (("Step forward", 2), ("Step forward", 3), ("Last step", steps)):
        page.click(named(label))
        now = shown(page)
        assert now[2] == f"{count} / {steps}"
        assert all(now[0] != other[0] for other in seen), label
        seen.append(now)
        if count == steps:
            break
    page.click(named("Step back"))
    assert counted(page) == f"{steps - 1} / {steps}"
    page.click(named("First step"))
    assert shown(page) == first
    # The keyboard, with focus on the picture.
    page.run(f"{one('.stage')}.focus()")
    for key, count in (("ArrowRight", 2), ("End", steps), ("ArrowLeft", steps - 1), ("Home", 1)):
        page.press(key)
        assert counted(page) == f"{count} / {steps}", key
    page.press(" ")
    label = f"{one('.play')}.getAttribute('aria-label')"
    assert page.run(label) == "Pause"
    until = time.monotonic() + 20
    while counted(page) == f"1 / {steps}" and time.monotonic() < until:
        time.sleep(0.05)
    page.press(" ")
    assert page.run(label) == "Play"
    assert counted(page) != f"1 / {steps}"
    # The slider, with its own keys.
    page.run(f"{one('input')}.focus()")
    page.press("Home")
    assert counted(page) == f"1 / {steps}"
    page.press("ArrowRight")
    assert counted(page) == f"2 / {steps}"


def test_play_stops_at_the_end_and_begins_anew(page: Any, path: Path) -> None:
    page.open(path)
    page.click(one("[data-kind=all_heads]"))
    page.click(named("Last step"))
    page.click(one(".play"))
    assert counted(page).startswith("1 / ")
    page.click(named("Last step"))
    assert page.run(f"{one('.play')}.getAttribute('aria-label')") == "Play"


def test_a_page_opens_at_the_picture_and_the_speed_that_were_asked_for(
    page: Any, tmp_path: Path
) -> None:
    made = recording(1)
    page.open(to_html(made, tmp_path / "page.html", opens="lstm_chain", speed=0.25))
    assert page.run(f"{one('[aria-pressed=true]')}.dataset.kind") == "lstm_chain"
    speeds = f"[...{one('.speed select')}.options].map(o => o.value)"
    assert page.run(speeds) == ["0.25", "0.5", "1", "2", "4"]
    assert page.run(f"{one('.speed select')}.value") == "0.25"
    page.run(
        f"(() => {{ const s = {one('.speed select')}; s.value = '4'; "
        "s.dispatchEvent(new Event('change')) })()"
    )
    page.click(one(".play"))
    until = time.monotonic() + 20
    while not counted(page).startswith("3 / ") and time.monotonic() < until:
        time.sleep(0.02)
    assert counted(page).startswith(("3 / ", "4 / "))


@pytest.mark.parametrize(
    ("kind", "step", "says"),
    [
        ("all_states", len(SOURCE) + 2, "the decoder reads the start symbol, attends to "),
        ("lstm_chain", 2, "reads “שלום”"),
    ],
)
def test_a_picture_opens_at_a_step_that_shows_what_it_is_about(
    page: Any, path: Path, kind: str, step: int, says: str
) -> None:
    page.open(path)
    page.click(one(f"[data-kind={kind}]"))
    _, caption, count = shown(page)
    assert count.split(" / ")[0] == str(step)
    assert says in caption


def of_saved(page: Any, found: str) -> Any:
    """The value of a JavaScript expression of `place`, which holds the picture as it is saved."""
    return page.run(
        "(async () => { let saved = null; HTMLAnchorElement.prototype.click = () => {}; "
        "URL.createObjectURL = blob => { saved = blob; return 'data:,'; }; "
        f"{named('Save this picture as SVG')}.click(); "
        "const place = document.createElement('div'); place.innerHTML = await saved.text(); "
        f"return {found} }})()"
    )


def saved_paths(page: Any) -> list[tuple[str, str]]:
    """The lines of the picture as it is saved: where they go, and their dashes."""
    attributes = "p => [p.getAttribute('d'), p.getAttribute('stroke-dasharray') ?? '']"
    return of_saved(page, f"[...place.querySelectorAll('path')].map({attributes})")


def characters(source: str) -> Recording:
    """Of a model that reads characters from both ends, into one context vector and three heads."""
    target, width, layer = "Sonntag", 8, "decoder.layers.0.cross_attention"
    encoder = [f"encoder.layers.0{end}" for end in (".forward_layer", ".backward_layer", "")]
    made = Recording(
        {layer: torch.rand(1, 3, len(target), len(source)).softmax(-1)},
        {
            **{name: torch.rand(1, len(source), width) for name in encoder},
            "encoder.context": torch.rand(1, 1, width),
            "decoder.lstm": torch.rand(1, len(target), width),
        },
        tokens=[Tokens(list(source), ["<s>", *target[:-1]], list(target))],
        axes={layer: ("target", "source")},
        time_axis={**dict.fromkeys(encoder, "source"), "decoder.lstm": "target"},
    )
    rows = {"queries": target, "keys": source, "values": source}
    made.extra = {kind: {layer: torch.rand(1, 3, len(n), width)} for kind, n in rows.items()}
    made.extra_axes = {
        kind: {layer: ("target" if kind == "queries" else "source",)} for kind in rows
    }
    return made


@pytest.mark.parametrize("source", [None, list("abc")])
def test_the_state_before_a_decoder_is_not_known(
    page: Any, tmp_path: Path, source: list[str] | None
) -> None:
    """Without a source the first state is zero. A size of a part of the units is an estimate."""
    fed, width = ["<s>", "x", "y"], 100
    gates = {gate: torch.rand(1, 3, width) for gate in ("reset", "update", "candidate")}
    made = Recording(
        states={"decoder.gru": torch.full((1, 3, width), 0.5)},
        gates={"decoder.gru": gates},
        tokens=[Tokens(source, fed, [*fed[1:], "</s>"])],
        time_axis={"decoder.gru": "target"},
    )
    made.extra = {
        "contributions": {
            f"decoder.gru.{term}": torch.rand(1, 3, width) for term in ("input", "state", "bias")
        }
    }
    made.extra_axes = {"contributions": dict.fromkeys(made.extra["contributions"], ("target",))}
    page.open(to_html(made, tmp_path / "page.html", opens="unrolled_rnn"))
    page.click(named("First step"))
    change = "" if source else " and changed by about 5.00"
    assert f"The state has size about 5.00{change}." in shown(page)[1]
    page.click(named("Step forward"))
    assert "size about 5.00 and changed by about 0.00." in shown(page)[1]
    page.click(one("[data-kind=rnn_cell]"))
    page.click(named("First step"))
    assert ("which is largest" if source else "which changed most") in shown(page)[1]
    dashed = {}
    for kind in ("gates", "rnn_cell"):
        page.click(one(f"[data-kind={kind}]"))
        for label in ("First step", "Last step"):
            page.click(named(label))
            shown(page)
            boxes = "place.querySelectorAll('rect[stroke-dasharray]').length"
            dashed[kind, label] = of_saved(page, boxes)
        assert (dashed[kind, "First step"] - dashed[kind, "Last step"] == 1) == bool(source)


def test_both_directions_reach_the_context_vector_at_every_step(page: Any, tmp_path: Path) -> None:
    """A line from a token that is not shown is dashed."""
    source = "Sunday, November 22"
    path = to_html(characters(source), tmp_path / "page.html", opens="context_vector")
    for width in (390, 690, 1280):
        page.open(path, width=width)
        for label, dashes in (("First step", [True, False]), ("Last step", [False, True])):
            page.click(named(label))
            into = [(d, dash) for d, dash in saved_paths(page) if re.search(INTO_CONTEXT, d)]
            assert len(into) == 2, (width, label)
            assert len({tuple(re.findall(INTO_CONTEXT, d)) for d, _ in into}) == 1
            seen = [bool(dash) for _, dash in into]
            assert seen == (dashes if width < 1000 else [False, False]), (width, label)


@pytest.mark.parametrize("source", ["abc", None])
def test_every_tip_of_a_backward_layer_is_a_number(
    page: Any, tmp_path: Path, source: str | None
) -> None:
    name = "encoder.layers.0.backward_layer"
    made = Recording(
        states={name: torch.full((1, 3, 100), 0.5)},
        tokens=[Tokens(None if source is None else list(source))],
        time_axis={name: "source"},
    )
    page.open(to_html(made, tmp_path / "page.html", opens="unrolled_rnn"))
    page.click(named("Last step"))
    shown(page)
    tips = page.run(
        f"(() => {{ const canvas = {one('canvas')}, tip = {one('.tip')}, found = new Set(); "
        "const {left, top, width, height} = canvas.getBoundingClientRect(); "
        "for (let x = 4; x < width; x += 8) for (let y = 4; y < height; y += 8) {"
        "canvas.dispatchEvent(new PointerEvent('pointermove', "
        "{clientX: left + x, clientY: top + y, bubbles: true})); "
        "if (!tip.hidden) found.add(tip.textContent); } return [...found] })()"
    )
    assert any("size about 5.00" in tip for tip in tips)
    assert not any("not a number" in tip for tip in tips)


@pytest.mark.parametrize("kind", ["multi_head_per_token", "query_key_value"])
def test_a_character_is_called_a_character(page: Any, tmp_path: Path, kind: str) -> None:
    page.open(to_html(characters("Sunday"), tmp_path / "page.html", opens=kind))
    for label in ("First step", *["Step forward"] * 5):
        page.click(named(label))
        caption = shown(page)[1]
        assert caption.startswith("Character ")
        assert "token" not in caption


def test_what_is_printed_is_light_and_without_controls(page: Any, path: Path) -> None:
    page.open(path, dark=True)
    page.call("Emulation.setEmulatedMedia", media="print", features=[])
    page.run("window.dispatchEvent(new Event('beforeprint'))")
    page.settle()
    drawn = f"[...{one('canvas')}.getContext('2d').getImageData(1, 1, 1, 1).data]"
    assert sum(page.run(drawn)[:3]) > 700
    hidden = f"getComputedStyle({one('.player')}).display"
    assert page.run(hidden) == "none"
    page.call("Emulation.setEmulatedMedia", media="")


def pick(page: Any, label: str, value: str) -> None:
    page.run(
        f"(() => {{ const s = [...{ROOT}.querySelectorAll('label')]"
        f".find(l => l.textContent.startsWith({json.dumps(label)}) && !l.hidden)"
        f".querySelector('select'); s.value = {json.dumps(value)}; "
        "if (s.value === '') throw Error('no such choice'); "
        "s.dispatchEvent(new Event('change')) })()"
    )


def test_example_layer_and_head_can_be_chosen(page: Any, path: Path) -> None:
    page.open(path)
    for kind, layer in (("gates", "decoder.lstm"), ("unrolled_rnn", "decoder.lstm")):
        page.click(one(f"[data-kind={kind}]"))
        before = shown(page)
        pick(page, "Layer", layer)
        changed = shown(page)
        assert changed[0] != before[0]
        pick(page, "Example", "1")
        assert shown(page)[0] != changed[0]
        pick(page, "Example", "0")
    page.click(one("[data-kind=all_heads]"))
    pick(page, "Module", "decoder.layers.0.cross_attention")
    first = shown(page)
    pick(page, "Head", "2")
    second = shown(page)
    assert second[0] != first[0]
    thumbnail = "[data-module='decoder.layers.0.cross_attention'][data-head='0']"
    page.click(one(thumbnail))
    assert shown(page) == first
    assert page.run(f"{one(thumbnail)}.getAttribute('aria-pressed')") == "true"
    page.settle()
    drawn = f"{one(thumbnail + ' canvas')}.width"
    assert page.run(drawn) == len(SOURCE)


def test_pointing_and_touching_choose_a_row(page: Any, path: Path) -> None:
    page.open(path, width=390)
    page.click(one("[data-kind=all_heads]"))
    page.click(named("First step"))
    place = page.run(
        f"(() => {{ {one('.stage')}.scrollIntoView(); "
        f"const r = {one('canvas')}.getBoundingClientRect(); return [r.x, r.y] }})()"
    )
    found = set()
    for down in range(60, 200, 20):
        page.touch(place[0] + 60, place[1] + down)
        found.add(counted(page))
    assert len(found) == len(FED)
    page.open(path)
    page.click(one("[data-kind=all_heads]"))
    x, y = page.run(
        f"(() => {{ {one('.stage')}.scrollIntoView(); "
        f"const r = {one('canvas')}.getBoundingClientRect(); return [r.x, r.y] }})()"
    )
    found, tips = set(), set()
    for down in range(60, 200, 20):
        page.point("mouseMoved", x + 100, y + down)
        page.settle()
        found.add(counted(page))
        tips.add(page.run(f"{one('.tip')}.hidden ? '' : {one('.tip')}.textContent"))
    assert len(found) == len(FED)
    assert {"row 1", "row 2"} <= tips


def test_pictures_are_saved_as_svg_and_png(page: Any, path: Path) -> None:
    page.open(path)
    for kind in KINDS:
        page.click(one(f"[data-kind={kind}]"))
        page.click(named("Last step"))
        step = counted(page).split(" / ")[0]
        files = [page.downloads / f"seqlearn-{kind}-{step}.{type_}" for type_ in ("svg", "png")]
        for file in files:  # one after the other, as a person would
            page.click(named(f"Save this picture as {file.suffix[1:].upper()}"))
            until = time.monotonic() + 20
            while not (file.exists() and file.stat().st_size):
                assert time.monotonic() < until, (kind, list(page.downloads.iterdir()))
                time.sleep(0.05)
        assert files[1].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        root = ET.fromstring(files[0].read_text("utf-8"))
        tags = {element.tag.split("}")[1] for element in root.iter()}
        assert tags <= {"svg", "title", "style", "rect", "path", "text", "image"}
        texts = {element.text for element in root.iter() if element.tag.endswith("text")}
        assert texts & {"end", "U+0000", "b"}, kind


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_a_phone_and_colours_follow_the_mode(
    page: Any, path: Path, kind: str, *, dark: bool
) -> None:
    page.open(path, width=390, dark=dark)
    page.click(one(f"[data-kind={kind}]"))
    page.click(named("Last step"))
    assert page.run("document.documentElement.scrollWidth") <= 390
    red, green, blue, _ = page.run(
        f"[...{one('canvas')}.getContext('2d').getImageData(1, 1, 1, 1).data]"
    )
    assert (red + green + blue < 200) is dark


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [360, 640, 700, 1200])
def test_text_is_within_the_picture_and_does_not_overlap(
    page: Any, path: Path, kind: str, width: int
) -> None:
    """At every step: read from the SVG, with the widths that the browser measures."""
    page.open(path, width=width)
    page.click(one(f"[data-kind={kind}]"))
    steps = page.run(MEASURED)
    assert sum(len(boxes) for _, _, boxes, _ in steps) > 20
    check_texts(steps)


@pytest.mark.parametrize("kind", ["cross_attention_steps", "query_key_value"])
@pytest.mark.parametrize("width", [360, 1200])
def test_scores_that_were_not_recorded_are_labelled_as_relative(
    page: Any, tmp_path: Path, kind: str, width: int
) -> None:
    label = {
        "cross_attention_steps": "scores, relative to the highest",
        "query_key_value": "relative to the highest",
    }[kind]
    for scored in (True, False):
        made = recording(1)
        made.extra["scores"] = {n: weights.log() for n, weights in made.attention.items() if scored}
        page.open(to_html(made, tmp_path / f"{scored}.html", opens=kind), width=width)
        steps = page.run(MEASURED)
        for step, _, boxes, _ in steps:
            texts = [text for *_, text in boxes]
            assert (label in texts) is not scored, (step, texts)
            if kind == "cross_attention_steps":
                assert ("scores" in texts) is scored, (step, texts)
        check_texts(steps)


def check_texts(steps: list[Any]) -> None:
    """Texts that were measured are within their picture, and overlap no other and no heat map."""
    for step, right, boxes, maps in steps:
        for x0, _, x1, _, text in boxes:
            assert x0 >= -2, (step, text)
            assert x1 <= right + 2, (step, text)
        for i, (x0, y0, x1, y1, text) in enumerate(boxes):
            for u0, v0, u1, v1, other in boxes[i + 1 :]:
                across, down = min(x1, u1) - max(x0, u0), min(y1, v1) - max(y0, v0)
                assert across < 3 or down < 3, (step, text, other)
            for u0, v0, u1, v1, _ in maps:
                across, down = min(x1, u1) - max(x0, u0), min(y1, v1) - max(y0, v0)
                assert across < 1 or down < 3, (step, text, "on a heat map")


def test_several_viewers_live_in_somebody_elses_page(page: Any, tmp_path: Path) -> None:
    hostile = "button, p, canvas { display: none !important } .sqv { color: red }"
    text = (
        "<!doctype html><meta charset=utf-8><title>x</title>"
        f"<style>{hostile}</style><script>window.before = Object.keys(window).join()</script>"
        '<body data-md-color-scheme="slate"><h1 id=caption class=title>theirs</h1>'
        f"{to_html_fragment(recording(1))}{to_html_fragment(recording(1), title='second')}"
    )
    (tmp_path / "docs.html").write_text(text, "utf-8")
    page.open(tmp_path / "docs.html")
    assert page.run("Object.keys(window).filter(k => k !== 'before').join() === window.before")
    both = "[...document.querySelectorAll('.seqlearn-viewer')].map(e => e.shadowRoot)"
    counts = f"{both}.map(r => r.querySelector('.count').textContent)"
    before = page.run(counts)
    page.click(f"{both}[1].querySelector('[aria-label=\"First step\"]')")
    after = page.run(counts)
    assert after[0] == before[0]
    assert after[1] != before[1]
    modes = f"{both}.map(r => r.querySelector('.sqv').dataset.mode)"
    assert page.run(modes) == ["dark", "dark"]
    page.run("document.body.dataset.mdColorScheme = 'default'")
    page.settle()
    assert page.run(modes) == ["light", "light"]


def test_whatever_is_clicked_has_a_name(page: Any, path: Path) -> None:
    page.open(path)
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "combobox", "slider", "image", "group", "region")
    found = [
        (node["role"]["value"], node.get("name", {}).get("value"))
        for node in tree
        if node["role"]["value"] in roles and not node["ignored"]
    ]
    assert {"button", "combobox", "slider", "image"} <= {role for role, _ in found}
    assert [role for role, name in found if not name] == []


def test_a_thousand_by_a_thousand_opens_at_once_and_stays_smooth(page: Any, tmp_path: Path) -> None:
    size = 1000
    words = [f"word{i}" for i in range(size)]
    weights = (4 * torch.randn(1, 2, size, size)).softmax(-1)
    long = Recording(
        {"cross": weights},
        tokens=[Tokens(words, words, words)],
        axes={"cross": ("target", "source")},
    )
    page.open(to_html(long, tmp_path / "long.html"))
    opened = float(page.run(f"{one('.sqv')}.dataset.drawn"))
    frames = page.run(
        f"(async () => {{ {one('[data-kind=all_heads]')}.click(); const s = {one('input')}; "
        "const began = performance.now(); for (let i = 0; i < 20; i++) { s.value = i * 50; "
        "s.dispatchEvent(new Event('input')); await new Promise(requestAnimationFrame); } "
        "return (performance.now() - began) / 20 })()"
    )
    print(f"1,000 by 1,000: first picture after {opened:.0f} ms, {frames:.0f} ms a frame")
    assert opened < 6000  # two seconds, plus the delay of a busy machine
    assert frames < 300
    assert page.run(f"{ROOT}.querySelectorAll('*').length") < 200
