"""A module as a user writes it, outside the package, gets everything else for nothing."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
import torch
from my_package import MyModel

import seqlearn as sl

# No two of the same letters, for the encoder of the example reads a source as a bag.
TEXTS = ["ab", "aab", "abb", "b", "a", "bbb"]
ROWS = [{"source": text, "target": text.upper()} for text in TEXTS]


@pytest.fixture
def data() -> sl.data.TextPairs:
    text = sl.data.Text("char")
    return sl.data.TextPairs(
        ROWS, ROWS, ROWS, text, sl.data.Text("char"), columns=("source", "target")
    )


def test_is_short() -> None:
    path = Path(__file__).parents[1] / "user" / "my_package.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) < 40


def test_trains_predicts_and_loads(data: sl.data.TextPairs, tmp_path: Path) -> None:
    L.seed_everything(0, verbose=False)
    model = MyModel(data.spec, recipe=sl.Recipe(lr=1e-2, warmup_steps=1, schedule="constant"))
    trainer = L.Trainer(
        max_epochs=80,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        check_val_every_n_epoch=80,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    trainer.fit(model, data)
    (figures,) = trainer.test(model, data, verbose=False)
    answers = model.generate(TEXTS)
    right = [answer == text.upper() for answer, text in zip(answers, TEXTS, strict=True)]
    # Teacher-forced exact match is that of greedy decoding.
    assert figures["test/exact_match"] == pytest.approx(sum(right) / len(TEXTS))
    assert sum(right) >= 4
    assert [a for batch in trainer.predict(model, data) for a in batch] == answers
    trainer.save_checkpoint(tmp_path / "mine.ckpt")
    loaded = MyModel.load_from_checkpoint(tmp_path / "mine.ckpt")
    assert loaded.recipe == model.recipe
    assert loaded.generate(["abba"]) == model.generate(["abba"])


def test_empty_and_very_long_sources(data: sl.data.TextPairs) -> None:
    for make in (MyModel, sl.Transformer):
        model = make(data.spec)
        answers = model.generate(["", "a", "ab" * 200])
        assert len(answers) == 3
        assert model.generate([""]) == answers[:1]


def test_one_token_at_a_time_equals_all_at_once(data: sl.data.TextPairs) -> None:
    model = MyModel(data.spec).eval()
    batch = data.dataset("val")[[0, 1, 2]]
    with torch.no_grad():
        memory = model.encode(batch.source, batch.source_lengths)
        whole, _ = model.decode(batch.target, memory)
        parts, state = [], None
        for token in batch.target.split(1, dim=1):
            part, state = model.decode(token, memory, state)
            parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), whole)


def test_a_spec_that_does_not_fit_the_data_is_refused(
    data: sl.data.TextPairs, tmp_path: Path
) -> None:
    model = MyModel(sl.SequenceSpec(sl.TextSpec(9, 3), sl.TextSpec(9, 3)))
    trainer = L.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, default_root_dir=tmp_path
    )
    with pytest.raises(
        ValueError, match="spec does not fit the data: source: vocab_size 9 against"
    ):
        trainer.fit(model, data)
