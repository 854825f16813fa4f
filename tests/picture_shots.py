"""Write `docs/assets/pictures/NAME.png`, the stills of the guide to the viewer.

    python tests/picture_shots.py

It opens each `docs/pictures/NAME.html` (see `docs/render_pictures.py`) of which the guide shows a
still in Chromium, moves it to a step in the middle of its run, and keeps what the canvas shows. The
stills are committed, so the site builds without Chromium.
"""

from __future__ import annotations

import re

import chromium
from PIL import Image
from readme_gif import DOCS, VIEWER, drawn, open_fragment

STILLS = DOCS / "assets" / "pictures"
COLORS = 64


def main() -> None:
    """Write all of them."""
    STILLS.mkdir(exist_ok=True)
    guide = (DOCS / "viewer.md").read_text(encoding="utf-8")
    with chromium.page() as page:
        for name in re.findall(r"\(assets/pictures/(\w+)\.png\)", guide):
            open_fragment(page, (DOCS / "pictures" / f"{name}.html").read_text(encoding="utf-8"))
            slider = f"{VIEWER}.querySelector('input[type=range]')"
            page.run(f"{slider}.value = Math.round({slider}.max * 2 / 3)")
            page.run(f"{slider}.dispatchEvent(new Event('input', {{bubbles: true}}))")
            still = drawn(page).quantize(COLORS, dither=Image.Dither.NONE)
            target = STILLS / f"{name}.png"
            still.save(target, optimize=True)
            print(f"{target.name}: {still.size}, {target.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
