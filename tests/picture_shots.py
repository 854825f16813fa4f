"""Write `docs/assets/pictures/NAME.png`, a still of each picture of the guide to the viewer.

    python tests/picture_shots.py

It opens the pages of `docs/render_pictures.py` in Chromium, moves each to a step in the middle of
its run, and keeps what the canvas shows. The stills are committed, so the site builds without
Chromium.
"""

from __future__ import annotations

import base64
import io
import sys
import tempfile
from pathlib import Path

import chromium
from PIL import Image

DOCS = Path(__file__).resolve().parent.parent / "docs"
sys.path.insert(0, str(DOCS))

from render_pictures import PAGES, PICTURES  # noqa: E402  (of the site)

STILLS = DOCS / "assets" / "pictures"
WIDTH, COLORS = 860, 64
VIEWER = "document.querySelector('.seqlearn-viewer').shadowRoot"


def still(page: chromium.Page, fragment: str) -> Image.Image:
    """The picture of a page at two thirds of its steps, on white."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(f"<!doctype html><meta charset=utf-8><body>{fragment}", encoding="utf-8")
        page.open(path, width=WIDTH)
        page.settle()
        slider = f"{VIEWER}.querySelector('input[type=range]')"
        page.run(f"{slider}.value = Math.round({slider}.max * 2 / 3)")
        page.run(f"{slider}.dispatchEvent(new Event('input', {{bubbles: true}}))")
        page.settle()
        data = page.run(f"{VIEWER}.querySelector('canvas').toDataURL('image/png')")
    drawn = Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn).convert("RGB")


def main() -> None:
    """Write those of the textbook's nine pictures."""
    STILLS.mkdir(exist_ok=True)
    with chromium.page() as page:
        for name in sorted(PICTURES.keys() - {"home", "gru"}):
            fragment = (PAGES / f"{name}.html").read_text(encoding="utf-8")
            picture = still(page, fragment).quantize(COLORS, dither=Image.Dither.NONE)
            target = STILLS / f"{name}.png"
            picture.save(target, optimize=True)
            print(f"{target.name}: {picture.size}, {target.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
