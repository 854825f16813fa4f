"""What a report consists of, before it is written as HTML or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from seqlearn.comparison.statistic import Mean


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: Its text.
        strong: Whether it is the best of its column.
        tokens: Whether it is a text of the data, which is shown as it is.
    """

    text: str
    strong: bool = False
    tokens: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        cells: Its cells; a last one that is alone after the first spans the rest.
        failed: Whether the row is about a failure.
    """

    cells: Sequence[Cell]
    failed: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        head: The names of the columns.
        rows: The rows.
        numeric: Whether each column has numbers.
        caption: What it shows.
    """

    head: Sequence[str]
    rows: Sequence[Row]
    numeric: Sequence[bool]
    caption: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: The text.
        verdict: `"holds"`, `"fails"`, `"mixed"`, `"open"` (not measured), or empty.
    """

    text: str
    verdict: str = ""


@dataclass(frozen=True)
class Series:
    """A line of a chart.

    Attributes:
        name: Its name.
        number: Its place in the order of all models, which decides its colour.
        xs: Where its points are.
        ys: Their values, with intervals where there are some.
    """

    name: str
    number: int
    xs: Sequence[float]
    ys: Sequence[Mean]


@dataclass(frozen=True)
class Chart:
    """A chart of lines.

    Attributes:
        title: What it shows.
        x: The label of the horizontal axis.
        y: The label of the vertical axis.
        series: The lines.
        log_x: Whether the horizontal axis is logarithmic.
        log_y: Whether the vertical axis is logarithmic.
        percent: Whether values are fractions that are shown in percent.
        marks: Labels of the points on the horizontal axis, where they are groups.
    """

    title: str
    x: str
    y: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False
    percent: bool = False
    marks: Sequence[str] = ()


@dataclass(frozen=True)
class Viewer:
    """The activations of a model for an example, in the viewer.

    Attributes:
        title: The name of the model.
        html: A fragment of HTML; empty where it is left out, as in Markdown.
    """

    title: str
    html: str


Block = Table | Text | Chart | Viewer


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Attributes:
        title: Its title.
        blocks: Its blocks.
    """

    title: str
    blocks: Sequence[Block] = field(default_factory=list)
