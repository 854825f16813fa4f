"""A type of source and target that a file outside the package defines, from training to loading."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import numpy as np
import pytest
import torch
from checklist import Animals, Checklist, ChecklistSpec

import seqlearn as sl
from seqlearn.callbacks.sample_logger import compare_to_targets
from seqlearn.spec.base import side_from_dict

USER = Path(__file__).parents[1] / "user"
ANSWERS = [[True, False, True], [True, True, False], [False, True, False], [False, False, True]]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path / "cache"))


def trained(data: Animals, tmp_path: Path) -> tuple[sl.GRU, L.Trainer]:
    recipe = sl.Recipe(lr=0.02, warmup_steps=0)
    model = sl.GRU(data.spec, d_model=16, dropout=0.0, recipe=recipe)
    trainer = L.Trainer(
        max_epochs=150,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        limit_val_batches=0,
        log_every_n_steps=1,
    )
    trainer.fit(model, data)
    return model, trainer


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_as_a_source(tmp_path: Path) -> None:
    data = Animals()
    assert data.spec.task == "vector-to-sequence"
    model, trainer = trained(data, tmp_path)
    names = list(Animals.NAMES)
    assert model.generate(list(Animals.NAMES.values())) == names
    assert model.generate(list(Animals.NAMES.values()), strategy="beam") == names
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    loaded = sl.GRU.load_from_checkpoint(tmp_path / "last.ckpt")
    assert loaded.spec == data.spec
    assert loaded.generate(list(Animals.NAMES.values())) == names
    table = compare_to_targets(loaded.eval(), next(iter(data.val_dataloader())))
    assert ("flies, eggs", "hen", "hen") in [tuple(row) for row in table.rows]


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_as_a_target(tmp_path: Path) -> None:
    data = Animals(to_name=False)
    assert data.spec.task == "sequence-to-vector"
    model, trainer = trained(data, tmp_path)
    (figures,) = trainer.test(model, data, verbose=False)
    assert figures["test/accuracy"] == 1.0
    found = trainer.predict(model, data.test_dataloader())
    assert sorted(answers for batch in found for answers in batch) == sorted(ANSWERS)
    model.save_pretrained(tmp_path / "folder")
    loaded = sl.GRU.from_pretrained(tmp_path / "folder")
    batch = data.dataset("test")[[0, 1]]
    assert torch.equal(loaded.eval()(batch), model.eval()(batch))
    with pytest.raises(ValueError, match="ChecklistSpec; use predict"):
        loaded.generate(["hen"])
    names = list(Animals.NAMES)
    assert loaded.predict(names) == ANSWERS
    assert loaded.predict(names[::-1]) == ANSWERS[::-1]


def test_an_unknown_kind_says_which_import_is_missing(tmp_path: Path) -> None:
    sl.GRU(
        sl.SequenceSpec(ChecklistSpec(("a", "b")), sl.TextSpec(7, 5)), d_model=4
    ).save_pretrained(tmp_path)
    code = f"import seqlearn as sl; sl.GRU.from_pretrained({str(tmp_path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False
    )
    assert "got 'checklist'; import checklist, which defines it, before loading" in done.stderr
    assert done.returncode == 1


def test_a_kind_belongs_to_one_class() -> None:
    plain = ChecklistSpec(("a", "b")).to_dict()
    assert plain == {"kind": "checklist", "module": "checklist", "questions": ["a", "b"]}
    assert side_from_dict(plain) == ChecklistSpec(("a", "b"))
    with pytest.raises(ValueError, match=r"got 'checklist', which checklist\.ChecklistSpec has"):

        class Other(sl.spec.SideSpec):
            kind = "checklist"


def test_a_file_may_be_imported_under_two_names(tmp_path: Path) -> None:
    """As a script that is run and imported: its class is defined twice, and is one kind."""
    file = tmp_path / "twice.py"
    file.write_text(
        "import seqlearn as sl\nclass Twice(sl.spec.SideSpec):\n    kind = 'twice'\n",
        encoding="utf-8",
    )
    for name in ("twice", "__twice_main__"):
        module_spec = importlib.util.spec_from_file_location(name, file)
        assert module_spec is not None
        assert module_spec.loader is not None
        module = importlib.util.module_from_spec(module_spec)
        sys.modules[name] = module
        module_spec.loader.exec_module(module)


def test_bad_data_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 3 answers, got 1"):
        Checklist(("a", "b", "c")).check([1])


def test_a_subclass_needs_a_kind_of_its_own() -> None:
    with pytest.raises(TypeError, match=r"NoKind needs a kind of its own, .*inherited .*checklist"):

        class NoKind(ChecklistSpec):
            pass


def test_fields_come_back_as_they_were() -> None:
    """Scalars of numpy, and tuples at any depth."""

    @dataclass(frozen=True)
    class Weighted(ChecklistSpec):
        kind: ClassVar[str] = "weighted checklist"
        pairs: tuple[Any, ...] = (("a", 1), ("b", (2, 3)))
        weight: Any = 1.0

    spec = Weighted(("a", "b"), weight=np.float64(2.0))
    plain = spec.to_dict()
    assert type(plain["weight"]) is float
    loaded = side_from_dict(json.loads(json.dumps(plain)))
    assert loaded == spec
    assert loaded.pairs == (("a", 1), ("b", (2, 3)))
    with pytest.raises(TypeError, match=r"Weighted\.weight: expected plain data"):
        Weighted(("a", "b"), weight=object()).to_dict()
