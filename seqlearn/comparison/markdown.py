"""A report as Markdown; charts are tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from seqlearn.comparison.blocks import Block, Chart, Section, Table, Text, Viewer
from seqlearn.comparison.figures import Content
from seqlearn.comparison.wording import ABSENT, short

_POINTS = 8
"""Most columns of a chart's table."""


def to_markdown(content: Content, sections: Sequence[Section]) -> str:
    """The report as Markdown.

    Args:
        content: The content of `report.json`.
        sections: The sections.
    """
    lines = [f"# Comparison on {_plain(content['data']['class'])}", ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        for block in section.blocks:
            lines += [*_lines(block), ""]
    return "\n".join(lines).rstrip() + "\n"


def _lines(block: Block) -> Iterator[str]:
    if isinstance(block, Text):
        yield _plain(block.text)
    elif isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, Chart):
        yield from _chart(block)
    elif isinstance(block, Viewer):
        yield f"{_plain(block.title)}: see the HTML report."


def _table(table: Table) -> Iterator[str]:
    if table.caption:
        yield _plain(table.caption)
        yield ""
    yield _row([_plain(name) for name in table.head])
    yield _row(["--:" if numeric else ":--" for numeric in table.numeric])
    for row in table.rows:
        texts = [
            f"**{_plain(c.text)}**" if c.strong and c.text else _plain(c.text) for c in row.cells
        ]
        if row.failed:
            texts[1] = f"failed: {texts[1]}"
        yield _row(texts + [""] * (len(table.head) - len(texts)))


def _chart(chart: Chart) -> Iterator[str]:
    unit = "" if chart.y.lower() in chart.title.lower() else f" ({_plain(chart.y)})"
    yield f"{_plain(chart.title)}{unit} by {_plain(chart.x)}:"
    yield ""
    xs = sorted({x for one in chart.series for x in one.xs})
    shared = any(set(one.xs) == set(xs) for one in chart.series)
    if not shared:  # curves over time: the ends
        yield _row(["model", "first", "last", "lowest"])
        yield _row([":--", "--:", "--:", "--:"])
        for one in chart.series:
            values = [mean.mean for mean in one.ys]
            ends = [
                f"{short(v)} at {short(x)}"
                for x, v in ((one.xs[0], values[0]), (one.xs[-1], values[-1]))
            ]
            yield _row([_plain(one.name), *ends, short(min(values))])
        return
    step = -(-len(xs) // _POINTS)
    shown = [x for at, x in enumerate(xs) if at % step == 0 or at == len(xs) - 1]
    heads = [chart.marks[int(x)] if chart.marks else short(x) for x in shown]
    yield _row(["model", *map(_plain, heads)])
    yield _row([":--", *["--:"] * len(shown)])
    for one in chart.series:
        means = dict(zip(one.xs, one.ys, strict=True))
        cells = []
        for x in shown:
            mean = means.get(x)
            if mean is None:
                cells.append(ABSENT)
            elif chart.percent:
                spread = "" if mean.half is None else f" ± {100 * mean.half:.1f}"
                cells.append(f"{100 * mean.mean:.1f}%{spread}")
            else:
                cells.append(short(mean.mean))
        yield _row([_plain(one.name), *cells])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """A text in which nothing is Markdown or HTML, on one line."""
    text = " ".join(text.split())
    for character in "\\`*_|<>[]":
        text = text.replace(character, f"\\{character}")
    return text
