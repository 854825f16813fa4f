"""Logging of scalars, figures and tables to every kind of Lightning logger, or to files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from seqlearn.atomic_files import atomic_path

_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")  # of ASCII
_OPTION = "the `directory` of the callback"


@dataclass(frozen=True)
class FigureLogger:
    """Sends scalars, figures and tables to the loggers; writes files if none accepts them.

    Attributes:
        loggers: The Trainer's loggers.
        folder: Folder for files.
        step: Number of optimizer steps so far.
        prefix: Prefix of all tags.
        files: Whether to write files even if a logger accepts the figure or table.
        values: All scalars so far, by tag.

    Examples:
        >>> logger = FigureLogger([], Path("runs"), step=10, prefix="mine")
        >>> logger.scalars({"norm": 0.5})
        >>> logger.values
        {'mine/norm': 0.5}
    """

    loggers: Sequence[Logger]
    folder: Path
    step: int
    prefix: str = ""
    files: bool = False
    values: dict[str, float] = field(default_factory=dict)

    def scalars(self, values: Mapping[str, float]) -> None:
        """Log scalars to every logger; an `Observer` also adds them to `callback_metrics`."""
        named = {self._tag(tag): value for tag, value in values.items()}
        if not named:
            return
        self.values.update(named)
        for logger in self.loggers:
            logger.log_metrics(named, self.step)

    def figure(self, tag: str, figure: Figure) -> None:
        """Log a figure to the loggers that accept figures; write a PNG file if none does."""
        sent = [send_figure(to, self._tag(tag), figure, self.step) for to in self.loggers]
        if self.files or not any(sent):
            with atomic_path(self._file(tag, "png"), f"the figure {tag!r}", _OPTION) as part:
                figure.savefig(part, format="png")

    def table(self, tag: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Log a table to the loggers that accept texts; write a text file if none does.

        Args:
            tag: Tag of the table.
            columns: The name of each column.
            rows: One text for each column.
        """
        sent = [send_table(to, self._tag(tag), columns, rows, self.step) for to in self.loggers]
        if self.files or not any(sent):
            with atomic_path(self._file(tag, "txt"), f"the table {tag!r}", _OPTION) as part:
                part.write_text(plain_table(columns, rows), encoding="utf-8")

    def _tag(self, tag: str) -> str:
        return f"{self.prefix}/{tag}" if self.prefix else tag

    def _file(self, tag: str, suffix: str) -> Path:
        """Path of a file; the first of several parts of a tag is left to the folder's name."""
        name = re.sub(r"[^\w.-]+", "_", tag.partition("/")[2] if "/" in tag else tag) or "model"
        return self.folder / f"{name}-step{self.step:06d}.{suffix}"


def send_figure(logger: Logger, tag: str, figure: Figure, step: int) -> bool:
    """Log a figure if the logger accepts figures.

    Returns:
        Whether it does; TensorBoard, W&B and MLflow do.
    """
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_figure(tag, figure, step)
    elif isinstance(logger, WandbLogger):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # type: ignore[no-untyped-call]
        pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        logger.log_image(tag, [pixels], step)
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_figure(logger.run_id, figure, f"{tag}-step{step:06d}.png")
    else:
        return False
    return True


def send_table(
    logger: Logger, tag: str, columns: Sequence[str], rows: Sequence[Sequence[str]], step: int
) -> bool:
    """Log a table if the logger accepts texts.

    Returns:
        Whether it does; TensorBoard, W&B and MLflow do.
    """
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_text(tag, markdown_table(columns, rows), step)
    elif isinstance(logger, WandbLogger):
        logger.log_table(tag, list(columns), [list(row) for row in rows], step=step)
    elif isinstance(logger, MLFlowLogger):
        text = plain_table(columns, rows)
        logger.experiment.log_text(logger.run_id, text, f"{tag}-step{step:06d}.txt")
    else:
        return False
    return True


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table as Markdown that renders every character literally."""
    lines = [columns, ["---"] * len(columns), *rows]
    cells = [[_literal(cell) if at != 1 else cell for cell in row] for at, row in enumerate(lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells) + "\n"


def _literal(text: str) -> str:
    """Escape punctuation as HTML entities, which Markdown does not interpret; on one line."""
    lines = [_PUNCTUATION.sub(lambda mark: f"&#{ord(mark[0])};", s) for s in text.splitlines()]
    return "<br>".join(lines)


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format rows as paragraphs with a line for each column; continuation lines are indented."""
    width = max(map(len, columns)) + 2
    between = "\n" + " " * width
    paragraphs = []
    for row in rows:
        named = zip(columns, row, strict=True)
        lines = [
            f"{column + ':':{width}}{between.join(text.splitlines())}" for column, text in named
        ]
        paragraphs.append("".join(f"{line.rstrip()}\n" for line in lines))
    return "\n".join(paragraphs)
