"""Predictions in a file; `tests/core/test_processes.py` compares one process with two."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import seqlearn as sl
from seqlearn.callbacks.prediction_writer import to_single_line

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


class Answers(L.LightningModule):
    """Returns what a function makes of each batch."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer
        self.batches = 0

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        self.batches += 1
        return self.answer(batch)


def predict(writer: sl.callbacks.PredictionWriter, answer: Any, data: Any, folder: Path) -> Answers:
    module = Answers(answer)
    trainer = L.Trainer(
        accelerator="cpu",
        callbacks=[writer],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
    )
    trainer.predict(module, data)
    return module


class Shuffled(torch.utils.data.Sampler):
    def __iter__(self) -> Any:
        return iter([2, 0, 4, 1, 3])

    def __len__(self) -> int:
        return 5


def test_lines_are_in_the_order_of_the_data(tmp_path: Path) -> None:
    texts = ["a", "b\nc", "d\r\ne", "ü\rf", ""]
    loader = DataLoader(texts, sampler=Shuffled(), batch_size=2)
    writer = sl.callbacks.PredictionWriter()
    predict(writer, list, loader, tmp_path)
    assert writer.written == tmp_path / "predictions.txt"
    assert writer.written.read_bytes().decode() == "a\nb c\nd e\nü f\n\n"
    assert writer.predictions == texts


def test_json_lines_of_several_loaders(tmp_path: Path) -> None:
    loaders = [DataLoader(["a\nb"], batch_size=2), DataLoader(["x", "y"], batch_size=2)]
    writer = sl.callbacks.PredictionWriter(tmp_path / "new" / "out.jsonl", "jsonl")
    for _ in range(2):  # the second run replaces the first
        predict(
            writer,
            lambda batch: [{"of": text, "as": np.ones(2)} for text in batch],
            loaders,
            tmp_path,
        )
    found = [json.loads(line) for line in writer.written.read_text(encoding="utf-8").splitlines()]
    assert found[0] == {"loader": 0, "index": 0, "prediction": {"of": "a\nb", "as": [1.0, 1.0]}}
    assert [(one["loader"], one["index"]) for one in found] == [(0, 0), (1, 0), (1, 1)]


def test_other_iterables_of_one_process_keep_their_order(tmp_path: Path) -> None:
    class Batches:
        def __iter__(self) -> Any:
            return iter([torch.tensor([1, 2]), torch.tensor([3])])

    writer = sl.callbacks.PredictionWriter()
    predict(writer, lambda batch: batch * 2, Batches(), tmp_path)
    assert writer.written.read_text(encoding="utf-8") == "2\n4\n6\n"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda batch: batch[:1], "returned 1 predictions for the 2 examples of batch 0"),
        (lambda batch: {"texts": batch}, "expected a list from predict_step.*got dict"),
        (lambda batch: torch.tensor(1.0), "got Tensor"),
        (lambda batch: None, "got NoneType"),
    ],
)
@pytest.mark.filterwarnings("ignore:predict returned None")
def test_a_step_without_one_prediction_for_each_example_is_an_error(
    tmp_path: Path, answer: Any, message: str
) -> None:
    writer = sl.callbacks.PredictionWriter()
    with pytest.raises((TypeError, ValueError), match=message):
        predict(writer, answer, DataLoader(["a", "b"], batch_size=2), tmp_path)
    assert not (tmp_path / "predictions.txt").exists()


def test_what_json_cannot_hold_leaves_the_previous_file(tmp_path: Path) -> None:
    (tmp_path / "predictions.jsonl").write_text("previous", encoding="utf-8")
    writer = sl.callbacks.PredictionWriter(format="jsonl")
    with pytest.raises(TypeError, match=r"predictions of texts, numbers.*got Path|PosixPath"):
        predict(writer, lambda batch: [tmp_path], DataLoader(["a"]), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.jsonl"]
    assert (tmp_path / "predictions.jsonl").read_text(encoding="utf-8") == "previous"


def test_a_folder_that_cannot_be_written_is_found_before_the_first_batch(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    writer = sl.callbacks.PredictionWriter(tmp_path / "file" / "out.txt")
    module = Answers(list)
    trainer = L.Trainer(accelerator="cpu", callbacks=[writer], logger=False)
    with pytest.raises(OSError, match=r"cannot be written.*`path` of PredictionWriter"):
        trainer.predict(module, DataLoader(["a"]))
    assert module.batches == 0


def test_the_format_is_checked() -> None:
    unchecked = inspect.unwrap(sl.callbacks.PredictionWriter.__init__)  # by the tests' types
    with pytest.raises(ValueError, match="expected 'text' or 'jsonl', got 'json'"):
        unchecked(sl.callbacks.PredictionWriter(), format="json")


@pytest.mark.parametrize(
    ("prediction", "line"),
    [
        (torch.tensor([1.5, 2.0]), "1.5 2.0"),
        (torch.tensor(3), "3"),
        (("N", "V"), "N V"),
        (2.5, "2.5"),
    ],
)
def test_predictions_as_lines(prediction: Any, line: str) -> None:
    assert to_single_line(prediction) == line
