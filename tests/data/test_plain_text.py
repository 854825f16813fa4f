from __future__ import annotations

import gzip

import lightning as L
import pytest
import torch

import seqlearn as sl
from seqlearn.spec import END, START

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


@pytest.fixture
def files(tmp_path):
    first, second = tmp_path / "first.txt", tmp_path / "second.txt.gz"
    first.write_bytes(b"abcdef\r\nghij\n" * 8)
    second.write_bytes(gzip.compress(b"jihgfedcba" * 5))
    return [first, second]


def text_of(data: sl.data.PlainText, split: str) -> str:
    return "".join(text for _, text in data.examples(split))


def test_files_are_read_as_they_are(files):
    data = sl.data.PlainText(files)
    assert list(data.examples("train")) == [
        (None, "abcdef\r\nghij\n" * 8),
        (None, "jihgfedcba" * 5),
    ]
    assert data.spec.shape == "nothing-to-sequence"


def test_the_last_share_of_the_characters_is_for_validation(files):
    whole = text_of(sl.data.PlainText(files), "train")
    for share in (0.1, 0.5, 0.9):
        data = sl.data.PlainText(files, share)
        train, val = text_of(data, "train"), text_of(data, "val")
        assert train + val == whole
        assert len(val) == round(share * len(whole))


def test_batches_are_windows_of_lanes(files):
    data = sl.data.PlainText(files, window=7, batch_tokens=21)
    ids = torch.tensor(data.dataset("train").target_ids)
    assert (ids[0], ids[-1]) == (START, END)
    batches = list(data._loader("train", shuffle=False))
    assert [batch.target.shape[0] for batch in batches] == [3] * len(batches)
    assert max(batch.target.shape[1] for batch in batches) == 8
    lanes = [
        torch.cat([batch.target[row, : batch.target_lengths[row] - 1] for batch in batches])
        for row in range(3)
    ]
    assert torch.cat(lanes).tolist() == ids.tolist()
    for before, after in zip(batches, batches[1:], strict=False):
        assert after.continues
        going = after.target_lengths > 1
        assert (before.target[going, -1] == after.target[going, 0]).all()


def test_a_worker_slices_the_same(files):
    loaded = [
        list(sl.data.PlainText(files, window=7, num_workers=n).train_dataloader()) for n in (0, 1)
    ]
    for mine, worker in zip(*loaded, strict=True):
        assert torch.equal(mine.target, worker.target)
        assert mine.continues == worker.continues


def test_the_longest_text_at_once_is_a_window(files):
    data = sl.data.PlainText(files, window=7)
    assert data.spec.target.max_length == 7


@pytest.mark.parametrize("model", [sl.LSTM, sl.Transformer, sl.FeedForward])
def test_language_models_train(files, model):
    data = sl.data.PlainText(files, 0.2, window=8, batch_tokens=32)
    module = model(data.spec, d_model=8)
    trainer = L.Trainer(max_epochs=2, **QUIET)
    trainer.fit(module, data)
    assert trainer.callback_metrics["val/loss"].isfinite()
    (made,) = module.generate(prompts=["abc"], max_length=5)
    assert made.startswith("abc")


def test_real_text(real_data):
    data = sl.data.PlainText(
        real_data / "tinyshakespeare" / "input.txt", 0.1, window=64, batch_tokens=768
    )
    assert data.spec.target.vocab_size == 65 + 4
    assert len(data.train_dataloader()) == -(-(1003854 + 2) // 768)
    assert next(iter(data.train_dataloader())).target.shape == (12, 65)


def test_bad_input(tmp_path, files):
    with pytest.raises(ValueError, match="window of at least 1"):
        sl.data.PlainText(files, window=0)
    with pytest.raises(ValueError, match="at most batch_tokens=8, got 9"):
        sl.data.PlainText(files, window=9, batch_tokens=8)
    with pytest.raises(ValueError, match="share of train above 0 and below 1, got 1.5"):
        sl.data.PlainText(files, 1.5)
    with pytest.raises(ValueError, match=r"train: the text has 158 tokens .* window=1000"):
        sl.data.PlainText(files, window=1000).train_dataloader()
    with pytest.raises(ValueError, match="no sources to answer; use model.generate"):
        sl.data.PlainText(files).predict_dataloader()
    with pytest.raises(FileNotFoundError, match="nowhere.txt"):
        _ = sl.data.PlainText(tmp_path / "nowhere.txt").spec
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(ValueError, match="empty.txt: expected text, got an empty file"):
        _ = sl.data.PlainText(tmp_path / "empty.txt").spec
    (tmp_path / "latin.txt").write_bytes("ab\ncdé".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin.txt, line 2, byte 3"):
        _ = sl.data.PlainText(tmp_path / "latin.txt").spec
