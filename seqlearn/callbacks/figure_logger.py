"""Where findings go: numbers, figures and tables, to every kind of logger or to files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")  # All of ASCII's.


@dataclass(frozen=True)
class FigureLogger:
    """Takes what was found out at one look, on rank zero, to the loggers or to files.

    Attributes:
        loggers: The Trainer's.
        folder: Where files go.
        step: Optimizer steps so far.
        prefix: Stands before all tags.
        files: Whether to write files also where a logger takes what is in them.
        values: All numbers so far, by tag.
    """

    loggers: Sequence[Logger]
    folder: Path
    step: int
    prefix: str = ""
    files: bool = False
    values: dict[str, float] = field(default_factory=dict)

    def scalars(self, values: Mapping[str, float]) -> None:
        """Give numbers to every logger, and to `trainer.callback_metrics` when the look ends."""
        named = {self._tag(tag): value for tag, value in values.items()}
        if not named:
            return
        self.values.update(named)
        for logger in self.loggers:
            logger.log_metrics(named, self.step)

    def figure(self, tag: str, figure: Figure) -> None:
        """Give a figure to the loggers that take figures; write a PNG file where none does."""
        sent = [send_figure(to, self._tag(tag), figure, self.step) for to in self.loggers]
        if self.files or not any(sent):
            figure.savefig(self._file(tag, "png"))

    def table(self, tag: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Give rows of texts to the loggers that take texts; write a text file where none does.

        Args:
            tag: What they are.
            columns: The name of each column.
            rows: One text for each column.
        """
        sent = [send_table(to, self._tag(tag), columns, rows, self.step) for to in self.loggers]
        if self.files or not any(sent):
            self._file(tag, "txt").write_text(plain_table(columns, rows), encoding="utf-8")

    def _tag(self, tag: str) -> str:
        return f"{self.prefix}/{tag}" if self.prefix else tag

    def _file(self, tag: str, suffix: str) -> Path:
        """A file in the folder, which stands for the first part of a tag with several."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^\w.-]+", "_", tag.partition("/")[2] if "/" in tag else tag) or "model"
        return self.folder / f"{name}-step{self.step:06d}.{suffix}"


def send_figure(logger: Logger, tag: str, figure: Figure, step: int) -> bool:
    """Give a figure to a logger that takes figures.

    Returns:
        Whether it does (TensorBoard, W&B and MLflow do).
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
    """Give rows of texts to a logger that takes texts.

    Returns:
        Whether it does (TensorBoard, W&B and MLflow do).
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
    """Rows of texts as a Markdown table that shows every character as it is."""
    lines = [columns, ["---"] * len(columns), *rows]
    cells = [[_literal(cell) if at != 1 else cell for cell in row] for at, row in enumerate(lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells) + "\n"


def _literal(text: str) -> str:
    """Punctuation as entities, which neither Markdown nor HTML takes for a mark; one line."""
    lines = [_PUNCTUATION.sub(lambda mark: f"&#{ord(mark[0])};", s) for s in text.splitlines()]
    return "<br>".join(lines)


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of texts as paragraphs, a line for each column; further lines of a text are indented."""
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
