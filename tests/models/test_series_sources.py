"""Every architecture with a series as source: trained, saved, recorded, checked by laws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

import seqlearn as sl
from seqlearn.testing import check_module

ARCHITECTURES: dict[str, tuple[Any, dict[str, Any]]] = {
    "FeedForward": (sl.FeedForward, {"window": 12, "num_layers": 1}),
    "RNN": (sl.RNN, {"num_layers": 1}),
    "GRU": (sl.GRU, {"num_layers": 1}),
    "LSTM": (sl.LSTM, {"num_layers": 1}),
    "AttentionSeq2Seq": (sl.AttentionSeq2Seq, {}),
    "Transformer": (sl.Transformer, {"num_layers": 1, "num_heads": 2}),
}
TARGETS = ("form", "continuation", "description")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path / "cache"))


def waveforms(target: Any) -> sl.data.Waveforms:
    return sl.data.Waveforms(
        target, min_length=6, max_length=12, train_examples=24, held_out_examples=6
    )


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*number of training batches")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_fit_and_one_answer(name: str, target: str, tmp_path: Path) -> None:
    cls, options = ARCHITECTURES[name]
    data = waveforms(target)
    model = cls(data.spec, d_model=8, recipe=sl.Recipe(lr=0.01, warmup_steps=1), **options)
    trainer = L.Trainer(
        max_epochs=2,
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
    assert np.isfinite(figures["test/loss"])
    sources = [source for source, _ in data.examples("test")]
    answers = model.predict(sources)
    assert len(answers) == 6
    kinds = {"form": str, "continuation": torch.Tensor, "description": str}
    assert all(isinstance(answer, kinds[target]) for answer in answers)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    loaded = cls.load_from_checkpoint(tmp_path / "last.ckpt")
    model.save_pretrained(tmp_path / "folder")
    for again in (loaded, cls.from_pretrained(tmp_path / "folder")):
        assert again.spec == data.spec
        for one, other in zip(again.predict(sources), answers, strict=True):
            assert torch.equal(one, other) if target == "continuation" else one == other


SPECS = {
    "to a class, with gaps": sl.SequenceSpec(
        sl.SeriesSpec(2, 5, (1.0, 0.0), (2.0, 0.5), missing=True), sl.ClassesSpec(("a", "b"))
    ),
    "to a normalized vector": sl.SequenceSpec(
        sl.SeriesSpec(1, 5), sl.VectorSpec(2, (1.0, 2.0), (3.0, 1.0))
    ),
    "to a text": sl.SequenceSpec(sl.SeriesSpec(2, 5), sl.TextSpec(9, 4)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_laws(name: str) -> None:
    cls, options = ARCHITECTURES[name]
    check_module(
        lambda spec: cls(spec, d_model=4, dropout=0.0, **options), tasks=SPECS, examples=10
    )


def test_laws_of_one_architecture() -> None:
    report = check_module(
        lambda spec: sl.GRU(spec, d_model=4, num_layers=1, dropout=0.0),
        tasks=SPECS,
        laws=[3, 4],
        examples=4,
    )
    assert report.held


def test_recordings_have_the_time_steps() -> None:
    spec = SPECS["to a text"]
    model = sl.AttentionSeq2Seq(spec, d_model=8).eval()
    with sl.record(model) as recording:
        model.generate([np.zeros((3, 2)), np.ones((2, 2))], max_new_tokens=3)
    assert list(recording.tokens[0].source or ()) == ["1", "2", "3"]
    assert list(recording.tokens[1].source or ()) == ["1", "2"]


def test_scaling_survives_double_precision_and_is_no_weight() -> None:
    spec = SPECS["to a class, with gaps"]
    model = sl.GRU(spec, d_model=4, num_layers=1).eval()
    assert not [name for name in model.state_dict() if name.endswith((".mean", ".std"))]
    (label,) = model.predict([[[1.0, float("nan")]]])
    assert model.double().predict([[[1.0, float("nan")]]]) == [label]


def test_another_scaling_is_another_spec() -> None:
    one = SPECS["to a normalized vector"]
    other = sl.SequenceSpec(sl.SeriesSpec(1, 5, (1.0,), (2.0,)), sl.VectorSpec(2))
    assert one.diff(other) == [
        "source: mean none against (1)",
        "target: mean (1, 2) against none",
    ]
    for wrong in ({"mean": (1.0,)}, {"mean": (1.0,), "std": (0.0,)}, {"std": (1.0,)}):
        with pytest.raises(
            ValueError, match=r"expected (mean|std) as 1 (positive )?finite numbers"
        ):
            sl.SeriesSpec(1, **wrong)  # type: ignore[arg-type]
