"""Charts as SVG in a page: matplotlib draws them, the page's style colours them."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from seqlearn.comparison.blocks import Chart, Series
from seqlearn.comparison.wording import short

COLORS = 8
"""Colours of the page's style, `--c0` to `--c7`; further models repeat them with other markers."""

_MARKERS = "osD^vPX*"
_INK, _LINE, _SURFACE = "#0a0bfe", "#0a0bfd", "#0a0bfc"  # replaced by variables of the style
_SIZE = (4.8, 3.1)  # inches


def to_svg(chart: Chart, number: int) -> str:
    """A chart as an `svg` element, whose colours are variables of the page's style.

    Args:
        chart: The chart.
        number: The number of the chart in the page, which keeps names in it apart.
    """
    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": str(number), "font.family": "DejaVu Sans"}
    ):
        figure = Figure(figsize=_SIZE, dpi=72, layout="constrained")
        figure.patch.set_alpha(0.0)
        panel = figure.add_subplot()
        for series in chart.series:
            _draw(panel, series)
        _style(panel, chart)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _embedded(buffer.getvalue(), chart, number)


def _draw(panel: Axes, series: Series) -> None:
    """A line with markers and, where there are intervals, a band."""
    color = f"#0a0b{series.number % COLORS:02x}"
    means = [mean.mean for mean in series.ys]
    many = len(means) > 20
    panel.plot(
        series.xs,
        means,
        color=color,
        linewidth=1.6,
        marker="" if many else _MARKERS[series.number % len(_MARKERS)],
        markersize=4,
        markeredgewidth=0,
        label=series.name,
        solid_joinstyle="round",
    )
    if any(mean.half for mean in series.ys):
        lows, highs = [mean.low for mean in series.ys], [mean.high for mean in series.ys]
        panel.fill_between(series.xs, lows, highs, color=color, alpha=0.15, linewidth=0)


def _style(panel: Axes, chart: Chart) -> None:
    for name, spine in panel.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(_LINE)
    panel.grid(visible=True, axis="y", color=_LINE, linewidth=0.5)
    panel.set_axisbelow(True)
    panel.tick_params(colors=_INK, labelsize=10, length=0, which="both")
    panel.set_xlabel(chart.x, fontsize=10.5, color=_INK, parse_math=False)
    panel.set_ylabel(chart.y, fontsize=10.5, color=_INK, parse_math=False)
    if chart.log_x:
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    elif chart.marks:
        panel.set_xticks(range(len(chart.marks)), chart.marks)
    else:
        panel.xaxis.set_major_locator(MaxNLocator(5))
    if chart.log_y:
        panel.set_yscale("log")
        lows, highs = zip(*(_ends(one) for one in chart.series), strict=True)
        few = max(highs) < 100 * min(lows)
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_formatter(FuncFormatter(_first_digit) if few else NullFormatter())
    elif chart.percent:
        panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        panel.set_ylim(-0.02, 1.02)  # intervals beyond are cut


def _first_digit(value: float, _: int | None) -> str:
    """Labels of minor ticks of a short logarithmic axis: 2 and 5 of each decade."""
    return f"{value:g}" if f"{value:.0e}"[0] in "25" else ""


def _ends(series: Series) -> tuple[float, float]:
    values = [mean.mean for mean in series.ys if mean.mean > 0] or [1.0]
    return min(values), max(values)


def _embedded(svg: str, chart: Chart, number: int) -> str:
    """The element without what only a file needs, with names and colours of the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', svg))
    svg = re.sub(
        r'\sid="([^"]+)"',
        lambda found: f' id="chart{number}-{found[1]}"' if found[1] in used else "",
        svg,
    )
    svg = re.sub(r'(url\(|href=")#', rf"\1#chart{number}-", svg)
    for sentinel, variable in ((_INK, "--muted"), (_LINE, "--line"), (_SURFACE, "--surface")):
        svg = svg.replace(sentinel, f"var({variable})")
    svg = re.sub(r"#0a0b(0\d)", lambda found: f"var(--c{int(found[1])})", svg)
    svg = re.sub(r'font: (\S+) [^;"]*', r"font-size: \1", svg)
    svg = re.sub(r'(<svg[^>]*?) (?:height|width)="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg[^>]*?) (?:height|width)="[^"]*"', r"\1", svg)
    label = f"{chart.title}: {chart.y} by {chart.x}".replace('"', "'").replace("<", "")
    lines = (line.strip() for line in svg.splitlines())
    opened = f'<svg role="img" aria-label="{label}"'
    return "\n".join(line for line in lines if line).replace("<svg", opened, 1)


def legend(series: Sequence[Series]) -> list[tuple[str, int, str]]:
    """Name, colour and marker of each line of a chart."""
    shapes = {"o": "●", "s": "■", "D": "◆", "^": "▲", "v": "▼", "P": "✚", "X": "✖", "*": "★"}
    return [
        (one.name, one.number % COLORS, shapes[_MARKERS[one.number % len(_MARKERS)]])
        for one in series
    ]
