"""Draw the pictures that other programs show of the site: its icon, and the card of a link to it.

    python docs/render_card.py

Takes a browser (Chromium). The results, `docs/assets/favicon.png` and `docs/assets/card.png`, are
committed; run this again when the logo, the title or the drawings of the architectures change.
"""

from __future__ import annotations

import html
import re
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "docs" / "assets"
sys.path.insert(0, str(ROOT / "tests"))

import chromium  # noqa: E402  (of the tests)

SHOWN = ("rnn", "lstm", "attention", "transformer")
PAGE = """<!doctype html><meta charset="utf-8"><style>
* { box-sizing: border-box; margin: 0; }
body { background: #303c8c; color: #fff; font-family: "DejaVu Sans", sans-serif; }
.card { width: 1200px; height: 630px; padding: 70px 80px; display: flex; flex-direction: column; }
.name { display: flex; align-items: center; gap: 24px; font-size: 62px; font-weight: 700; }
.name svg { width: 92px; height: 92px; }
h1 { font-size: 44px; line-height: 1.25; margin-top: 34px; }
p { font-size: 26px; line-height: 1.45; margin-top: 18px; color: #dfe3ff; }
.row { display: flex; gap: 24px; margin-top: auto; }
.row > div { flex: 1; background: #fff; border-radius: 16px; padding: 14px 18px; }
.row svg { display: block; width: 100%; height: auto; }
.icon { width: 64px; height: 64px; border-radius: 12px; background: #4051b5; padding: 4px; }
</style>"""


def main() -> None:
    """Write both pictures."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    values = dict(re.findall(r"^(site_name|site_description): (.*)$", text, re.MULTILINE))
    site = {name: html.escape(yaml.safe_load(value)) for name, value in values.items()}
    home = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    title = html.escape(re.findall(r"^# (.*)$", home, re.MULTILINE)[0])
    logo = (ASSETS / "logo.svg").read_text(encoding="utf-8")
    drawings = [(ASSETS / "architectures" / f"{n}.svg").read_text(encoding="utf-8") for n in SHOWN]
    row = "".join(f"<div>{drawing}</div>" for drawing in drawings)
    card = f'<div class="name">{logo}{site["site_name"]}</div><h1>{title}</h1>'
    card += f'<p>{site["site_description"]}</p><div class="row">{row}</div>'
    with tempfile.TemporaryDirectory() as folder, chromium.page() as page:
        for name, body, width, height in (
            ("card", f'<div class="card">{card}</div>', 1200, 630),
            ("favicon", f'<div class="icon">{logo}</div>', 64, 64),
        ):
            path = Path(folder) / f"{name}.html"
            path.write_text(PAGE + body, encoding="utf-8")
            page.open(path)
            page.call(
                "Emulation.setDeviceMetricsOverride",
                width=width, height=height, deviceScaleFactor=1, mobile=False,
            )  # fmt: skip
            page.settle()
            page.picture(ASSETS / f"{name}.png")


if __name__ == "__main__":
    main()
