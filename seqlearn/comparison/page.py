"""A report as one HTML file that loads nothing else."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files

from seqlearn.comparison.blocks import Block, Cell, Chart, Section, Table, Text, Viewer
from seqlearn.comparison.charts import legend, to_svg
from seqlearn.comparison.figures import Content
from seqlearn.comparison.wording import count, names
from seqlearn.introspect.plots.attention import escape_label

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)


def to_page(content: Content, sections: Sequence[Section]) -> str:
    """The report as HTML.

    Args:
        content: The content of `report.json`.
        sections: The sections.
    """
    title = f"Comparison on {content['data']['class']}"
    labels = [str(model["label"]) for model in content["models"]]
    seeds = count(len(content["settings"]["seeds"]), "seed")
    style = (files("seqlearn.comparison") / "assets" / "report.css").read_text(encoding="utf-8")
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{_text(title)}</title>",
        f"<style>\n{style}</style>",
        "</head>",
        "<body>",
        "<main>",
        f"<header><h1>{_text(title)}</h1>",
        f"<p>{_text(names(labels))}; {seeds}; {_text(content['machine']['date'])}.</p>",
        "<nav>",
        *(f'<a href="#{_anchor(each.title)}">{_text(each.title)}</a>' for each in sections),
        "</nav></header>",
    ]
    charts = 0
    for section in sections:
        parts.append(f'<section id="{_anchor(section.title)}"><h2>{_text(section.title)}</h2>')
        grid = False
        for block in section.blocks:
            if isinstance(block, Chart) is not grid:
                parts.append("</div>" if grid else '<div class="charts">')
                grid = not grid
            parts += _lines(block, charts)
            charts += isinstance(block, Chart)
        parts += ["</div>"] * grid + ["</section>"]
    parts += ["</main>", "</body>", "</html>", ""]
    return "\n".join(parts)


def table_html(table: Table, *, styled: bool = True) -> str:
    """A table as HTML.

    Args:
        table: The table.
        styled: Whether it is in a page with the style of the report; otherwise it has the style
            that it needs.
    """
    lines = ["<table>"]
    head = zip(table.head, table.numeric, strict=True)
    lines.append(
        f"<thead><tr>{''.join(_cell('th', _text(n), numeric=x) for n, x in head)}</tr></thead>"
    )
    lines.append("<tbody>")
    for row in table.rows:
        cells = []
        for at, (cell, numeric) in enumerate(zip(row.cells, table.numeric, strict=False)):
            spans = row.failed and at == len(row.cells) - 1
            span = len(table.head) - at if spans else 1
            shown = f"failed: {_text(cell.text)}" if spans else _content(cell)
            cells.append(
                _cell("td", shown, numeric=numeric and not spans, span=span, tokens=cell.tokens)
            )
        mark = ' class="failed"' if styled else ' style="color: #b3261e"'
        lines.append(f"<tr{mark if row.failed else ''}>{''.join(cells)}</tr>")
    lines += ["</tbody>", "</table>"]
    return "\n".join(lines)


def _content(cell: Cell) -> str:
    text = _text(escape_label(cell.text).replace("␣", " ") if cell.tokens else cell.text)
    return f"<b>{text}</b>" if cell.strong else text


def _cell(tag: str, inner: str, *, numeric: bool, span: int = 1, tokens: bool = False) -> str:
    kinds = " ".join(["number"] * numeric + ["tokens"] * tokens)
    attributes = f' class="{kinds}"' if kinds else ""
    attributes += f' colspan="{span}"' if span > 1 else ""
    attributes += ' scope="col"' if tag == "th" else ""
    return f"<{tag}{attributes}>{inner}</{tag}>"


def _lines(block: Block, charts: int) -> Iterator[str]:
    if isinstance(block, Text):
        yield _paragraph(block)
    elif isinstance(block, Table):
        if block.caption:
            yield f'<p class="caption">{_text(block.caption)}</p>'
        yield f'<div class="scroll" tabindex="0">{table_html(block)}</div>'
    elif isinstance(block, Chart):
        yield f"<figure><figcaption>{_text(block.title)}</figcaption>"
        items = "".join(
            f'<li><span style="color: var(--c{color})">{marker}</span>{_text(name)}</li>'
            for name, color, marker in legend(block.series)
        )
        yield f'<ul class="legend">{items}</ul>'
        yield f"{to_svg(block, charts)}</figure>"
    elif isinstance(block, Viewer):
        yield block.html


_VERDICTS = ("Holds here.", "Does not hold here.", "Holds for some models only.", "Not tested:")


def _paragraph(block: Text) -> str:
    text = _text(block.text)
    if not block.verdict:
        return f"<p>{text}</p>"
    for said in _VERDICTS:
        text = text.replace(said, f"<b>{said}</b>", 1)
    return f'<p class="verdict {block.verdict}">{text}</p>'


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def _text(text: object) -> str:
    return html.escape(str(text))
