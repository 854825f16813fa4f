"""Shared by the benchmarks with tables: train one module, test it, write a row."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L

import seqlearn as sl


class Result(NamedTuple):
    """What one run showed."""

    figures: dict[str, float]
    seconds: float  # of CPU time, in training
    weights: int  # that are trained


def fit(
    model: sl.SequenceModule,
    data: sl.data.SequenceDataModule,
    *,
    tested: bool = True,
    **trainer: Any,
) -> Result:
    """Train, measure on validation and, if there is one, on the test split; no logs, no files."""
    options: dict[str, Any] = {
        "accelerator": "cpu",
        "gradient_clip_val": 1.0,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    runner = L.Trainer(**(options | trainer))
    start = time.process_time()
    runner.fit(model, data)
    used = time.process_time() - start
    known = dict(runner.validate(model, data, verbose=False)[0])
    if tested:
        known |= runner.test(model, data, verbose=False)[0]
    return Result(known, used, sum(p.numel() for p in model.parameters() if p.requires_grad))


class Table:
    """A table in Markdown that is written row by row, so that nothing is lost."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text("", encoding="utf-8")
            self.add(names)
            self.add(["---"] * len(names))

    def add(self, cells: Iterable[object]) -> None:
        """Write a row, here and there."""
        row = f"| {' | '.join(map(str, cells))} |"
        print(row, flush=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{row}\n")


def options(text: str | None, names: Iterable[str], out: str) -> argparse.ArgumentParser:
    """A parser for `--only NAMES` and `--out FILE`."""
    parser = argparse.ArgumentParser(description=(text or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(names), default=list(names))
    parser.add_argument("--out", type=Path, default=Path(out), help="rows are added to this file")
    return parser


def said(arguments: dict[str, Any]) -> str:
    """Arguments as they would be written."""
    return ", ".join(f"{key}={value!r}" for key, value in arguments.items())
