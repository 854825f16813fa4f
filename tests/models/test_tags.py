"""Every architecture with tags as target: trained, saved, asked, recorded."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

import seqlearn as sl
from seqlearn.testing import batch_of, check_module

ARCHITECTURES: dict[str, tuple[Any, dict[str, Any]]] = {
    "FeedForward": (sl.FeedForward, {"window": 3}),
    "RNN": (sl.RNN, {"num_layers": 1}),
    "GRU": (sl.GRU, {"num_layers": 1, "bidirectional": True}),
    "LSTM": (sl.LSTM, {"num_layers": 1}),
    "AttentionSeq2Seq": (sl.AttentionSeq2Seq, {}),
    "Transformer": (sl.Transformer, {"num_layers": 1, "num_heads": 2}),
}
SPEC = sl.SequenceSpec(sl.TextSpec(9, 8), sl.TagsSpec(("a", "b", "c")))
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path / "cache"))


def journeys(count: int) -> list[tuple[list[str], list[str]]]:
    """Sentences with names of one or two words as spans."""
    rng, rows = random.Random(0), []
    for _ in range(count):
        person = rng.choice(["Ada", "Alan Turing"]).split()
        city = rng.choice(["Rome", "New York", "Oslo"]).split()
        words = [*person, *rng.choice(["flew to", "is in"]).split(), *city]
        tags = [
            *(f"{'I' if n else 'B'}-name" for n in range(len(person))),
            *("O", "O"),
            *(f"{'I' if n else 'B'}-city" for n in range(len(city))),
        ]
        rows.append((words, tags))
    return rows


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_fit_and_one_answer(name: str, tmp_path: Path) -> None:
    cls, options = ARCHITECTURES[name]
    rows = journeys(60)
    text = sl.data.Text("char" if name == "Transformer" else "word")
    data = sl.data.TaggedText(rows[:40], rows[40:50], rows[50:], text, batch_tokens=128)
    torch.manual_seed(0)
    model = cls(data.spec, d_model=16, recipe=sl.Recipe(lr=0.02, warmup_steps=1), **options)
    writer = sl.callbacks.PredictionWriter(tmp_path / "tags.txt")
    trainer = L.Trainer(
        max_epochs=5, default_root_dir=tmp_path, callbacks=[writer], log_every_n_steps=1, **QUIET
    )
    trainer.fit(model, data)
    (figures,) = trainer.test(model, data, verbose=False)
    assert {"test/f1", "test/precision", "test/recall", "test/f1/city", "test/f1/name"} < set(
        figures
    )
    assert figures["test/accuracy"] > 0.6  # two fifths of the words have the tag O
    sentences = [words for words, _ in rows[50:]]
    answers = model.predict(sentences)
    assert [len(tags) for tags in answers] == [len(words) for words in sentences]
    right = [
        a == b
        for tags, (_, true) in zip(answers, rows[50:], strict=True)
        for a, b in zip(tags, true, strict=True)
    ]
    assert np.mean(right) == pytest.approx(figures["test/accuracy"])
    assert model.predict([" ".join(words) for words in sentences]) == answers
    assert trainer.predict(model, data) is not None
    assert writer.predictions == answers
    lines = (tmp_path / "tags.txt").read_text(encoding="utf-8").splitlines()
    assert lines == [" ".join(tags) for tags in answers]
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    model.save_pretrained(tmp_path / "folder")
    loaded = cls.load_from_checkpoint(tmp_path / "last.ckpt")
    for again in (loaded, cls.from_pretrained(tmp_path / "folder")):
        assert again.spec == data.spec
        assert again.predict(sentences) == answers


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_answer_depends_on_the_sentence_alone(name: str) -> None:
    cls, options = ARCHITECTURES[name]
    torch.manual_seed(0)
    model = cls(SPEC, d_model=8, **options)
    sentences = [[4, 5, 6, 7, 8], [6], [], [8, 4]]
    labels, probabilities = model.tag(sentences)
    assert [len(each) for each in labels] == [5, 1, 0, 2]
    for each, tags, sentence in zip(probabilities, labels, sentences, strict=True):
        assert each.shape == (len(sentence), 3)
        assert torch.allclose(each.sum(-1), torch.ones(len(sentence)))
        assert ["abc"[n] for n in each.argmax(-1)] == tags
        alone, (again,) = model.tag([sentence])
        assert alone == [tags]
        assert torch.allclose(again, each, atol=1e-6)
    assert model.predict(sentences) == labels


def test_the_first_piece_of_a_word_predicts() -> None:
    data = sl.data.TaggedText(journeys(20), text=sl.data.Text("char"))
    torch.manual_seed(0)
    model = sl.LSTM(data.spec, d_model=8).eval()
    sentence = ["Ada", "is", "in", "Rome"]
    source, target = data.spec.source, data.spec.target
    batch = batch_of(
        data.spec, [(source.encode([" ".join(sentence)])[0], target.place([0, 4, 7, 10], [1] * 4))]
    )
    memory = model.encode(batch.source, batch.source_lengths)
    expected = model.head(memory.states[0, [0, 4, 7, 10]]).softmax(-1)
    assert torch.allclose(model.tag([sentence])[1][0], expected, atol=1e-6)
    assert torch.allclose(model(batch)[0].softmax(-1), expected, atol=1e-6)


def test_weights_of_tags_change_the_training_loss_alone() -> None:
    rows = [(["a", "b", "a"], ["x", "y", "x"]), (["b"], ["y"])] * 3
    plain = sl.data.TaggedText(rows, rows)
    weighted = sl.data.TaggedText(rows, rows, class_weights={"x": 1.0, "y": 3.0})
    assert weighted.spec.target.weights == (0.5, 1.5)
    assert sl.data.TaggedText(rows, class_weights="balanced").spec.target.weights == (1.0, 1.0)
    torch.manual_seed(0)
    model = sl.RNN(plain.spec, d_model=4).eval()
    other = sl.RNN(weighted.spec, d_model=4).eval()
    other.load_state_dict(model.state_dict())
    batch = plain.dataset("train")[[0, 1]]
    one, two = model.compute_loss(batch), other.compute_loss(batch)
    assert torch.equal(one.nll, two.nll)
    weights = torch.tensor([0.5, 1.5])[one.labels]
    assert two.loss.item() == pytest.approx((one.nll * weights).sum().item(), rel=1e-5)


def test_an_encoder_without_a_state_for_each_token_is_refused() -> None:
    class Pools(sl.SequenceModule):
        def __init__(self, spec: sl.SequenceSpec) -> None:
            super().__init__(spec, d_model=4)
            self.encoder = self._pool

        def _pool(self, inputs: torch.Tensor, mask: torch.Tensor) -> sl.Memory:
            pooled = (inputs * mask[..., None]).sum(1)
            return sl.Memory(pooled[:, None], mask[:, :1], pooled)

    with pytest.raises(ValueError, match="one state for each source token, and for 2 tokens memo"):
        Pools(SPEC).predict([[4, 5]])
    classes = sl.SequenceSpec(SPEC.source, sl.ClassesSpec(("a", "b")))
    tasks = {"tags": SPEC, "classes": classes}
    report = check_module(Pools, laws=["shapes"], examples=2, tasks=tasks)
    assert list(report.refuses) == ["tags"]


def test_what_fits_other_targets_says_so(tmp_path: Path) -> None:
    model = sl.GRU(SPEC, d_model=4)
    with pytest.raises(ValueError, match=r"classify needs a target of classes.*TagsSpec; use tag"):
        model.classify([[4]])
    with pytest.raises(ValueError, match=r"generate makes texts.*TagsSpec; use tag"):
        model.generate([[4]])
    with pytest.raises(ValueError, match="the target of this model is tags"):
        model.export(tmp_path / "out")
    with pytest.raises(ValueError, match=r"tag needs a target of tags.*ClassesSpec; use classify"):
        sl.GRU(sl.SequenceSpec(SPEC.source, sl.ClassesSpec(("a", "b"))), d_model=4).tag([[4]])
    with pytest.raises(ValueError, match="tags need a source of words, such as text, and vector"):
        sl.SequenceSpec(sl.VectorSpec(2), SPEC.target)


def test_recordings_and_the_viewer_have_the_source_alone(tmp_path: Path) -> None:
    data = sl.data.TaggedText(journeys(20))
    model = sl.Transformer(data.spec, d_model=8, num_layers=1, num_heads=2)
    with sl.record(model) as recording:
        model.predict(["Ada is in Rome", "Alan Turing flew to Oslo"])
    weights = recording.attention["encoder.layers.0.self_attention"]
    assert weights.shape == (2, 2, 5, 5)
    assert recording.tokens[0].source == ["Ada", "is", "in", "Rome"]
    page = recording.to_html(tmp_path / "tags.html")
    assert "Turing" in Path(page).read_text(encoding="utf-8")


def test_the_confusion_matrix_counts_words(tmp_path: Path) -> None:
    rows = journeys(20)
    data = sl.data.TaggedText(rows, rows[5:8], rows[:5])
    matrix = sl.callbacks.ConfusionMatrix(directory=tmp_path / "confusion")
    trainer = L.Trainer(callbacks=[matrix], default_root_dir=tmp_path, **QUIET)
    model = sl.RNN(data.spec, d_model=4)
    trainer.validate(model, data, verbose=False)
    trainer.test(model, data, verbose=False)
    assert {path.parent.name for path in tmp_path.rglob("*.png")} == {"val", "test"}
    assert matrix.labels == data.spec.target.labels
    assert matrix.counts is not None
    assert matrix.counts.sum() == sum(len(words) for words, _ in rows[:5])
