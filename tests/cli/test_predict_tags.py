"""`predict` with a model of tags: a label for each word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import seqlearn as sl
from seqlearn.cli import main

LINES = ["the old cat", "", "cat"]


@pytest.fixture
def model(tmp_path: Path) -> Any:
    rows = [(["the", "old", "cat"], ["D", "A", "N"]), (["cat"], ["N"])]
    data = sl.data.TaggedText(rows)
    torch.manual_seed(0)
    model = sl.GRU(data.spec, d_model=8, num_layers=1).eval()
    model.save_pretrained(tmp_path / "model")
    return model


def test_a_label_for_each_word(
    model: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tmp_path / "words.jsonl"
    words.write_text("\n".join(json.dumps(line.split()) for line in LINES), encoding="utf-8")
    text = tmp_path / "lines.txt"
    text.write_text("".join(f"{line}\n" for line in LINES), encoding="utf-8")

    def answers(path: Path, *options: str) -> list[str]:
        assert (
            main(["predict", str(tmp_path / "model"), str(path), "--device", "cpu", *options]) == 0
        )
        return capsys.readouterr().out.split("\n")[:-1]

    tags, probabilities = model.tag([line for line in LINES if line])
    expected = [" ".join(tags[0]), "", " ".join(tags[1])]
    assert answers(text) == expected
    assert answers(words) == expected
    cells = answers(text, "--probabilities")[0].split("\t")
    assert cells[1::2] == tags[0]
    assert [float(cell) for cell in cells[::2]] == pytest.approx(
        probabilities[0].amax(1).tolist(), abs=1e-4
    )
    said = json.loads(answers(text, "--output", "json", "--probabilities")[0])
    assert said["labels"] == tags[0]
    assert [list(row.values()) for row in said["probabilities"]] == [
        pytest.approx(row, abs=1e-5) for row in probabilities[0].tolist()
    ]
    assert main(["classify", str(tmp_path / "model"), str(text)]) == 1
    assert "use seqlearn predict" in capsys.readouterr().err
