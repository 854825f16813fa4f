"""A user's sequence type, from files outside the package: stored, batched, trained and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from series import Drifts, Series

import seqlearn as sl
from seqlearn.data import array_files
from seqlearn.data.rows import to_row
from seqlearn.spec import RowFormat


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path / "cache"))


def test_batches_have_the_rows_in_buckets_of_like_length() -> None:
    data = Drifts()
    assert data.spec.source.longest == 29  # type: ignore[union-attr]
    data.setup("fit")
    examples = list(data.examples("train"))
    dataset = data.dataset("train")
    assert dataset.source_lengths.tolist() == [len(source) for source, _ in examples]
    seen, padding = [], 0
    for batch in data.train_dataloader():
        lengths = batch.source_lengths.tolist()
        assert batch.source.dtype == torch.float32
        assert batch.source.shape == (batch.size, max(lengths), 2)
        assert batch.source.shape[0] * batch.source.shape[1] <= data.batch_tokens
        for row, length, index in zip(batch.source, lengths, batch.indices.tolist(), strict=True):
            assert torch.equal(row[:length], torch.tensor(examples[index][0]).float())
            assert not row[length:].any()
        seen += batch.indices.tolist()
        padding += batch.source.shape[0] * batch.source.shape[1] - sum(lengths)
    assert sorted(seen) == list(range(64))
    assert padding < 0.2 * sum(dataset.source_lengths), "in the order of the data it is 0.5"


def test_large_rows_are_memory_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Drifts().dataset("val")[[3, 0]]
    monkeypatch.setattr(array_files, "MMAP_THRESHOLD", 0)
    mapped = Drifts().dataset("val")
    assert mapped._source is not None
    assert isinstance(mapped._source.values, np.memmap)
    batch = mapped[[3, 0]]
    assert expected.source is not None
    assert batch.source is not None
    assert torch.equal(batch.source, expected.source)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.parametrize("model_class", [sl.GRU, sl.Transformer])
def test_training_and_batch_invariance(model_class: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = Drifts()
    recipe = sl.Recipe(lr=0.01, warmup_steps=0)
    model = model_class(data.spec, d_model=16, num_layers=1, dropout=0.0, recipe=recipe)
    trainer = L.Trainer(
        max_epochs=6,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        log_every_n_steps=1,
    )
    trainer.fit(model, data)
    (figures,) = trainer.test(model, data, verbose=False)
    assert figures["test/accuracy"] > 0.9
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    loaded = model_class.load_from_checkpoint(tmp_path / "last.ckpt").eval()
    sources = [source for source, _ in data.examples("test")]
    labels = model.predict(sources)
    assert loaded.predict(sources) == labels
    predicted = trainer.predict(model, data.test_dataloader()) or []
    assert sorted(label for batch in predicted for label in batch) == sorted(labels)
    dataset = data.dataset("test")
    together = loaded(dataset[list(range(16))])
    for row in range(16):
        torch.testing.assert_close(loaded(dataset[row]), together[row : row + 1])


def test_rows_that_do_not_fit_are_refused() -> None:
    spec: Any = Series(2).make_spec(None)
    assert to_row([], spec).shape == (0, 2)
    for wrong in ([[1.0]], [1.0, 2.0], [[1.0, np.nan]], [[1e60, 0.0]], [[1, 2], [3]], "ab", 3):
        with pytest.raises(ValueError, match=r"expected numbers of shape \(time, 2\) that fit"):
            to_row(wrong, spec)
    ids = sl.TextSpec(9, 4)
    assert ids.row_format == RowFormat("int32")
    assert to_row([4.0, 5], ids).dtype == np.int32
    for bad in ([2**31], [-(2**40)], [1.5], [[1]]):
        with pytest.raises(ValueError, match=r"expected numbers of shape \(time\) that fit int32"):
            to_row(bad, ids)


def test_an_error_names_the_example() -> None:
    class Broken(Drifts):
        def examples(self, split: Any) -> Any:
            yield [[0.0, 1.0]], "up"
            yield [[0.0, float("nan")]], "down"

    with pytest.raises(ValueError, match=r"example 2.*expected numbers of shape \(time, 2\)"):
        Broken().prepare_data()
