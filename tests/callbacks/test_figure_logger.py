"""Where findings go."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seqlearn.callbacks import FigureLogger
from seqlearn.callbacks.figure_logger import markdown_table, plain_table
from seqlearn.introspect import attention_map

ODD = ["a|b", "<b>x</b>", "*y* `z` [k](l) \\n # 1. & $", "two\nlines", "", "Übung 日"]


def blank(kind: type, **attributes: Any) -> Any:
    """A logger that is not connected to anything."""
    made = type(kind.__name__, (kind,), attributes)
    return made.__new__(made)


def test_wandb_and_mlflow_get_figures_tables_and_numbers(tmp_path: Path) -> None:
    """By their documented calls; neither package is needed for the tests."""
    figure = attention_map(torch.eye(2).numpy())
    sent: list[tuple[Any, ...]] = []

    def log_image(self: Any, key: str, images: list[Any], step: int) -> None:
        sent.append((key, images[0].shape[-1], step))

    def log_table(
        self: Any,
        key: str,
        columns: list[str] | None = None,
        data: list[list[str]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
    ) -> None:
        sent.append((key, columns, data, dataframe, step))

    def log_metrics(self: Any, metrics: dict[str, float], step: int) -> None:
        sent.append((metrics, step))

    class Client:
        log_figure: Callable[..., None] = staticmethod(lambda *given: sent.append(given))

        def log_text(self, run_id: str, text: str, artifact_file: str) -> None:
            sent.append((run_id, text, artifact_file))

    wandb = blank(WandbLogger, log_image=log_image, log_table=log_table, log_metrics=log_metrics)
    mlflow = blank(MLFlowLogger, experiment=Client(), run_id="7", log_metrics=log_metrics)
    report = FigureLogger([wandb, mlflow], tmp_path / "new", 3)
    report.figure("attention/a", figure)
    assert sent == [("attention/a", 4, 3), ("7", figure, "attention/a-step000003.png")]
    sent.clear()
    report.table("samples", ("x", "y"), [("1", "2")])
    assert sent == [
        ("samples", ["x", "y"], [["1", "2"]], None, 3),
        ("7", "x: 1\ny: 2\n", "samples-step000003.txt"),
    ]
    sent.clear()
    report.scalars({"n": 0.5})
    assert sent == [({"n": 0.5}, 3)] * 2
    assert not (tmp_path / "new").exists()


# TensorBoard carries a copy of a package that is no longer developed.
@pytest.mark.filterwarnings("ignore:html5lib's sanitizer is deprecated:DeprecationWarning")
def test_tensorboard_shows_every_text_as_it_is(tmp_path: Path) -> None:
    from tensorboard.plugin_util import markdown_to_safe_html

    logger = TensorBoardLogger(tmp_path, name="tb")
    FigureLogger([logger], tmp_path / "files", 5, "mine").table(
        "samples", ("n", "text"), [("0", "a|b")]
    )
    logger.save()
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    (event,) = events.Tensors("mine/samples/text_summary")
    assert event.step == 5
    table = "| n | text |\n| --- | --- |\n| 0 | a&#124;b |\n"
    assert event.tensor_proto.string_val[0].decode() == table
    assert not (tmp_path / "files").exists()
    page = markdown_to_safe_html(markdown_table(["text"], [[text] for text in ODD]))
    cells = re.findall("<td>(.*)</td>", page)
    assert [html.unescape(cell).replace("<br>", "\n") for cell in cells] == ODD
    assert not any(mark in cell.replace("<br>", "") for cell in cells for mark in "<>*`[")


def test_files_stand_in_for_loggers_that_take_no_figures_or_texts(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="csv")
    report = FigureLogger([logger], tmp_path / "files", 7, "mine")
    report.figure("attention/<a> b", attention_map(torch.eye(2).numpy()))
    report.table("samples", ("source", "predicted"), [("日", "two\nlines"), ("b", "")])
    assert sorted(path.name for path in (tmp_path / "files").iterdir()) == [
        "_a_b-step000007.png",
        "samples-step000007.txt",
    ]
    assert (tmp_path / "files" / "samples-step000007.txt").read_text(encoding="utf-8") == (
        "source:    日\npredicted: two\n           lines\n\nsource:    b\npredicted:\n"
    )
    report.scalars({"n": 0.5})
    assert logger.experiment.metrics[-1]["mine/n"] == 0.5


def test_given_files_are_written_beside_the_logger(tmp_path: Path) -> None:
    report = FigureLogger(
        [TensorBoardLogger(tmp_path, name="tb")], tmp_path / "files", 7, files=True
    )
    report.table("samples", ("a",), [("b",)])
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["samples-step000007.txt"]


@pytest.mark.parametrize("table", [plain_table, markdown_table])
def test_a_table_may_be_empty(table: Callable[..., str]) -> None:
    assert "x" not in table(("a",), [])
