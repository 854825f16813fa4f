"""Write `docs/assets/playback.gif`, the moving picture of the README, from the viewer.

    python tests/readme_gif.py

It opens `docs/pictures/home.html` (see `docs/render_pictures.py`) in Chromium, and takes a picture
of every step of its playback.
"""

from __future__ import annotations

import base64
import io
import tempfile
from pathlib import Path

import chromium
from PIL import Image

DOCS = Path(__file__).resolve().parent.parent / "docs"
WIDTH, COLORS = 860, 48
MILLISECONDS, LAST = 420, 2_500
VIEWER = "document.querySelector('.seqlearn-viewer').shadowRoot"


def drawn(page: chromium.Page) -> Image.Image:
    """What the canvas of the viewer shows, on white."""
    page.settle()
    data = page.run(f"{VIEWER}.querySelector('canvas').toDataURL('image/png')")
    found = Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", found.size, "white"), found).convert("RGB")


def open_fragment(page: chromium.Page, fragment: str) -> None:
    """Open a page of `docs/pictures/`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(f"<!doctype html><meta charset=utf-8><body>{fragment}", encoding="utf-8")
        page.open(path, width=WIDTH)
        page.settle()


def frames(page: chromium.Page) -> list[Image.Image]:
    """The pictures of all steps."""
    count = int(page.run(f"{VIEWER}.querySelector('input[type=range]').max")) + 1
    page.run(f"{VIEWER}.querySelector('[aria-label=\"First step\"]').click()")
    found = []
    for _ in range(count):
        found.append(drawn(page))
        page.run(f"{VIEWER}.querySelector('[aria-label=\"Step forward\"]').click()")
    return found


def main() -> None:
    """Write the file."""
    fragment = (DOCS / "pictures" / "home.html").read_text(encoding="utf-8")
    with chromium.page() as page:
        open_fragment(page, fragment)
        pictures = frames(page)
    height = max(picture.height for picture in pictures)
    palette = pictures[-1].quantize(COLORS)
    reduced = []
    for picture in pictures:
        whole = Image.new("RGB", (picture.width, height), "white")
        whole.paste(picture)
        reduced.append(whole.quantize(palette=palette, dither=Image.Dither.NONE))
    target = DOCS / "assets" / "playback.gif"
    reduced[0].save(
        target,
        save_all=True,
        append_images=reduced[1:],
        duration=[MILLISECONDS] * (len(reduced) - 1) + [LAST],
        loop=0,
        optimize=True,
    )
    print(f"{target}: {len(reduced)} frames, {target.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
