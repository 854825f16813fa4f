from __future__ import annotations

import io
import sys

import pytest

from seqlearn.comparison.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def show(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    progress = Progress(total=4, done=1, jobs=2)
    progress.start("GRU, seed 0")
    progress.start("LSTM, seed 0")
    progress.update("GRU, seed 0", {"step": 3, "steps": 10, "loss": 1.25})
    progress.update("LSTM, seed 0", {"stage": "measuring"})
    progress.end("GRU, seed 0", "accuracy 90.0%")
    progress.start("RNN, seed 0")
    progress.end("RNN, seed 0", "failed: ValueError: no")
    progress.end("LSTM, seed 0", "accuracy 95.0%")
    progress.close()
    return stream.getvalue()


def test_lines_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = show(io.StringIO(), monkeypatch).splitlines()
    assert lines[:3] == [
        "1 of 4 runs are complete already",
        "GRU, seed 0: started",
        "LSTM, seed 0: started",
    ]
    assert lines[3].startswith("[2/4] GRU, seed 0: accuracy 90.0% (")
    assert lines[5].startswith("[3/4] RNN, seed 0: failed: ValueError: no (")
    assert lines[6].startswith("[4/4] LSTM, seed 0: accuracy 95.0% (")
    assert len(lines) == 7


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = show(Terminal(), monkeypatch)
    assert "runs 1/4" in shown
    assert "3/10, loss 1.250" in shown
    assert "measuring" in shown
    assert "[2/4] GRU, seed 0: accuracy 90.0%" in shown
    assert "[3/4] RNN, seed 0: failed: ValueError: no" in shown
    assert "started" not in shown
