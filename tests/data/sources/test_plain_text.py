from __future__ import annotations

import gzip
import math
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.callbacks import ModelCheckpoint

import seqlearn as sl
from seqlearn.batch import END, START, SequenceBatch
from seqlearn.data import Text
from seqlearn.data.sources.plain_text import PlainText

pytestmark = [
    # The machine that tests may have fewer cores than workers.
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    # A resumed run writes no checkpoints, or to another folder, which Lightning remarks on.
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
]

RHYME = "one two three four five\nonce I caught a fish alive\n"


@pytest.fixture
def rhyme(tmp_path: Path) -> Path:
    path = tmp_path / "rhyme.txt"
    path.write_text(RHYME * 8, encoding="utf-8")
    return path


def texts(data: PlainText, split: Any) -> list[str]:
    return [text for _, text in data.examples(split)]


def plain(loader: Any) -> list[tuple[Any, ...]]:
    return [
        (batch.target.tolist(), batch.target_lengths.tolist(), batch.continues_previous)
        for batch in loader
    ]


def predicted(batches: list[tuple[Any, ...]]) -> list[int]:
    """The ids of an epoch in the order of the streams, each as often as it is predicted."""
    return [
        token
        for stream in range(len(batches[0][0]))
        for rows, lengths, _ in batches
        for token in rows[stream][1 : lengths[stream]]
    ]


def on(data: PlainText, rank: int, world_size: int) -> PlainText:
    data.trainer = SimpleNamespace(
        distributed_sampler_kwargs={"num_replicas": world_size, "rank": rank},
        state=SimpleNamespace(fn="test"),
    )
    return data


def test_files_are_texts_with_all_that_is_in_them(tmp_path: Path) -> None:
    one, two = tmp_path / "one.txt", tmp_path / "two.txt.gz"
    one.write_bytes(b"\xef\xbb\xbfab\r\n\n b\xe2\x80\xa8")
    two.write_bytes(gzip.compress(b"\nba"))
    data = PlainText([one, str(two)], one, two, window=3, batch_tokens=6)
    assert texts(data, "train") == ["ab\r\n\n b\u2028", "\nba"]
    assert texts(data, "test") == ["\nba"]
    assert data.spec.task == "language-modeling"
    assert data.spec.source is None
    target = data.spec.target
    assert isinstance(target, sl.TextSpec)
    assert target.vocab_size == 4 + len("ab\r\n \u2028")
    assert target.max_length == 3
    ids = data.dataset("train").target_ids.tolist()
    assert (ids[0], ids[9], ids[10], ids[-1]) == (START, END, START, END)
    assert target.decode([ids[:10], ids[10:]]) == texts(data, "train")


def test_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("Wörter".encode("latin-1"))
    assert texts(PlainText(path, encoding="latin-1"), "train") == ["Wörter"]


def test_validation_and_test_are_read_from_the_start_in_streams(rhyme: Path) -> None:
    data = PlainText(rhyme, rhyme, rhyme, window=10, batch_tokens=35)
    ids = data.dataset("val").target_ids.tolist()
    for loader in (data.val_dataloader(), data.test_dataloader()):
        batches = plain(loader)
        assert predicted(batches) == [*ids[1:], START]
        assert len(batches[0][0]) == 3
        assert batches[0][0][0] == ids[:11]
        assert [continues for _, _, continues in batches] == [False] + [True] * (len(batches) - 1)
        assert plain(loader) == batches
    batch = next(iter(data.test_dataloader()))
    assert isinstance(batch, SequenceBatch)
    assert batch.source is batch.references is None
    assert not batch.is_duplicate.any()


def test_training_starts_elsewhere_in_each_epoch(rhyme: Path) -> None:
    loader = PlainText(rhyme, window=10, batch_tokens=35, seed=3).train_dataloader()
    ids = PlainText(rhyme).dataset("train").target_ids.tolist()
    epochs = []
    for epoch in range(4):
        loader.sampler.set_epoch(epoch)
        epochs.append(plain(loader))
        found = predicted(epochs[-1])
        # The same circular token stream, rotated.
        turn = next(i for i in range(len(ids)) if ids[i:] + ids[:i] == found)
        assert turn > 0
        assert len(epochs[-1]) == len(epochs[0]) == len(loader)
    assert len({str(batches[0][0]) for batches in epochs}) == 4
    again = PlainText(rhyme, window=10, batch_tokens=35, seed=3).train_dataloader()
    again.sampler.set_epoch(2)
    assert plain(again) == epochs[2]


@given(st.integers(1, 40), st.integers(0, 60), st.integers(1, 4), st.sampled_from(["train", "val"]))
def test_ranks_share_the_streams(
    tmp_path_factory: pytest.TempPathFactory, window: int, more: int, world_size: int, split: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "shared.txt"
    path.write_text(RHYME * 2, encoding="utf-8")
    options: dict[str, Any] = {"window": window, "batch_tokens": window + more}
    ids = PlainText(path, path).dataset("val").target_ids.tolist()
    found: list[int] = []
    counts = set()
    for rank in range(world_size):
        data = on(PlainText(path, path, **options), rank, world_size)
        loader = getattr(data, f"{split}_dataloader")()
        loader.sampler.set_epoch(5)
        batches = plain(loader)
        counts.add(len(batches))
        found += predicted(batches)
    assert len(counts) == 1
    assert sorted(found) == sorted(ids)
    assert split == "train" or found == [*ids[1:], START]


def test_a_worker_process_gives_the_same_batches(rhyme: Path) -> None:
    with_worker = PlainText(rhyme, window=9, batch_tokens=30, num_workers=1).train_dataloader()
    for epoch in range(2):
        here = PlainText(rhyme, window=9, batch_tokens=30).train_dataloader()
        for loader in (with_worker, here):
            loader.sampler.set_epoch(epoch)
        assert plain(with_worker) == plain(here)


def test_every_process_can_have_its_own_copy(rhyme: Path) -> None:
    data = PlainText(rhyme, 0.2, window=9, batch_tokens=30)
    copied = pickle.loads(pickle.dumps(data))
    assert copied.spec == data.spec
    assert plain(copied.val_dataloader()) == plain(data.val_dataloader())


# A share for validation.


def test_a_share_is_the_last_part_of_the_training_text(tmp_path: Path) -> None:
    for name, text in {"a": "0123456789", "b": "abcde", "c": "ABCDE"}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    files = [tmp_path / name for name in "abc"]
    data = PlainText(files, 0.4, files[0], text=Text("bpe"), window=2)
    assert texts(data, "train") == ["0123456789", "ab"]
    assert texts(data, "val") == ["cde", "ABCDE"]
    assert texts(data, "test") == ["0123456789"]
    assert data.describe_location("val", 0) == f"{files[1]}, from character 3"
    assert data.describe_location("val", 1) == str(files[2])
    assert data.describe_location("train", 1) == str(files[1])
    assert texts(PlainText(files, 0.05, text=Text("bpe")), "val") == ["E"]
    assert texts(PlainText(files, 0.95, text=Text("bpe")), "train") == ["0"]


def test_the_tokenizer_sees_the_training_part_alone(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("abababab#!", encoding="utf-8")
    with pytest.warns(UserWarning, match=r"the target has tokens .* \(2 in val\)"):
        spec = PlainText(path, 0.2, window=2).spec
    assert isinstance(spec.target, sl.TextSpec)
    assert spec.target.vocab_size == 6


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 7, float("nan")])
def test_what_is_no_share(rhyme: Path, share: float) -> None:
    with pytest.raises(ValueError, match="a fraction of train above 0 and below 1, got"):
        PlainText(rhyme, share)


@pytest.mark.parametrize(("share", "kept"), [(0.01, 0), (0.99, 3)])
def test_a_share_that_leaves_nothing(tmp_path: Path, share: float, kept: int) -> None:
    path = tmp_path / "text"
    path.write_text("abc", encoding="utf-8")
    with pytest.raises(ValueError, match=f"val={share} of 3 characters in train is {kept}, and"):
        PlainText(path, share, window=1).prepare_data()


# Bad input.


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_an_empty_file_is_named(tmp_path: Path, rhyme: Path, content: bytes, split: str) -> None:
    path = tmp_path / "empty.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"empty\.txt: expected text, .*remove it from {split}"):
        PlainText(**{"train": rhyme, split: [rhyme, path]}).setup("fit")


def test_a_missing_file_is_named(tmp_path: Path, rhyme: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"val: expected a file at .*none\.txt"):
        PlainText(rhyme, [tmp_path / "none.txt"]).setup("fit")


def test_no_files_are_no_training_examples() -> None:
    with pytest.raises(ValueError, match="PlainText has no training examples"):
        PlainText([]).setup("fit")


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"one\ntwo\nth\xfcree\n")
    with pytest.raises(
        ValueError, match=r"latin\.txt, line 3, byte 3: b'\\xfc' is not utf-8; pass"
    ):
        PlainText(path).setup("fit")
    packed = tmp_path / "not.gz"
    packed.write_bytes(b"not packed")
    with pytest.raises(ValueError, match=r"not\.gz: expected a gzip file"):
        PlainText(packed).setup("fit")
    with pytest.raises(ValueError, match="expected an encoding that Python supports"):
        PlainText(path, encoding="latin-42")


def test_a_window_longer_than_the_text(tmp_path: Path, rhyme: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("one two", encoding="utf-8")
    data = PlainText(rhyme, path, path, window=9)
    assert len(data.train_dataloader())
    for split in ("val", "test"):
        with pytest.raises(
            ValueError,
            match=rf"{split}: the text has 9 tokens .* window=9; set window to at most 8, or use",
        ):
            getattr(data, f"{split}_dataloader")()
    assert len(PlainText(rhyme, path, window=8).val_dataloader()) == 2


@pytest.mark.parametrize(("window", "batch_tokens"), [(0, 8), (9, 8), (-1, 8)])
def test_a_window_outside_the_budget(rhyme: Path, window: int, batch_tokens: int) -> None:
    with pytest.raises(ValueError, match=r"window of at (least 1|most batch_tokens=8), got"):
        PlainText(rhyme, window=window, batch_tokens=batch_tokens)


def test_there_is_nothing_to_predict(rhyme: Path) -> None:
    with pytest.raises(ValueError, match=r"no sources to predict from; use model\.generate"):
        PlainText(rhyme, None, rhyme).predict_dataloader()
    with pytest.raises(ValueError, match="no test split"):
        PlainText(rhyme).test_dataloader()


# With a real Trainer.


class Seen(L.LightningModule):
    """Writes down what each step got."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[Any, ...]] = []

    def training_step(self, batch: SequenceBatch, index: int) -> torch.Tensor:
        self.seen += plain([batch])
        return self.weight * batch.target.float().mean()

    def validation_step(self, batch: SequenceBatch, index: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer(folder: Path, *callbacks: L.Callback, **options: Any) -> L.Trainer:
    return L.Trainer(
        **{"max_epochs": 3, **options},
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=bool(callbacks),
        callbacks=list(callbacks),
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
def test_a_resumed_run_sees_what_the_uninterrupted_run_sees(
    rhyme: Path, tmp_path: Path, num_workers: int
) -> None:
    def data() -> PlainText:
        return PlainText(rhyme, window=12, batch_tokens=100, num_workers=num_workers)

    whole, kept = Seen(), tmp_path / "kept"
    saving = ModelCheckpoint(kept, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer(tmp_path, saving).fit(whole, data())
    per_epoch = len(whole.seen) // 3
    assert per_epoch == 5
    assert [continues for _, _, continues in whole.seen] == ([False] + [True] * 4) * 3
    assert whole.seen[0] != whole.seen[per_epoch]
    for steps in (1, 4, 5, 6, 12):
        again = Seen()
        path = kept / f"step={steps}.ckpt"
        trainer(tmp_path).fit(again, data(), ckpt_path=path, weights_only=True)
        assert again.seen == whole.seen[steps:], steps


def test_a_recurrent_model_resumes_within_its_streams(rhyme: Path, tmp_path: Path) -> None:
    def fitted(folder: Path, path: Path | None = None) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        data = PlainText(rhyme, 0.2, window=12, batch_tokens=60)
        model = sl.LSTM(data.spec, d_model=8, dropout=0.2)
        saving = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
        trainer(tmp_path, saving, max_epochs=2).fit(model, data, ckpt_path=path)
        return model.state_dict()

    whole = fitted(tmp_path / "whole")
    steps = len(list((tmp_path / "whole").iterdir()))
    for step in (2, steps // 2, steps - 1):
        again = fitted(tmp_path / f"from {step}", tmp_path / "whole" / f"step={step}.ckpt")
        assert all(torch.equal(weight, whole[name]) for name, weight in again.items()), step


def test_another_window_in_the_middle_of_an_epoch_is_an_error(rhyme: Path, tmp_path: Path) -> None:
    stopped = trainer(tmp_path, max_steps=2)
    stopped.fit(Seen(), PlainText(rhyme, rhyme, window=12, batch_tokens=100))
    stopped.save_checkpoint(tmp_path / "stopped.ckpt")
    with pytest.warns(UserWarning, match="in the middle of an epoch with a different window:"):
        trainer(tmp_path, max_steps=3).fit(
            Seen(),
            PlainText(rhyme, rhyme, window=14, batch_tokens=100),
            ckpt_path=tmp_path / "stopped.ckpt",
            weights_only=True,
        )


ARCHITECTURES: dict[type[sl.SequenceModule], dict[str, Any]] = {
    sl.Transformer: {"num_heads": 2, "num_layers": 1, "positions": "learned"},
    sl.LSTM: {},
    sl.FeedForward: {"window": 5},
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_language_model_learns_and_goes_on_with_a_text(
    architecture: type[sl.SequenceModule], rhyme: Path, tmp_path: Path
) -> None:
    data = PlainText(rhyme, 0.2, rhyme, window=24, batch_tokens=120)
    recipe = sl.Recipe(lr=2e-2, warmup_steps=4)
    options = {"dropout": 0.0, "recipe": recipe, **ARCHITECTURES[architecture]}
    model = architecture(data.spec, d_model=16, **options)
    run = trainer(tmp_path, max_epochs=12)
    run.fit(model, data)
    (validated,) = run.validate(model, data, verbose=False)
    assert isinstance(data.spec.target, sl.TextSpec)
    assert validated["val/loss"] < 0.75 * math.log(data.spec.target.vocab_size)
    (tested,) = run.test(model, data, verbose=False)
    assert "test/bleu" not in tested
    (text,) = model.generate(prompts=["one two"], max_new_tokens=12)
    assert isinstance(text, str)
    assert text.startswith("one two")


def test_losses_count_every_token_but_the_start_once(rhyme: Path, tmp_path: Path) -> None:
    """One stream whose windows the model reads as one: the loss is that of the whole text."""
    data = PlainText(rhyme, rhyme, window=10, batch_tokens=10)
    model = sl.LSTM(data.spec, d_model=8, dropout=0.0)
    loss = trainer(tmp_path).validate(model, data, verbose=False)[0]["val/loss"]
    (score,) = model.score(None, [RHYME * 8])
    assert loss == pytest.approx(-float(score) / (len(RHYME * 8) + 1), rel=1e-5)


def test_tiny_shakespeare(real_data: Path) -> None:
    path = real_data / "tinyshakespeare" / "input.txt"
    if not path.is_file():
        pytest.skip("no tinyshakespeare/input.txt among the real data")
    data = PlainText(path, 0.1, window=64, batch_tokens=768)
    assert isinstance(data.spec.target, sl.TextSpec)
    assert data.spec.target.vocab_size == 65 + 4
    (train,), (val,) = texts(data, "train"), texts(data, "val")
    assert train + val == path.read_text(encoding="utf-8")
    assert len(val) == round(0.1 * len(train + val)) == 111_539
    loader = data.train_dataloader()
    assert len(loader) == 1308
    batch = next(iter(loader))
    assert batch.target.shape == (12, 65)
    # A row of every stream is somewhere in the text.
    for row in data.spec.target.decode(batch.target.tolist()):
        assert row in train
    ids = data.dataset("val").target_ids.tolist()
    assert predicted(plain(data.val_dataloader())) == [*ids[1:], START]
