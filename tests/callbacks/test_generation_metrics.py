"""`GenerationMetrics`: values, which examples, when, and that they can be monitored."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import jaxtyping
import lightning as L
import pytest
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from sacrebleu import corpus_bleu
from torch.utils.data import DataLoader

import seqlearn as sl
from seqlearn.callbacks import GenerationMetrics
from seqlearn.testing import TASKS

TEXTS = ["a b", "b c d a", "c", "d d a", "a c b d", "b", "c a d"]
PAIRS = [{"source": text, "target": text.upper()} for text in TEXTS]


class Counting(sl.GRU):
    """A model that generates the right texts for sources of up to two words, and counts."""

    def __init__(self, spec: sl.SequenceSpec, **base: Any) -> None:
        super().__init__(spec, d_model=4, **base)
        self.calls: list[int] = []

    def generate(self, sources: Any = None, **options: Any) -> Any:
        texts = self.spec.source.decode(sources)
        self.calls.append(len(texts))
        return [text.upper() if len(text) < 4 else "A B C D" for text in texts]


@pytest.fixture
def data() -> sl.data.TextPairs:
    word = sl.data.Text("word")
    columns = ("source", "target")
    return sl.data.TextPairs(PAIRS, PAIRS, PAIRS, word, word, columns=columns, batch_tokens=16)


def trainer_of(folder: Path, *callbacks: L.Callback, **options: Any) -> L.Trainer:
    settings = {
        "max_epochs": 3,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": any(isinstance(c, ModelCheckpoint) for c in callbacks),
        "log_every_n_steps": 1,
    }
    return L.Trainer(default_root_dir=folder, callbacks=list(callbacks), **(settings | options))


def expected(count: int) -> tuple[float, float]:
    made = [text.upper() if len(text) < 4 else "A B C D" for text in TEXTS[:count]]
    truth = [text.upper() for text in TEXTS[:count]]
    equal = sum(a == b for a, b in zip(made, truth, strict=True))
    return corpus_bleu(made, [truth]).score, equal / count


def test_bleu_without_case_is_measured_too(tmp_path: Path, data: sl.data.TextPairs) -> None:
    class Lower(Counting):
        def generate(self, sources: Any, *arguments: Any, **options: Any) -> Any:
            return [text.lower() for text in super().generate(sources, *arguments, **options)]

    trainer = trainer_of(tmp_path, GenerationMetrics())
    (figures,) = trainer.validate(Lower(data.spec), data, verbose=False)
    assert figures["val/bleu_lc"] == pytest.approx(expected(len(TEXTS))[0], abs=1e-4)
    assert figures["val/bleu"] < figures["val/bleu_lc"]


@pytest.mark.parametrize("count", [3, 6, None])
def test_the_first_examples_of_the_split_are_used(
    count: int | None, data: sl.data.TextPairs, tmp_path: Path
) -> None:
    model = Counting(data.spec)
    trainer = trainer_of(tmp_path, GenerationMetrics(num_examples=count))
    (figures,) = trainer.validate(model, data, verbose=False)
    bleu, exact = expected(count or len(TEXTS))
    assert figures["val/bleu"] == pytest.approx(bleu, abs=1e-4)
    assert figures["val/generated_exact_match"] == pytest.approx(exact)
    assert sum(model.calls) == (count or len(TEXTS))


def test_every_n_epochs_and_monitored(data: sl.data.TextPairs, tmp_path: Path) -> None:
    """The sanity check generates nothing."""
    model = Counting(data.spec)
    keep = ModelCheckpoint(tmp_path, monitor="val/bleu", mode="max", every_n_epochs=2)
    trainer = trainer_of(tmp_path, GenerationMetrics(2, num_examples=2), keep)
    trainer.fit(model, data)
    assert sum(model.calls) == 2 * 2  # after epochs 1 and 2
    assert float(keep.best_model_score) == pytest.approx(expected(2)[0], abs=1e-4)
    assert keep.best_model_path.endswith("epoch=1-step=6.ckpt")


def test_the_first_validation_of_each_run_is_measured(
    data: sl.data.TextPairs, tmp_path: Path
) -> None:
    """A resumed run, too, and one whose first validation comes after epochs: others monitor it."""
    trainer = trainer_of(tmp_path, max_epochs=2)
    trainer.fit(Counting(data.spec), data)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    model = Counting(data.spec)
    stop = EarlyStopping("val/bleu", mode="max", patience=9)
    trainer = trainer_of(tmp_path, GenerationMetrics(5), stop, max_epochs=4)
    trainer.fit(model, data, ckpt_path=tmp_path / "two.ckpt")
    assert sum(model.calls) == len(TEXTS)
    model = Counting(data.spec)
    keep = ModelCheckpoint(tmp_path / "by_steps", monitor="val/bleu", mode="max")
    seldom = {"check_val_every_n_epoch": None, "val_check_interval": 8}
    trainer = trainer_of(tmp_path, GenerationMetrics(5), keep, max_epochs=4, **seldom)
    trainer.fit(model, data)
    assert sum(model.calls) == len(TEXTS)


@pytest.mark.parametrize(("patience", "warns"), [(2, True), (3, False)])
def test_a_patience_that_ends_before_the_next_measurement(
    data: sl.data.TextPairs, tmp_path: Path, patience: int, warns: bool
) -> None:
    stop = EarlyStopping("val/bleu", mode="max", patience=patience)
    trainer = trainer_of(tmp_path, GenerationMetrics(3), stop, max_epochs=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(Counting(data.spec), data)
    told = [str(one.message) for one in caught if "EarlyStopping(" in str(one.message)]
    assert len(told) == warns
    assert all("patience of at least 3, such as 6 for 2 measurements" in one for one in told)


def test_an_evaluation_that_failed_leaves_no_counts(
    data: sl.data.TextPairs, tmp_path: Path
) -> None:
    """As by Ctrl-C in a notebook: the next evaluation of the module begins anew."""
    model = Counting(data.spec)
    (clean,) = trainer_of(tmp_path).test(model, data, verbose=False)

    class Fails(L.Callback):
        def on_test_batch_end(self, *_: Any, **__: Any) -> None:
            raise OSError("interrupted")

    with pytest.raises(OSError, match="interrupted"):
        trainer_of(tmp_path, Fails()).test(model, data, verbose=False)
    assert bool(model.bleu.update_called)
    (again,) = trainer_of(tmp_path).test(model, data, verbose=False)
    assert again == clean


@pytest.mark.parametrize(
    ("every", "validated", "measured"),
    [(1, 1, [1, 2, 3, 4, 5]), (2, 1, [1, 2, 4]), (3, 1, [1, 3]), (2, 2, [2, 4]), (3, 2, [2])],
)
def test_what_is_measured_is_what_is_saved(
    every: int, validated: int, measured: list[int], data: sl.data.TextPairs, tmp_path: Path
) -> None:
    """Epochs are counted as Lightning counts those of checkpoints and validations."""
    epochs: list[int] = []

    class Noted(Counting):
        def generate(self, sources: Any = None, **options: Any) -> Any:
            epochs.append(self.trainer.current_epoch + 1)
            return super().generate(sources, **options)

    keep = ModelCheckpoint(
        tmp_path, monitor="val/bleu", mode="max", every_n_epochs=every, save_top_k=-1
    )
    trainer = trainer_of(
        tmp_path,
        GenerationMetrics(every),
        keep,
        max_epochs=5,
        check_val_every_n_epoch=validated,
    )
    trainer.fit(Noted(data.spec), data)
    assert sorted(set(epochs)) == measured
    saved = {int(path.stem.split("-")[0].removeprefix("epoch=")) + 1 for path in tmp_path.iterdir()}
    assert saved <= set(measured)
    assert saved == {each for each in measured if each % every == 0}


def test_a_loader_of_ones_own(data: sl.data.TextPairs, tmp_path: Path) -> None:
    """Whose batches do not number their examples."""
    data.setup("validate")
    batch = data.dataset("val")[[0, 1, 2, 3]]._replace(indices=None)
    model = Counting(data.spec)
    loader = DataLoader([batch, batch], batch_size=None)
    trainer = trainer_of(tmp_path, GenerationMetrics(num_examples=5))
    trainer.validate(model, loader, verbose=False)
    assert model.calls == [4, 1]


@pytest.mark.parametrize("task", ["sequence-to-vector", "language-modeling"])
def test_models_without_texts_to_compare_are_refused(task: str, tmp_path: Path) -> None:
    spec = next(spec for spec in TASKS.values() if spec.task == task)
    model = sl.GRU(spec, d_model=4)
    with pytest.raises(ValueError, match=f"this model's task is {task}; remove"):
        trainer_of(tmp_path, GenerationMetrics()).validate(model, DataLoader([]))
    with pytest.raises(TypeError, match="expected a SequenceModule, got BoringModel"):
        trainer_of(tmp_path, GenerationMetrics()).validate(BoringModel(), DataLoader([]))


@pytest.mark.parametrize("limit", [1, 2])
def test_a_part_of_the_split(limit: int, data: sl.data.TextPairs, tmp_path: Path) -> None:
    """Batches are planned by length, so they need not contain the first examples of the split."""
    data.setup("validate")
    seen = [batch.size for batch in data.val_dataloader()][:limit]
    model = Counting(data.spec)
    trainer = trainer_of(tmp_path, GenerationMetrics(num_examples=4), limit_val_batches=limit)
    (figures,) = trainer.validate(model, data, verbose=False)
    assert sum(model.calls) == min(4, sum(seen))
    assert 0 <= figures["val/generated_exact_match"] <= 1


def test_nothing_is_logged_without_an_example(data: sl.data.TextPairs, tmp_path: Path) -> None:
    data.setup("validate")
    batch = data.dataset("val")[[4, 5, 6]]
    trainer = trainer_of(tmp_path, GenerationMetrics(num_examples=2))
    with pytest.warns(UserWarning, match="no validation example was measured"):
        (figures,) = trainer.validate(
            Counting(data.spec), DataLoader([batch], batch_size=None), verbose=False
        )
    assert not {"val/bleu", "val/generated_exact_match"} & set(figures)


def test_numbers_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is for users
    for name in ("every_n_epochs", "num_examples"):
        with pytest.raises(ValueError, match=rf"GenerationMetrics\.{name} of at least 1, got 0"):
            GenerationMetrics(**{name: 0})
        for wrong in ("1", 1.5, True):
            with pytest.raises(TypeError, match=f"{name}: expected a whole number"):
                GenerationMetrics(**{name: wrong})
    with pytest.raises(TypeError, match="every_n_epochs: expected a whole number"):
        GenerationMetrics(every_n_epochs=None)
