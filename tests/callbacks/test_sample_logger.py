"""`SampleLogger`: what stands in the table, for every task."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from modules import SERVED
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import seqlearn as sl
from seqlearn.callbacks import SampleLogger
from seqlearn.callbacks.sample_logger import Samples, compare_to_targets, predict_samples
from seqlearn.testing import TASKS


def text(ids: list[int]) -> str:
    return " ".join(map(str, ids))


@pytest.mark.parametrize(("name", "task"), SERVED)
def test_every_architecture_predicts(module, batches, name: str, task: str) -> None:
    model, batch = module(name, task).eval(), batches(task)[0]
    columns, rows = compare_to_targets(model, batch)
    assert len(rows) == 3
    assert all(isinstance(cell, str) for row in rows for cell in row)
    first = dict(zip(columns, rows[0], strict=True))
    if batch.source_lengths is not None:
        assert first["source"] == "5 6 7 8"
    if task == "vector-to-sequence":
        assert first["source"] == "0.5 -1 2"
    if model.spec.target.needs_decoder:
        assert first["expected"] == "5 6 4"
    if task == "tagging":
        assert first["expected"] == "a b c a"
        assert first["predicted"] == " ".join("abc"[n] for n in model(batch)[0, :4].argmax(-1))
    if task in ("sequence-to-sequence", "vector-to-sequence"):
        assert first["predicted"] == text(model.generate_batch(batch)[0])
    if task == "language-modeling":
        assert first["prompt"] == "5"
        assert first["predicted"].split()[0] == "5"
        assert len(first["predicted"].split()) <= 4
    if task == "sequence-to-vector (classes)":
        probabilities = model(batch)[0].softmax(-1)
        assert first["expected"] == "abc"[batch.target[0]]
        assert first["predicted"] == "abc"[probabilities.argmax()]
        assert float(first["probability"]) == pytest.approx(probabilities.max().item(), abs=6e-4)
    if task == "sequence-to-vector":
        assert first["expected"] == "0.5 1"
        predicted = list(map(float, first["predicted"].split()))
        assert predicted == pytest.approx(model(batch)[0].tolist(), rel=6e-3)


@pytest.mark.parametrize("task", TASKS)
def test_raw_sources_are_shown_unchanged(module, task: str) -> None:
    model = module("GRU", task).eval()
    vectors = task == "vector-to-sequence"
    sources = [[0.1, 0.2, 0.3], [1.0, 0.0, -1.0]] if vectors else [[4, 5], [6]]
    columns, rows = predict_samples(model, sources)
    assert columns[0] == ("prompt" if task == "language-modeling" else "source")
    assert "expected" not in columns
    assert [row[0] for row in rows] == (["0.1 0.2 0.3", "1 0 -1"] if vectors else ["4 5", "6"])


def test_texts_are_shown_as_texts(tmp_path: Path) -> None:
    data = sl.data.Synthetic("reverse", length=4, train_examples=40, held_out_examples=8)
    model = sl.GRU(data.spec, d_model=8)
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.val_dataloader()))
    columns, rows = compare_to_targets(model, batch)
    assert columns == ("source", "expected", "predicted")
    source, expected = (rows[0][at].replace(" ", "") for at in (0, 1))
    assert source
    assert expected == source[::-1]
    assert rows[0][2] == model.generate_batch(batch)[0]


def test_tables_go_to_tensorboard_and_files(fit, module, batches, tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="tb")
    samples = SampleLogger(examples=2, directory=tmp_path / "mine")
    fit(
        module("GRU", "sequence-to-sequence"),
        batches("sequence-to-sequence"),
        samples,
        logger=logger,
    )
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    tables = events.Tensors("samples/text_summary")
    assert [event.step for event in tables] == [2, 4]
    table = tables[-1].tensor_proto.string_val[0].decode().splitlines()
    assert table[0] == "| source | expected | predicted |"
    assert table[2].startswith("| 5 6 7 8 | 5 6 4 | ")
    assert len(table) == 4
    written = sorted((tmp_path / "mine").iterdir())
    assert [path.name for path in written] == ["samples-step000002.txt", "samples-step000004.txt"]
    assert written[0].read_text(encoding="utf-8").startswith("source:    5 6 7 8\nexpected:  5 6 4")


def test_sources_of_ones_own(fit, module, batches, tmp_path: Path) -> None:
    samples = SampleLogger(sources=[[4, 4, 5]])
    fit(
        module("GRU", "sequence-to-vector (classes)"),
        batches("sequence-to-vector (classes)"),
        samples,
        max_epochs=1,
    )
    (path,) = (tmp_path / "samples").iterdir()
    assert path.read_text(encoding="utf-8").startswith("source:      4 4 5\npredicted:   ")
    with pytest.raises(TypeError, match=r"expected a list of sources, got one string; pass \['a"):
        SampleLogger(sources="a text")


def test_another_module_joins_with_a_callable(fit, module, batches, tmp_path: Path) -> None:
    def run(model: L.LightningModule, probe: list[str]) -> list[tuple[str, ...]]:
        assert not model.training
        return [(word, word[::-1]) for word in probe]

    class Other(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            return self.layer(batch).mean()

        def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
            pass

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    data = [torch.ones(1)]
    named = SampleLogger(probe=["ab"], run=run, columns=("word", "turned"))
    fit(Other(), data, named, max_epochs=1, limit_val_batches=0)
    (path,) = (tmp_path / "samples").iterdir()
    assert path.read_text(encoding="utf-8") == "word:   ab\nturned: ba\n"
    with pytest.raises(ValueError, match=r"expected rows of 3 texts .*, got one of 2; name them"):
        fit(Other(), data, SampleLogger(probe=["ab"], run=run), limit_val_batches=0)
    with pytest.raises(TypeError, match="expected a SequenceModule, got Other; pass run="):
        fit(Other(), data, SampleLogger(probe=["ab"]), limit_val_batches=0)


def test_an_unfinished_text_of_a_stream_is_cut_at_the_next_start(module) -> None:
    stream = torch.tensor([[4, 5, 6, 5, 3, 2, 4, 4]])
    batch = sl.SequenceBatch(None, None, stream, torch.tensor([8]))
    (row,) = compare_to_targets(module("RNN", "language-modeling").eval(), batch).rows
    assert row[:2] == ("4 5", "4 5 6 5")
    assert isinstance(compare_to_targets(module("RNN", "language-modeling"), batch), Samples)
